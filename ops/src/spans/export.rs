//! Sends spans to the collector, in batches, and says once when that begins or ceases to work.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanKind as OtelKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, SpanId as OtelSpanId, TraceId as OtelTraceId};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use roost_wire::BootTime;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::figures::Counts;
use super::{Attribute, Resource, Span, SpanKind, SpansError, TracingConfig};
use crate::now;

/// Sent at once, at most: what collectors take by default without asking how large a request may be.
const BATCH_SPANS: usize = 512;

/// How long a span waits for others.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// How long a collector may take; meanwhile the queue fills.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Exporter {
    otlp: String,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
    /// Of the last attempt; none was made yet.
    worked: Option<bool>,
}

/// From the clock of the spans to the calendar, read anew for each batch.
#[derive(Clone, Copy)]
struct Calendar {
    wall: SystemTime,
    boot: BootTime,
}

impl Exporter {
    pub(super) fn new(
        config: &TracingConfig,
        resource: Resource,
        counts: Arc<Counts>,
    ) -> Result<Self, SpansError> {
        let otlp = config.otlp.trim_end_matches('/').to_owned();
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(format!("{otlp}/v1/traces"))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| SpansError { otlp: otlp.clone(), reason: error.to_string() })?;
        exporter.set_resource(&described(resource));
        let scope = InstrumentationScope::builder("roost").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { otlp, exporter, scope, counts, worked: None })
    }

    /// Runs until nobody can send any more and what was queued is sent.
    pub(super) async fn run(mut self, mut spans: mpsc::Receiver<Span>) {
        let mut every = pace();
        let mut batch = Vec::with_capacity(BATCH_SPANS);
        loop {
            let (room, has_some) = (BATCH_SPANS - batch.len(), !batch.is_empty());
            let is_open = tokio::select! {
                count = spans.recv_many(&mut batch, room) => count > 0,
                _ = every.tick(), if has_some => {
                    self.send(&mut batch).await;
                    true
                }
            };
            if batch.len() == BATCH_SPANS || (!is_open && !batch.is_empty()) {
                self.send(&mut batch).await;
            }
            if !is_open {
                return;
            }
        }
    }

    /// Sends a batch; in vain it is dropped, since more come.
    async fn send(&mut self, batch: &mut Vec<Span>) {
        let (count, calendar) = (batch.len(), Calendar { wall: SystemTime::now(), boot: now().boot });
        let data = batch.drain(..).map(|span| self.data(span, calendar)).collect();
        let sent = match timeout(TIMEOUT, self.exporter.export(data)).await {
            Ok(sent) => sent,
            Err(_) => Err(opentelemetry_sdk::error::OTelSdkError::Timeout(TIMEOUT)),
        };
        match &sent {
            Ok(()) => self.counts.exported(count),
            Err(_) => self.counts.not_taken(count),
        }
        self.tell(&sent);
    }

    /// Once per change.
    fn tell(&mut self, sent: &OTelSdkResult) {
        if self.worked.replace(sent.is_ok()) == Some(sent.is_ok()) {
            return;
        }
        match sent {
            Ok(()) => tracing::info!(otlp = self.otlp, "the OpenTelemetry collector takes spans"),
            Err(error) => tracing::warn!(
                otlp = self.otlp,
                %error,
                "the OpenTelemetry collector takes no spans: they are dropped until it does, and nothing else is affected"
            ),
        }
    }

    fn data(&self, span: Span, calendar: Calendar) -> SpanData {
        let context = span.context;
        let flags = if context.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let (trace, id) =
            (OtelTraceId::from_bytes(context.trace.bytes()), OtelSpanId::from_bytes(context.span.bytes()));
        let events = span.events.into_iter().map(|event| {
            let (at, attributes) = (calendar.at(event.at), key_values(event.attributes));
            opentelemetry::trace::Event::new(event.name, at, attributes, 0)
        });
        let mut of_span = SpanEvents::default();
        of_span.events = events.collect();
        SpanData {
            span_context: SpanContext::new(trace, id, flags, false, TraceState::NONE),
            parent_span_id: span
                .parent
                .map_or(OtelSpanId::INVALID, |parent| OtelSpanId::from_bytes(parent.bytes())),
            parent_span_is_remote: span.parent.is_some(),
            span_kind: match span.kind {
                SpanKind::Producer => OtelKind::Producer,
                SpanKind::Consumer => OtelKind::Consumer,
            },
            name: span.name.into(),
            start_time: calendar.at(span.start),
            end_time: calendar.at(span.end),
            attributes: key_values(span.attributes),
            dropped_attributes_count: 0,
            events: of_span,
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// Turns that nobody took are not made up for: after an idle hour each span would be a request of its own for as long.
fn pace() -> Interval {
    let mut every = interval(BATCH_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

impl Calendar {
    fn at(self, boot: BootTime) -> SystemTime {
        self.wall + boot.since(self.boot) - self.boot.since(boot)
    }
}

fn key_values(attributes: Vec<(&'static str, Attribute)>) -> Vec<KeyValue> {
    let pair = |(name, value): (&'static str, Attribute)| match value {
        Attribute::Text(text) => KeyValue::new(name, text),
        Attribute::Int(number) => KeyValue::new(name, number),
    };
    attributes.into_iter().map(pair).collect()
}

fn described(resource: Resource) -> opentelemetry_sdk::Resource {
    let own = [
        KeyValue::new("service.name", resource.service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", resource.instance),
    ];
    let more = resource.attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    opentelemetry_sdk::Resource::builder_empty().with_attributes(own.into_iter().chain(more)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_an_idle_hour_spans_wait_for_others_as_ever() {
        let mut every = pace();
        tokio::time::advance(Duration::from_secs(3_600)).await;
        every.tick().await;
        let sent = tokio::time::Instant::now();
        every.tick().await;
        assert!(sent.elapsed() >= BATCH_EVERY);
    }
}
