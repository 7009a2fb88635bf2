//! Spans on their way to an OpenTelemetry collector: queued within a bound, sent in batches, counted when they are dropped. Whoever makes
//! them never waits.

mod export;
mod figures;

use std::sync::Arc;
use std::time::Duration;

use roost_wire::{BootTime, SampleRatio, SpanId, TraceContext};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use figures::Counts;
pub use figures::SpanFigures;

/// Where spans go, and which share of the traces that begin here is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct TracingConfig {
    /// The collector's OTLP/HTTP address, for example `http://127.0.0.1:4318`; `/v1/traces` is added.
    pub otlp: String,
    /// A trace that comes in is recorded if its sender says so; of those that begin here it is this share.
    pub sample: SampleRatio,
}

/// One span, as a role saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What it is called: few names, each with a fixed meaning.
    pub name: &'static str,
    /// Which way its message goes.
    pub kind: SpanKind,
    /// Its place in the trace.
    pub context: TraceContext,
    /// The span it is a child of; `None` begins the trace.
    pub parent: Option<SpanId>,
    /// When it began.
    pub start: BootTime,
    /// When it ended.
    pub end: BootTime,
    /// By OpenTelemetry's semantic conventions as far as they go, then `roost.*`.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// What.
    pub name: &'static str,
    /// When.
    pub at: BootTime,
    /// The rest.
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// OpenTelemetry's kinds, as far as they are of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// It gives a message to whoever takes it later.
    Producer,
    /// It takes such a message.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// Text, by [`From`] no longer than 256 bytes: what is behind them is cut.
    Text(String),
    /// A whole number.
    Int(i64),
}

/// Takes spans, and never blocks: what there is no room for is dropped and counted. Off by default.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    inner: Option<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    queue: mpsc::Sender<Span>,
    counts: Arc<Counts>,
}

/// The task that sends them.
#[derive(Debug, Default)]
pub struct SpanExport {
    task: Option<JoinHandle<()>>,
}

/// What a process says of itself with its spans.
#[derive(Debug, Clone)]
pub struct Resource {
    /// `roost-gateway` or `roost-router`.
    pub service: &'static str,
    /// Which of them.
    pub instance: String,
    /// By the conventions, or `roost.*`.
    pub attributes: Vec<(&'static str, String)>,
}

/// 4,096 spans: a few seconds of a busy gateway at a hundredth. Its spans take 2 KiB at most; a router's, if all have all their steps,
/// 16 KiB. Beyond it they are dropped.
const QUEUE_SPANS_MAX: usize = 4_096;

/// A device may publish on topics of 64 KiB: 512 of them in one request are more than collectors take, and 4,096 would be much to keep.
const TEXT_BYTES_MAX: usize = 256;

impl Spans {
    /// Begins to send, if it is configured. Call it within a tokio runtime; the task lives there until [`SpanExport::close`].
    ///
    /// # Errors
    /// The collector's address is none.
    pub fn start(
        config: Option<&TracingConfig>,
        resource: Resource,
    ) -> Result<(Self, SpanExport), SpansError> {
        let Some(config) = config else { return Ok((Self::default(), SpanExport::default())) };
        let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
        let counts = Arc::<Counts>::default();
        let exporter = export::Exporter::new(config, resource, Arc::clone(&counts))?;
        let task = Some(tokio::spawn(exporter.run(spans)));
        Ok((Self { inner: Some(Inner { queue, counts }) }, SpanExport { task }))
    }

    /// Takes a span.
    pub fn send(&self, span: Span) {
        let Some(Inner { queue, counts }) = &self.inner else { return };
        if queue.try_send(span).is_err() {
            counts.queue_full();
        }
    }

    /// What was sent and dropped so far.
    #[must_use]
    pub fn figures(&self) -> SpanFigures {
        self.inner.as_ref().map_or(SpanFigures::default(), |inner| {
            inner.counts.figures(QUEUE_SPANS_MAX - inner.queue.capacity())
        })
    }
}

impl SpanExport {
    /// Sends what is queued, within `grace`. Drop every [`Spans`] before: it ends when nobody can send any more.
    pub async fn close(self, grace: Duration) {
        let Some(mut task) = self.task else { return };
        if tokio::time::timeout(grace, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Why spans cannot be sent. The operator is to act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tracing: {otlp:?} is not the address of a collector: {reason}")]
pub struct SpansError {
    otlp: String,
    reason: String,
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(cut(text).to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        match text.len() > TEXT_BYTES_MAX {
            // Into a smaller allocation.
            true => text.as_str().into(),
            false => Self::Text(text),
        }
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// As much as is told, up to the end of a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
