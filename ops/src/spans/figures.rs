//! How many spans were sent and dropped, as Prometheus reads it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{Exposition, MetricKind};

/// Counted by those who queue spans and by the one who sends them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    collector: AtomicU64,
}

/// Spans since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanFigures {
    /// That the collector has taken.
    pub exported: u64,
    /// That found the queue full.
    pub queue_full: u64,
    /// That the collector did not take: out of reach, too slow, or it refused them.
    pub collector: u64,
    /// That wait now.
    pub queued: usize,
}

impl Counts {
    pub(super) fn exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn queue_full(&self) {
        self.queue_full.fetch_add(1, Relaxed);
    }

    pub(super) fn not_taken(&self, spans: usize) {
        self.collector.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn figures(&self, queued: usize) -> SpanFigures {
        let of = |count: &AtomicU64| count.load(Relaxed);
        SpanFigures {
            exported: of(&self.exported),
            queue_full: of(&self.queue_full),
            collector: of(&self.collector),
            queued,
        }
    }
}

impl SpanFigures {
    /// The families of a role's spans. All stand at 0 while it makes none.
    pub fn write(self, page: &mut Exposition) {
        let help = "Spans that the OpenTelemetry collector has taken.";
        page.family("roost_trace_spans_exported_total", MetricKind::Counter, help).sample(&[], self.exported);
        let help = "Spans that were dropped, by reason.";
        page.family("roost_trace_spans_dropped_total", MetricKind::Counter, help)
            .sample(&[("reason", "queue_full")], self.queue_full)
            .sample(&[("reason", "collector")], self.collector);
        let help = "Spans that wait to be sent to the OpenTelemetry collector.";
        page.family("roost_trace_spans_queued", MetricKind::Gauge, help).sample(&[], self.queued);
    }
}
