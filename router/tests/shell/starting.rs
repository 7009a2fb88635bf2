//! What keeps a router from starting is said so that an operator can act.

use std::fs;

use roost_router::shell::{Router, RouterConfig};

use crate::amqp::Nobody;
use crate::stage::{config, start};

async fn refused(config: RouterConfig) -> String {
    Router::start(config).await.map(|router| router.http_address()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (router, _api) = start(&data.path().join("first"), &nobody.address()).await;
    let second = config(&data.path().join("second"), &nobody.address());
    let error = refused(RouterConfig { http: router.http_address(), ..second }).await;
    assert!(
        error.contains(&router.http_address().to_string()) && error.contains("choose another port"),
        "{error}"
    );
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let config = config(data.path(), &nobody.address());
    let error = refused(RouterConfig { http: "0.0.0.0:0".parse().unwrap(), ..config }).await;
    assert!(error.contains("only loopback") && error.contains("127.0.0.1"), "{error}");
}

#[tokio::test]
async fn two_routers_never_open_one_journal() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (_router, api) = start(data.path(), &nobody.address()).await;
    let error = refused(config(data.path(), &nobody.address())).await;
    assert!(error.contains("in use by another process"), "{error}");
    assert!(error.contains(data.path().to_str().unwrap()), "{error}");
    api.accepted("pump", "the first one goes on").await;
}

#[tokio::test]
async fn a_damaged_journal_is_never_opened() {
    let (data, nobody) = (tempfile::tempdir().unwrap(), Nobody::new());
    let (router, api) = start(data.path(), &nobody.address()).await;
    for number in 0..20 {
        api.accepted("pump", &format!("m-{number}")).await;
    }
    router.drain(std::time::Duration::from_secs(30)).await;
    let segment = data.path().join("segment-00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let error = refused(config(data.path(), &nobody.address())).await;
    assert!(error.contains(segment.to_str().unwrap()) && error.contains("is damaged at byte"), "{error}");
}
