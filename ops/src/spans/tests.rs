use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use roost_wire::TraceIds;

use super::*;
use crate::now;

fn resource() -> Resource {
    Resource {
        service: "roost-gateway",
        instance: "eu-1".to_owned(),
        attributes: vec![("roost.region", "eu".to_owned())],
    }
}

fn config(address: SocketAddr) -> TracingConfig {
    TracingConfig { otlp: format!("http://{address}/"), sample: SampleRatio::ALL }
}

fn span() -> Span {
    let mut ids = TraceIds::new([1, 2], SampleRatio::ALL);
    let (context, at) = (ids.root(), now().boot);
    Span {
        name: "test",
        kind: SpanKind::Producer,
        context,
        parent: Some(ids.span()),
        start: at,
        end: at + Duration::from_millis(5),
        attributes: vec![("messaging.system", "mqtt".into()), ("n", 7.into())],
        events: vec![SpanEvent { name: "half", at: at + Duration::from_millis(2), attributes: Vec::new() }],
        error: Some("why".to_owned()),
    }
}

/// What a test has not taken yet; more make the collector slow.
const REQUESTS_MAX: usize = 16;

/// A collector that hands on what it is sent.
async fn collector() -> (SocketAddr, mpsc::Receiver<ExportTraceServiceRequest>) {
    let (sender, received) = mpsc::channel(REQUESTS_MAX);
    let take = async |State(sender): State<mpsc::Sender<_>>, body: Bytes| {
        let _ = sender.send(ExportTraceServiceRequest::decode(body).unwrap()).await;
    };
    let routes = Router::new().route("/v1/traces", post(take)).with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, routes).await });
    (address, received)
}

#[tokio::test]
async fn a_span_reaches_the_collector_as_it_was() {
    let (address, mut received) = collector().await;
    let (spans, export) = Spans::start(Some(&config(address)), resource()).unwrap();
    let sent = span();
    spans.send(sent.clone());
    let request = received.recv().await.unwrap();
    let of_resource = &request.resource_spans[0];
    let names = &of_resource.resource.as_ref().unwrap().attributes;
    assert!(names.iter().any(|pair| pair.key == "service.instance.id"), "{names:?}");
    let got = &of_resource.scope_spans[0].spans[0];
    assert_eq!(got.trace_id, sent.context.trace.bytes());
    assert_eq!(
        (&got.span_id[..], &got.parent_span_id[..]),
        (&sent.context.span.bytes()[..], &sent.parent.unwrap().bytes()[..])
    );
    assert_eq!((&*got.name, got.kind, got.attributes.len()), ("test", 4, 2));
    assert_eq!(got.end_time_unix_nano - got.start_time_unix_nano, 5_000_000);
    assert_eq!(got.events[0].time_unix_nano - got.start_time_unix_nano, 2_000_000);
    assert_eq!(got.status.as_ref().unwrap().message, "why");
    while spans.figures().exported == 0 {
        tokio::task::yield_now().await;
    }
    // What is queued at the end is sent too.
    spans.send(sent);
    drop(spans);
    export.close(Duration::from_secs(30)).await;
    assert_eq!(received.recv().await.unwrap().resource_spans.len(), 1);
}

#[tokio::test]
async fn without_a_collector_spans_are_dropped_and_counted() {
    // Bound and not listening: every attempt is refused at once.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (spans, _export) = Spans::start(Some(&config(nobody)), resource()).unwrap();
    spans.send(span());
    while spans.figures().collector == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(spans.figures(), SpanFigures { collector: 1, ..SpanFigures::default() });
}

#[tokio::test]
async fn who_makes_spans_never_waits_for_a_collector_that_never_answers() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (spans, export) = Spans::start(Some(&config(silent.local_addr().unwrap())), resource()).unwrap();
    // The queue, the batch that is under way, and as many more: none of it waits, since nobody else runs on this thread.
    let (made, room) = (2 * QUEUE_SPANS_MAX, QUEUE_SPANS_MAX);
    for _ in 0..made {
        spans.send(span());
    }
    assert_eq!(spans.figures().queue_full as usize, made - room);
    drop(spans);
    export.close(Duration::ZERO).await;
}

#[tokio::test]
async fn off_nothing_is_made_or_counted() {
    let (spans, export) = Spans::start(None, resource()).unwrap();
    spans.send(span());
    assert_eq!(spans.figures(), SpanFigures::default());
    export.close(Duration::from_secs(1)).await;
    let wrong = TracingConfig { otlp: "not an address".to_owned(), sample: SampleRatio::ALL };
    assert!(Spans::start(Some(&wrong), resource()).is_err());
}

#[test]
fn long_texts_are_cut_at_a_character_and_keep_no_memory() {
    let long = "ä".repeat(40_000);
    for cut in [Attribute::from(long.as_str()), Attribute::from(long.clone())] {
        let Attribute::Text(text) = cut else { panic!("text") };
        assert_eq!((text.len(), text.capacity()), (TEXT_BYTES_MAX, TEXT_BYTES_MAX));
        assert!(long.starts_with(&text));
    }
    assert_eq!(Attribute::from("a/b"), Attribute::Text("a/b".to_owned()));
}
