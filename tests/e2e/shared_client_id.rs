//! Two clients that share a client id and take it from each other: it does not go on for ever, and a person is told.

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, Metrics, PATIENCE, eventually, on_both_backends,
};

const SESSION_TAKEN_OVER: u8 = 0x8E;
/// As many takeovers in a row as one gateway allows.
const BURST: usize = 20;

/// Connects at each port in turn, as two clients do that reconnect at once, until one is refused: the one that is connected then, the
/// refusal in the client's words, and how often the id was taken over.
async fn take_turns(ports: [u16; 2]) -> (Device, String, usize) {
    let mut holder = Device::connected(DeviceKind::RumqttcV5, &Connect::to(ports[1], "twin")).await;
    for turn in 0..=2 * BURST + 20 {
        match Device::connect(DeviceKind::RumqttcV5, &Connect::to(ports[turn % 2], "twin")).await {
            Ok(next) => {
                assert_eq!(holder.lost().await.code, Some(SESSION_TAKEN_OVER));
                holder = next;
            }
            Err(refused) => return (holder, refused.reason, turn),
        }
    }
    panic!("it goes on for ever");
}

/// The refusal is counted, and the log says who takes what from whom.
async fn is_told(mesh: &Mesh) {
    // The page is up to a fifth of a second old.
    eventually("the refusal is counted", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.admin("eu-1")).await;
        match metrics.sum("roost_gateway_connects_refused_total", &["reason=\"takeovers\""]) {
            1.0 => Ok(()),
            counted => Err(format!("{counted} are counted")),
        }
    })
    .await;
    eventually("the log names the id and the addresses", PATIENCE, async || {
        let output = mesh.output();
        let line = output.lines().find(|line| line.contains("clients take over one client id"));
        let line = line.ok_or_else(|| output.clone())?;
        match line.contains("twin") && line.matches("127.0.0.1:").count() == 2 {
            true => Ok(()),
            false => Err(line.to_owned()),
        }
    })
    .await;
}

async fn at_one_gateway_the_one_that_is_connected_stays(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let (mut holder, refusal, turns) = take_turns([port, port]).await;
    assert_eq!(turns, BURST);
    assert!(refusal.contains("ConnectionRateExceeded"), "{refusal}");
    holder.publish("still/here", b"", 1).await.expect("it stays");
    is_told(&mesh).await;
}

async fn between_two_gateways_each_slows_its_own_client_down(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let ports = [mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")];
    let (mut holder, refusal, turns) = take_turns(ports).await;
    assert!((BURST..=2 * BURST + 2).contains(&turns), "{turns}");
    assert!(refusal.contains("ConnectionRateExceeded"), "{refusal}");
    holder.publish("still/here", b"", 1).await.expect("it stays");
}

on_both_backends!(
    at_one_gateway_the_one_that_is_connected_stays,
    between_two_gateways_each_slows_its_own_client_down
);
