//! The HTTP API describes itself, and answers as described: the test client compares every answer of every scenario.

use roost_harness::{Backend, Mesh};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served_and_every_kind_of_answer_is_in_it() {
    let mesh = Mesh::start(Backend::Embedded).await;
    let api = mesh.api();
    let served = api.get("/openapi.json").await.expect("it is served").body;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let page: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("it is JSON");
    assert_eq!(served, page);
    // Each of these panics in the client if it is not as described.
    let device = "/v1/tenants/main/devices/ghost";
    let asked = [
        ("/v1/gateways", 200),
        (device, 200),
        ("/v1/tenants/NOT%20ONE/devices/x", 400),
        ("/v1/nothing", 404),
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/v1/tenants/main/devices/ghost/commands", 405),
    ];
    for (path, status) in asked {
        assert_eq!(api.get(path).await.expect("it answers").status, status, "{path}");
    }
    let commands = format!("{device}/commands");
    let large = json!({"payload": "x".repeat(600 * 1024)});
    let sent = [
        (commands.clone(), json!({"offline": "fail"}), vec![200, 202]),
        (format!("{commands}?wait=1ms"), json!({}), vec![200, 202]),
        (format!("{commands}?wait=never"), json!({}), vec![400]),
        (commands.clone(), json!({"unknown": 1}), vec![400]),
        (commands, large, vec![413]),
    ];
    for (path, body, statuses) in sent {
        let answer = api.post(&path, &body).await.expect("it answers");
        assert!(statuses.contains(&answer.status), "{path}: {answer:?}");
    }
}
