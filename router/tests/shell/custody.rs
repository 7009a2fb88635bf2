//! Commands over HTTP: into custody, repeated, waited for, and found again by the next run. No AMQP server is there: custody
//! needs a disk and nothing else.

use std::time::Duration;

use reqwest::StatusCode;
use roost_harness::{PATIENCE, eventually};
use roost_router::shell::{Router, RouterConfig};
use serde_json::json;

use crate::amqp::Nobody;
use crate::stage::{Api, config, start};

#[tokio::test]
async fn a_command_for_a_device_that_nobody_knows_is_taken_and_waits() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let answer = api.send("pump", "?wait=0s", json!({"payload": "on"})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert!(["accepted", "parked"].contains(&answer.body["state"].as_str().unwrap()), "{answer:?}");
    assert!(answer.body["message_id"].as_str().unwrap().starts_with("http-"), "HTTP assigns one: {answer:?}");
    assert_eq!((api.waiting("pump").await, api.waiting("other").await), (1, 0));
    assert_eq!(api.metric("roost_router_commands_accepted_total").await, 1.0);
    assert_eq!(api.metric("roost_router_commands_in_custody").await, 1.0);
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_receipt_of_the_first_also_after_a_restart() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (router, api) = start(data.path(), &nobody.address()).await;
    let first = api.accepted("pump", "m-1").await;
    let again = api.accepted("pump", "m-1").await;
    assert_eq!((&again["command_id"], &again["duplicate"]), (&first["command_id"], &true.into()));
    assert_eq!(first["duplicate"], false);
    router.drain(Duration::from_secs(30)).await;
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let later = api.accepted("pump", "m-1").await;
    assert_eq!((&later["command_id"], &later["duplicate"]), (&first["command_id"], &true.into()));
    assert_eq!(api.waiting("pump").await, 1);
    assert_eq!(api.metric("roost_router_duplicates_total").await, 1.0);
}

#[tokio::test]
async fn a_router_that_was_dropped_without_a_farewell_resumes_its_custody_in_order() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let mut places = Vec::new();
    for run in 0..3 {
        let (router, api) = reopened(config(data.path(), &nobody.address())).await;
        assert_eq!(api.waiting("pump").await, run * 10);
        for number in 0..10 {
            let receipt = api.accepted("pump", &format!("m-{run}-{number}")).await;
            places.push(receipt["command_id"].as_str().unwrap().to_owned());
        }
        drop(router);
    }
    let in_order = places.windows(2).all(|pair| pair[0].len() < pair[1].len() || pair[0] < pair[1]);
    assert!(in_order, "{places:?}");
}

/// Starts a router when the one before it has let go of the directory.
async fn reopened(config: RouterConfig) -> (Router, Api) {
    let router = eventually("the journal is free", PATIENCE, async || {
        Router::start(config.clone()).await.map_err(|error| error.to_string())
    })
    .await;
    let api = Api::at(router.http_address());
    (router, api)
}

#[tokio::test]
async fn who_waits_gets_the_final_receipt_as_soon_as_there_is_one() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let answer = api.send("pump", "?wait=1m", json!({"expires_ms": 1, "payload": "on"})).await;
    assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &"expired".into()), "{answer:?}");
    assert_eq!(api.waiting("pump").await, 0);
}

#[tokio::test]
async fn what_is_refused_is_a_final_receipt_and_no_error() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let week_and_more = 8 * 24 * 3_600_000_u64;
    let answer = api.send("pump", "", json!({"expires_ms": week_and_more})).await;
    assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &"rejected".into()), "{answer:?}");
    assert_eq!(answer.body["reason"], "lifetime_too_long");
}

#[tokio::test]
async fn requests_beyond_the_bound_are_told_when_to_come_back() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let config = RouterConfig { requests_waiting_max: 1, ..config(data.path(), &nobody.address()) };
    let router = Router::start(config).await.unwrap();
    let api = Api::at(router.http_address());
    let patient = api.clone();
    let waits = tokio::spawn(async move { patient.send("pump", "?wait=1m", json!({})).await });
    eventually("one request waits", PATIENCE, async || match api.waiting("pump").await {
        1 => Ok(()),
        other => Err(format!("{other} wait")),
    })
    .await;
    let answer = api.send("pump", "", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.retry_after_s), (503, Some(1)), "{answer:?}");
    assert_eq!(api.waiting("pump").await, 1, "what was refused was not taken");
    // The one that waits is told the latest when the router goes.
    router.drain(Duration::from_secs(30)).await;
    assert_eq!(waits.await.unwrap().status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_device_id_of_any_characters_is_reached_by_its_escaped_path() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    for (path, id) in [("a%2Fb", "a/b"), ("a%20b", "a b"), ("%C3%BC%25", "ü%"), ("a.b", "a.b")] {
        let answer = api.send(path, "", json!({})).await;
        assert_eq!((answer.status, &answer.body["device"]), (StatusCode::ACCEPTED, &id.into()), "{answer:?}");
        assert_eq!(api.get(&format!("/v1/tenants/main/devices/{path}")).await.body["device"], id);
    }
}
