//! The journal stays small, and compacting it loses nothing.

use roost_harness::{PATIENCE, eventually};
use roost_router::shell::{Router, RouterConfig};
use serde_json::json;

use crate::amqp::Nobody;
use crate::stage::{Api, config, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_journal_has_the_same_custody_and_remembers_the_same_ids() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let config = RouterConfig { compact_every_bytes: 100_000, ..config(data.path(), &nobody.address()) };
    let router = Router::start(config).await.unwrap();
    let api = Api::at(router.http_address());
    let ended = json!({"expires_ms": 1, "message_id": "ended", "payload": "x".repeat(200_000)});
    assert_eq!(api.send("pump", "?wait=1m", ended.clone()).await.body["state"], "expired");
    for number in 0..30 {
        api.accepted("pump", &format!("m-{number}")).await;
    }
    eventually("the journal is compacted", PATIENCE, async || {
        let snapshots = api.metric("roost_journal_snapshots_total").await;
        let bytes = api.metric("roost_journal_disk_bytes").await;
        match snapshots >= 1.0 && bytes < 100_000.0 {
            true => Ok(()),
            false => Err(format!("{snapshots} snapshots, {bytes} bytes")),
        }
    })
    .await;
    api.accepted("pump", "after").await;
    router.drain(PATIENCE).await;
    let (_router, api) = start(data.path(), &nobody.address()).await;
    assert_eq!(api.waiting("pump").await, 31);
    for id in ["m-0", "m-29", "after"] {
        assert_eq!(api.accepted("pump", id).await["duplicate"], true, "{id}");
    }
    let again = api.send("pump", "", ended).await;
    assert_eq!(
        (&again.body["state"], &again.body["duplicate"]),
        (&"expired".into(), &true.into()),
        "{again:?}"
    );
}
