//! Every error is a problem (RFC 9457) that says what to change.

use serde_json::Value;

use crate::amqp::Nobody;
use crate::stage::{Answer, start};

/// The answer is a problem with that status whose detail speaks of `words`, about `field`.
fn is_problem(answer: &Answer, status: u16, words: &str, field: Option<&str>) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.content_type, "application/problem+json", "{answer:?}");
    let Value::Object(problem) = &answer.body else { panic!("{answer:?}") };
    assert_eq!(problem["status"], status, "{answer:?}");
    assert!(problem["type"].is_string() && problem["title"].is_string(), "{answer:?}");
    assert!(problem["detail"].as_str().unwrap().contains(words), "{answer:?} does not say {words:?}");
    assert_eq!(problem.get("field").and_then(Value::as_str), field, "{answer:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_with_its_field() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let bodies = [
        ("", "EOF", "body"),
        ("{\"payload\":", "line 1 column", "body"),
        ("[]", "not a command", "body"),
        (r#"{"topik": "a"}"#, "unknown field `topik`", "body"),
        (r#"{"topic": "a/#"}"#, "a/#", "topic"),
        (r#"{"topic": ""}"#, "empty", "topic"),
        (r#"{"qos": 2}"#, "qos is 2", "qos"),
        (r#"{"payload": "a", "payload_base64": "YQ=="}"#, "not both", "payload"),
        (r#"{"payload_base64": "%"}"#, "not base64", "payload_base64"),
        (r#"{"message_id": ""}"#, "message id", "message_id"),
        (r#"{"receipts": "some"}"#, "`none`, `final`, `all`", "body"),
        (r#"{"offline": "wait"}"#, "`park` or `fail`", "body"),
        (r#"{"expires_ms": -1}"#, "-1", "body"),
    ];
    for (body, words, field) in bodies {
        let answer = api.post("/v1/tenants/main/devices/d/commands", body).await;
        is_problem(&answer, 400, words, Some(field));
    }
    let paths = [
        ("/v1/tenants/NO/devices/d/commands", "tenant \"NO\"", "tenant"),
        ("/v1/tenants/main/devices/a%2Bb/commands", "device id \"a+b\"", "device"),
        ("/v1/tenants/main/devices/%FF/commands", "UTF-8", "path"),
        ("/v1/tenants/main/devices/d/commands?wait=soon", "\"soon\"", "wait"),
        ("/v1/tenants/main/devices/d/commands?wait=61s", "at most 60 s", "wait"),
        ("/v1/tenants/main/devices/d/commands?weit=5s", "weit", "wait"),
    ];
    for (path, words, field) in paths {
        is_problem(&api.post(path, "{}").await, 400, words, Some(field));
    }
    assert_eq!(api.metric("roost_router_commands_in_custody").await, 0.0);
    let refused = (bodies.len() + paths.len()) as f64;
    assert_eq!(api.metric("roost_router_http_responses_total{status=\"400\"}").await, refused);
}

#[tokio::test]
async fn wrong_pages_methods_and_sizes_are_problems_too() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    is_problem(&api.get("/v2/gateways").await, 404, "/v1/", None);
    is_problem(&api.get("/v1/tenants/main/devices/d/commands").await, 405, "another method", None);
    let long = format!(r#"{{"payload": "{}"}}"#, "x".repeat(600 * 1024));
    let answer = api.post("/v1/tenants/main/devices/d/commands", long).await;
    is_problem(&answer, 413, "524288 bytes", None);
    assert_eq!(api.metric("roost_router_commands_in_custody").await, 0.0);
}

#[tokio::test]
async fn without_amqp_it_lives_is_not_ready_and_says_why() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    assert_eq!(api.get("/livez").await.status, 200);
    api.becomes(503, "AMQP reports: connecting to amqp://guest:***@127.0.0.1").await;
    let answer = api.get("/readyz").await;
    is_problem(&answer, 503, "AMQP publisher", None);
    let waits = answer.body["waits_for"].as_array().unwrap();
    assert!(waits.iter().any(|part| part.as_str().unwrap().starts_with("AMQP commands: ")), "{answer:?}");
    assert_eq!(api.get("/v1/gateways").await.body, Value::Array(Vec::new()));
}

#[tokio::test]
async fn the_metrics_are_prometheus_text() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    api.accepted("pump", "m").await;
    let answer = api.get("/metrics").await;
    assert!(answer.content_type.starts_with("text/plain; version=0.0.4"), "{}", answer.content_type);
    let page = answer.body.as_str().unwrap();
    let mut family = "";
    for line in page.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(declared) => family = declared.split(' ').next().unwrap(),
            None if line.starts_with("# HELP roost_") => {}
            None => {
                assert!(line.starts_with(family) && family.starts_with("roost_"), "{line:?} under {family}")
            }
        }
    }
    assert!(page.contains("roost_router_receipts_total{state=\"accepted\",reason=\"\"} 1\n"), "{page}");
}
