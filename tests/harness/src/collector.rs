//! An OpenTelemetry collector that keeps what it is sent: OTLP over HTTP, protobuf.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;
use tokio::task::JoinHandle;

use crate::eventually::{PATIENCE, eventually};

/// A running collector on a loopback port of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<CollectedSpan>>>,
    task: JoinHandle<()>,
}

/// A span as it was sent, ids in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectedSpan {
    /// `service.name` of its process.
    pub service: String,
    /// What it is called.
    pub name: String,
    /// Its trace.
    pub trace: String,
    /// Itself.
    pub id: String,
    /// Its parent; empty if it has none.
    pub parent: String,
    /// The names of its events, in order.
    pub events: Vec<String>,
    /// When it began and ended, in nanoseconds since 1970.
    pub times: (u64, u64),
    attributes: Vec<(String, String)>,
}

impl CollectedSpan {
    /// The value of an attribute, as text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Collector {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<CollectedSpan>>>::default();
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&spans));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let task = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it serves until it is dropped");
        });
        Self { url, spans, task }
    }

    /// Where spans are to be sent: what `--otlp` and `tracing.otlp` take.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The spans of a trace so far, in the order in which they began.
    pub fn spans_of(&self, trace: &str) -> Vec<CollectedSpan> {
        let mut spans = self.all();
        spans.retain(|span| span.trace == trace);
        spans.sort_by_key(|span| span.times);
        spans
    }

    /// Every span so far.
    pub fn all(&self) -> Vec<CollectedSpan> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Awaits that a trace has exactly the spans of these names, in any order, and returns them in the order in which they began.
    ///
    /// # Panics
    /// When it does not have them in time.
    pub async fn trace_with(&self, trace: &str, names: &[&str]) -> Vec<CollectedSpan> {
        let mut wanted = names.to_vec();
        wanted.sort_unstable();
        eventually(&format!("trace {trace} has the spans {wanted:?}"), PATIENCE, async || {
            let spans = self.spans_of(trace);
            let mut found: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            found.sort_unstable();
            if found == wanted { Ok(()) } else { Err(format!("{:#?}", self.all())) }
        })
        .await;
        self.spans_of(trace)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(spans): State<Arc<Mutex<Vec<CollectedSpan>>>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("it is OTLP");
    let mut collected = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.map(|resource| pairs(resource.attributes)).unwrap_or_default();
        let service = resource.into_iter().find(|(name, _)| name == "service.name");
        let service = service.map(|(_, value)| value).unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            collected.push(CollectedSpan {
                service: service.clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                events: span.events.into_iter().map(|event| event.name).collect(),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                attributes: pairs(span.attributes),
            });
        }
    }
}

fn pairs(attributes: Vec<KeyValue>) -> Vec<(String, String)> {
    let text = |value| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, text(pair.value.and_then(|value| value.value)))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
