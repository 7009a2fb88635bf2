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

/// The refusal is counted, at one of the gateways, and the log says who takes what: with the addresses of those that are there.
async fn is_told(mesh: &Mesh, addresses: usize) {
    sum_is(mesh, "roost_gateway_connects_refused_total", "reason=\"takeovers\"", 1).await;
    eventually(&format!("the log names the id and {addresses} addresses"), PATIENCE, async || {
        let output = mesh.output();
        let line = output.lines().find(|line| line.contains("clients take over one client id"));
        let line = line.ok_or_else(|| output.clone())?;
        match line.contains("twin") && line.matches("127.0.0.1:").count() == addresses {
            true => Ok(()),
            false => Err(line.to_owned()),
        }
    })
    .await;
}

/// What both gateways have counted together. Their pages are up to a fifth of a second old.
async fn sum_is(mesh: &Mesh, name: &str, label: &str, expected: usize) {
    eventually(&format!("{expected} are counted as {name}{{{label}}}"), PATIENCE, async || {
        let mut counted = 0.0;
        for gateway in ["eu-1", "us-1"] {
            counted += Metrics::of(&mesh.admin(gateway)).await.sum(name, &[label]);
        }
        if counted == expected as f64 { Ok(()) } else { Err(format!("{counted}")) }
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
    sum_is(&mesh, "roost_gateway_disconnects_total", "reason=\"taken_over\"", turns).await;
    is_told(&mesh, 2).await;
}

async fn between_two_gateways_each_slows_its_own_client_down(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let ports = [mesh.mqtt_port("eu-1"), mesh.mqtt_port("us-1")];
    let (mut holder, refusal, turns) = take_turns(ports).await;
    assert!((BURST..=2 * BURST + 2).contains(&turns), "{turns}");
    assert!(refusal.contains("ConnectionRateExceeded"), "{refusal}");
    holder.publish("still/here", b"", 1).await.expect("it stays");
    sum_is(&mesh, "roost_gateway_disconnects_total", "reason=\"elsewhere\"", turns).await;
    // The one that stays is at the other gateway: who refuses does not know its address.
    is_told(&mesh, 1).await;
}

on_both_backends!(
    at_one_gateway_the_one_that_is_connected_stays,
    between_two_gateways_each_slows_its_own_client_down
);
