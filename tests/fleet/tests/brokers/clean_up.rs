//! Sessions of a fleet do not stay behind at mosquitto, unless they are to.

use bytes::BytesMut;
use roost_fleet::shell::{Progress, run};
use roost_fleet::{Action, Step};
use roost_gateway::packet::{
    Connect, ConnectProperties, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion, Text,
};
use roost_harness::ReservedPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::measured::{measure, options, plan};
use crate::mosquitto::{OPEN, mosquitto};

/// Whether the broker has a session of this client.
async fn has_session(port: u16, client_id: String) -> bool {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let connect = Connect {
        version: ProtocolVersion::V311,
        clean_start: false,
        keep_alive_s: 0,
        client_id: Text::parse(client_id).unwrap(),
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let mut bytes = BytesMut::new();
    Encoder::new(ProtocolVersion::V311).encode(&Packet::Connect(Box::new(connect)), &mut bytes).unwrap();
    socket.write_all(&bytes.split()).await.unwrap();
    let mut decoder = Decoder::for_client(ProtocolVersion::V311, DecodeLimits::default());
    loop {
        socket.read_buf(&mut bytes).await.unwrap();
        if let Some(packet) = decoder.decode(&mut bytes).unwrap() {
            let Packet::Connack(connack) = packet else { panic!("{packet:?}") };
            return connack.session_present;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_removed_unless_they_are_to_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    for (v5, clean_up, is_away) in [
        (false, true, false),
        (true, true, false),
        (true, true, true),
        (false, false, false),
        (true, false, false),
    ] {
        let port = ReservedPort::any();
        let _server = mosquitto(directory.path(), &port, OPEN).await;
        let mut plan = plan(port.number());
        (plan.mqtt.v5, plan.mqtt.persistent, plan.mqtt.clean_up) = (v5, true, clean_up);
        let mut checks = format!("sessions_left=0,sessions_removed={}", if clean_up { 10 } else { 0 });
        if is_away {
            // They are to come back long after the run.
            plan.scenario.steps = vec![Step { at_ms: 500, share: 1.0, action: Action::Cut }];
            plan.reconnect.spread_ms = 3_600_000;
            plan.drain_ms = 500;
        } else {
            checks += ",lost=0,connects=10";
        }
        let summary = measure(plan, &checks).await.unwrap();
        assert!(summary.passed(), "{v5} {clean_up} {is_away}: {summary}");
        for device in 0..10 {
            let kept = has_session(port.number(), format!("d{device:06}")).await;
            assert_eq!(kept, !clean_up, "{v5} {clean_up} {is_away}: device {device}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_cannot_be_removed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let port = ReservedPort::any();
    let server = mosquitto(directory.path(), &port, OPEN).await;
    let mut plan = plan(port.number());
    (plan.mqtt.v5, plan.mqtt.persistent, plan.drain_ms) = (false, true, 500);
    plan.duration_ms = 3_000;
    let options = options(plan, "sessions_left=10,online_max=10");
    let mut server = Some(server);
    let lose_it = |progress: &Progress| {
        if progress.moment.online == 10 {
            server = None;
        }
    };
    let summary = run(&options, std::future::pending(), lose_it).await.unwrap();
    assert!(summary.passed(), "{summary}");
    assert!(
        summary.remarks.iter().any(|remark| remark.contains("10 sessions could not be removed")),
        "{summary}"
    );
}
