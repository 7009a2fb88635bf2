//! What is published for a device that is gone, over raw sockets.

use roost_harness::{Backend, Mesh, Metrics, PATIENCE, RawMqtt, ServiceKind, eventually, on_both_backends};

use crate::raw_client::RawClient;

const SESSION_TAKEN_OVER: u8 = 0x8E;
const DISCONNECT_WITH_WILL: u8 = 0x04;

/// A CONNECT with a will at QoS 1, whose payload is the client's id.
struct Mortal<'a> {
    level: u8,
    id: &'a str,
    topic: &'a str,
    keep_alive_s: u8,
    clean_start: bool,
    /// v5: how long the session outlives the connection, and the will's delay.
    seconds: Option<(u8, u8)>,
}

impl<'a> Mortal<'a> {
    fn new(level: u8, id: &'a str) -> Self {
        Self { level, id, topic: "local/will", keep_alive_s: 60, clean_start: true, seconds: None }
    }

    /// Connects, and says whether a session was present.
    async fn connect(&self, port: u16) -> (RawMqtt, bool) {
        const WILL_AT_QOS_1: u8 = 0b0000_1100;
        const CLEAN_START: u8 = 0b0000_0010;
        let flags = WILL_AT_QOS_1 | if self.clean_start { CLEAN_START } else { 0 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', self.level, flags, 0, self.keep_alive_s];
        let (expiry_s, delay_s) = self.seconds.unwrap_or_default();
        if self.level == 5 {
            body.extend_from_slice(&[5, 0x11, 0, 0, 0, expiry_s]);
        }
        field(&mut body, self.id);
        if self.level == 5 {
            body.extend_from_slice(&[5, 0x18, 0, 0, 0, delay_s]);
        }
        field(&mut body, self.topic);
        field(&mut body, self.id);
        let mut raw = RawMqtt::connect(port).await;
        raw.send_packet(0x10, &body).await;
        let (first, body) = raw.packet().await.expect("a CONNACK");
        assert_eq!((first, body[1]), (0x20, 0), "{body:?}");
        // A fresh session is kept only if its client is heard of again: it may not know that it is one.
        raw.send_packet(0xC0, &[]).await;
        assert_eq!(raw.packet().await.expect("a PINGRESP").0, 0xD0);
        (raw, body[0] == 1)
    }
}

fn field(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).expect("it is short").to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

async fn watcher(port: u16, level: u8) -> RawClient {
    let mut watcher = RawClient::clean(port, level, &format!("watcher-{level}")).await;
    watcher.subscribe("local/will").await;
    watcher
}

async fn hears(watcher: &mut RawClient, expected: &str) {
    let message = watcher.next().await;
    assert_eq!(message.text, expected);
    watcher.acknowledge(&message).await;
}

async fn a_will_is_published_however_the_connection_ends(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    for level in [4, 5] {
        let mut watcher = watcher(port, level).await;
        let (broken, _) = Mortal::new(level, "broken").connect(port).await;
        drop(broken);
        hears(&mut watcher, "broken").await;

        let silent = Mortal { keep_alive_s: 1, ..Mortal::new(level, "silent") };
        let (mut silent, _) = silent.connect(port).await;
        hears(&mut watcher, "silent").await;
        silent.rest().await;

        let (mut older, _) = Mortal::new(level, "twin").connect(port).await;
        let (mut newer, _) = Mortal::new(level, "twin").connect(port).await;
        hears(&mut watcher, "twin").await;
        older.rest().await;
        newer.send_packet(0xE0, &[]).await;
        newer.rest().await;

        let (mut rude, _) = Mortal::new(level, "rude").connect(port).await;
        rude.send(&[0x00, 0x00]).await;
        hears(&mut watcher, "rude").await;
        watcher.has_no_more().await;
    }
    let mut watcher = watcher(port, 5).await;
    let (mut wants_it, _) = Mortal::new(5, "wants it").connect(port).await;
    wants_it.send_packet(0xE0, &[DISCONNECT_WITH_WILL]).await;
    hears(&mut watcher, "wants it").await;
}

async fn a_goodbye_is_not_mourned(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    for level in [4, 5] {
        let mut watcher = watcher(port, level).await;
        let (mut polite, _) = Mortal::new(level, "polite").connect(port).await;
        polite.send_packet(0xE0, &[]).await;
        polite.rest().await;
        watcher.has_no_more().await;
    }
    eventually("both are counted", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.admin("eu-1")).await;
        match metrics.sum("roost_gateway_wills_ended_total", &["outcome=\"discarded\""]) {
            2.0 => Ok(()),
            other => Err(format!("{other}")),
        }
    })
    .await;
}

async fn a_delay_is_for_who_comes_back(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let mut watcher = watcher(port, 5).await;
    let delayed = |id| Mortal { clean_start: false, seconds: Some((200, 2)), ..Mortal::new(5, id) };
    let (broken, _) = delayed("returns").connect(port).await;
    drop(broken);
    let (mut back, session_present) = delayed("returns").connect(port).await;
    assert!(session_present);
    // Its will would have come before this one's.
    let (broken, _) = delayed("stays away").connect(port).await;
    drop(broken);
    hears(&mut watcher, "stays away").await;
    watcher.has_no_more().await;

    // A clean start ends the session, and does not wait for the delay.
    let slow = |id| Mortal { clean_start: false, seconds: Some((200, 200)), ..Mortal::new(5, id) };
    let (broken, _) = slow("begins anew").connect(port).await;
    drop(broken);
    let (_anew, session_present) = Mortal { clean_start: true, ..slow("begins anew") }.connect(port).await;
    assert!(!session_present);
    hears(&mut watcher, "begins anew").await;
    back.send_packet(0xE0, &[]).await;
    back.rest().await;
    watcher.has_no_more().await;
}

/// The mesh is what a server is to its devices: one that has connected at another gateway is not gone.
async fn a_device_that_moves_is_not_mourned(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut watcher = watcher(mesh.mqtt_port("eu-1"), 5).await;
    let (mut older, _) = Mortal::new(5, "rover").connect(mesh.mqtt_port("eu-1")).await;
    mesh.api().located("rover", "eu-1").await;
    let (_newer, _) = Mortal::new(5, "rover").connect(mesh.mqtt_port("us-1")).await;
    let (first, body) = older.packet().await.expect("a DISCONNECT");
    assert_eq!((first, body[0]), (0xE0, SESSION_TAKEN_OVER));
    watcher.has_no_more().await;
    eventually("it is counted", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.admin("eu-1")).await;
        match metrics.sum("roost_gateway_wills_ended_total", &["outcome=\"elsewhere\""]) {
            1.0 => Ok(()),
            other => Err(format!("{other}")),
        }
    })
    .await;
}

async fn a_service_hears_of_it(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.*.state.gone").await;
    for level in [4, 5] {
        let id = format!("pump-{level}");
        let mortal = Mortal { topic: "state/gone", ..Mortal::new(level, &id) };
        let (broken, _) = mortal.connect(mesh.mqtt_port("eu-1")).await;
        drop(broken);
        let event = service.next().await;
        assert_eq!((event.text(), event.header("roost-device")), (&*id, Some(&*id)));
    }
}

on_both_backends!(
    a_will_is_published_however_the_connection_ends,
    a_goodbye_is_not_mourned,
    a_delay_is_for_who_comes_back,
    a_device_that_moves_is_not_mourned,
    a_service_hears_of_it
);
