//! A disk that takes no more, with the refusals of a real kernel: the child's files may not grow beyond a limit, which is lifted
//! later.

use std::path::Path;

use roost_harness::{PATIENCE, eventually};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::amqp::Nobody;
use crate::child::{self, Running};
use crate::stage::{Api, start};

const NAME: &str = "full_disk::while_the_disk_takes_nothing_nothing_is_acknowledged_and_all_else_goes_on";

/// A router that runs until it is killed.
async fn serve(directory: &Path) {
    let nobody = Nobody::new();
    let (router, _api) = start(directory, &nobody.address()).await;
    child::tell(router.http_address());
    std::future::pending().await
}

#[tokio::test]
async fn while_the_disk_takes_nothing_nothing_is_acknowledged_and_all_else_goes_on() {
    if let Some(directory) = child::directory() {
        return serve(&directory).await;
    }
    let data = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes. Without the trap the kernel would end the child instead of refusing it.
    let mut running = Running::start(NAME, data.path(), "trap '' XFSZ; ulimit -S -f 128;");
    let api = Api::at(running.line().unwrap().parse().unwrap());
    api.accepted("pump", "before").await;
    // Larger than any file may be: no new segment takes it either.
    let large = json!({"message_id": "large", "payload": "x".repeat(100_000)});
    let answer = api.send("pump", "", large.clone()).await;
    assert_eq!((answer.status.as_u16(), answer.retry_after_s), (503, Some(5)), "{answer:?}");
    assert_eq!(answer.body["message_id"], "large");
    api.becomes(503, "journal: File too large").await;

    // Everything that needs no disk is answered; commands are refused at once, and counted.
    assert_eq!(api.get("/livez").await.status, 200);
    assert_eq!(api.get("/v1/gateways").await.status, 200);
    let answer = api.send("pump", "", json!({"message_id": "meanwhile"})).await;
    assert!(answer.body["detail"].as_str().unwrap().contains("was not taken"), "{answer:?}");
    assert_eq!(api.metric("roost_router_http_not_taken_total{reason=\"journal_stuck\"}").await, 1.0);
    assert_eq!(api.metric("roost_journal_stuck").await, 1.0);

    let limit = Rlimit { current: None, maximum: None };
    prlimit(Pid::from_raw(running.id().cast_signed()), Resource::Fsize, limit).unwrap();
    eventually("it writes again", PATIENCE, async || match api.metric("roost_journal_stuck").await {
        0.0 => Ok(()),
        _ => Err("stuck".to_owned()),
    })
    .await;
    // What was taken in before the disk refused is safe now; what was refused is taken.
    let again = api.send("pump", "", large).await;
    assert_eq!(again.body["duplicate"], true, "{again:?}");
    assert_eq!(api.accepted("pump", "meanwhile").await["duplicate"], false);
    running.kill();

    let nobody = Nobody::new();
    let (_router, api) = start(data.path(), &nobody.address()).await;
    assert_eq!(api.waiting("pump").await, 3);
}
