//! A gateway with users: devices log in with SCRAM-SHA-256 and do so again, others are refused, and an operator hears why.

mod scram;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Federation, Metrics, PATIENCE, Process, RawMqtt, ReservedPort,
    ServiceKind, eventually, on_both_backends, roost,
};
use scram::Scram;

const AUTH: u8 = 0xF0;
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const NOT_AUTHORIZED: u8 = 0x87;
const PASSWORD: &str = "correct horse battery staple";

/// A connection of MQTT 5 that says what its test wants said.
struct Client {
    raw: RawMqtt,
}

/// The properties that a packet has of an exchange.
#[derive(Debug, Default)]
struct Said {
    reason: u8,
    method: Option<String>,
    data: Vec<u8>,
    text: Option<String>,
}

impl Client {
    /// Says CONNECT with the first message of an exchange, a kept session and a keep alive of a minute.
    async fn begins(port: u16, id: &str, first: &[u8]) -> Self {
        let mut raw = RawMqtt::connect(port).await;
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 60];
        // Session Expiry Interval: an hour.
        let properties = [&[0x11, 0, 0, 0x0E, 0x10][..], &exchange(first)].concat();
        body.push(u8::try_from(properties.len()).expect("few"));
        body.extend(properties);
        body.extend(field(id.as_bytes()));
        raw.send_packet(0x10, &body).await;
        Self { raw }
    }

    /// Logs in; the CONNACK, which says whether there was a session.
    async fn logged_in(port: u16, id: &str, user: &str, password: &str) -> (Self, bool) {
        let mut scram = Scram::new(user, password);
        let mut client = Self::begins(port, id, &scram.first()).await;
        let asked = client.asked().await;
        client.auth(CONTINUE, &scram.last(&asked)).await;
        let (first, body) = client.raw.packet().await.expect("a CONNACK");
        assert_eq!((first, body[1]), (0x20, 0), "{body:02x?}");
        let said = Said::of(body[1], &body[2..]);
        assert_eq!(said.method.as_deref(), Some("SCRAM-SHA-256"));
        assert!(scram.trusts(&said.data), "the gateway does not know the password");
        (client, body[0] == 1)
    }

    async fn auth(&mut self, reason: u8, data: &[u8]) {
        let properties = exchange(data);
        let mut body = vec![reason, u8::try_from(properties.len()).expect("few")];
        body.extend(properties);
        self.raw.send_packet(AUTH, &body).await;
    }

    /// What an AUTH 0x18 asks.
    async fn asked(&mut self) -> Vec<u8> {
        let said = self.said(AUTH).await;
        assert_eq!((said.reason, said.method.as_deref()), (CONTINUE, Some("SCRAM-SHA-256")));
        said.data
    }

    /// The next packet, which is an AUTH or DISCONNECT.
    async fn said(&mut self, expected: u8) -> Said {
        let (first, body) = self.raw.packet().await.expect("a packet");
        assert_eq!(first, expected, "{body:02x?}");
        Said::of(body[0], &body[1..])
    }

    /// The reason code and string of the CONNACK that refuses; then the gateway closes.
    async fn refused(mut self) -> (u8, String) {
        let (first, body) = self.raw.packet().await.expect("a CONNACK");
        assert_eq!(first, 0x20, "{body:02x?}");
        assert!(self.raw.rest().await.is_empty());
        let said = Said::of(body[1], &body[2..]);
        (said.reason, said.text.expect("a reason string"))
    }
}

impl Said {
    fn of(reason: u8, properties: &[u8]) -> Self {
        let mut said = Self { reason, ..Self::default() };
        let mut rest = &properties[1..];
        while let Some((&name, behind)) = rest.split_first() {
            let bytes = match name {
                // Numbers of CONNACK.
                0x25 => 1,
                0x13 | 0x21 | 0x22 => 2,
                0x11 | 0x27 => 4,
                _ => 2 + usize::from(u16::from_be_bytes([behind[0], behind[1]])),
            };
            let text = || String::from_utf8(behind[2..bytes].to_vec()).expect("UTF-8");
            match name {
                0x15 => said.method = Some(text()),
                0x16 => said.data = behind[2..bytes].to_vec(),
                0x1F => said.text = Some(text()),
                _ => {}
            }
            rest = &behind[bytes..];
        }
        said
    }
}

fn field(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("it is short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// Authentication Method and Authentication Data.
fn exchange(data: &[u8]) -> Vec<u8> {
    [&[0x15][..], &field(b"SCRAM-SHA-256"), &[0x16], &field(data)].concat()
}

/// `roost user add`, with the password on its standard input.
fn add_user(file: &Path, name: &str, password: &str) {
    let mut command = roost();
    command.args(["user", "add", "--scram"]).arg(file).arg(name).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("it is a pipe");
    writeln!(input, "{password}").expect("it reads its input");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

/// Users `ann` and `bob`, and a mesh that lets only them in.
async fn mesh(backend: Backend, more: &str) -> (Federation, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("users");
    add_user(&file, "ann", PASSWORD);
    add_user(&file, "bob", "another");
    let yaml = format!("authentication: {{scram: {{file: {:?}}}{more}}}\n", file.display().to_string());
    (Federation::of(backend).await.with_gateways(&yaml).started().await, directory)
}

async fn counted(mesh: &Federation, name: &str, label: &str, expected: f64) {
    eventually(&format!("{expected} are counted as {name}{{{label}}}"), PATIENCE, async || {
        let counted = Metrics::of(&mesh.admin("eu-1")).await.sum(name, &[label]);
        if counted == expected { Ok(()) } else { Err(format!("{counted}")) }
    })
    .await;
}

async fn devices_log_in_and_others_are_refused(backend: Backend) {
    let (mesh, _users) = mesh(backend, "").await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "main.pump.#").await;
    let port = mesh.mqtt_port("eu-1");
    let (mut client, _) = Client::logged_in(port, "pump", "ann", PASSWORD).await;
    client.raw.send_packet(0x32, b"\0\x05state\0\x01\0on").await;
    assert_eq!(client.raw.packet().await.map(|(first, _)| first), Some(0x40), "PUBACK");
    assert_eq!(service.next().await.text(), "on");
    counted(&mesh, "roost_gateway_logins_total", "when=\"connect\"", 1.0).await;

    let mut texts = Vec::new();
    for (user, password, reason) in
        [("ann", "another", "auth_wrong_password"), ("eve", PASSWORD, "auth_unknown_user")]
    {
        let mut scram = Scram::new(user, password);
        let mut stranger = Client::begins(port, "pump", &scram.first()).await;
        let asked = stranger.asked().await;
        stranger.auth(CONTINUE, &scram.last(&asked)).await;
        let (code, text) = stranger.refused().await;
        assert_eq!(code, NOT_AUTHORIZED, "{user}");
        texts.push(text);
        counted(&mesh, "roost_gateway_connects_refused_total", &format!("reason=\"{reason}\""), 1.0).await;
    }
    assert_eq!(texts[0], texts[1]);
    let (code, text) = Client::begins(port, "pump", b"p=tls-exporter,,n=ann,r=abc").await.refused().await;
    assert!(code == NOT_AUTHORIZED && text.contains("channel binding"), "{code:#x} {text}");
    let (code, text) = Client::begins(port, "pump", b"hello").await.refused().await;
    assert!(code == NOT_AUTHORIZED && text.contains("gs2-header"), "{code:#x} {text}");
    for kind in [DeviceKind::RumqttcV4, DeviceKind::RumqttcV5] {
        let refused = Device::connect(kind, &Connect::to(port, "pump")).await.err();
        assert!(refused.is_some(), "{kind:?}: without a method nobody is let in");
    }
    counted(&mesh, "roost_gateway_connects_refused_total", "reason=\"anonymous\"", 2.0).await;

    // All that did not disturb the device that is there.
    client.raw.send_packet(0xC0, &[]).await;
    assert_eq!(client.raw.packet().await, Some((0xD0, vec![])));
}

async fn a_device_logs_in_again(backend: Backend) {
    let (mesh, _users) = mesh(backend, ", anonymous: true").await;
    let port = mesh.mqtt_port("eu-1");
    let (mut client, was_there) = Client::logged_in(port, "pump", "ann", PASSWORD).await;
    assert!(!was_there);
    let mut scram = Scram::new("ann", PASSWORD);
    client.auth(AGAIN, &scram.first()).await;
    let asked = client.asked().await;
    // Meanwhile all else goes on.
    client.raw.send_packet(0x32, b"\0\x07local/a\0\x01\0on").await;
    assert_eq!(client.raw.packet().await.map(|(first, _)| first), Some(0x40), "PUBACK");
    client.auth(CONTINUE, &scram.last(&asked)).await;
    let said = client.said(AUTH).await;
    assert!(said.reason == 0 && scram.trusts(&said.data));
    counted(&mesh, "roost_gateway_logins_total", "when=\"again\"", 1.0).await;

    // It is no longer who it was: its connection ends, and its session stays.
    let mut scram = Scram::new("bob", "another");
    client.auth(AGAIN, &scram.first()).await;
    let asked = client.asked().await;
    client.auth(CONTINUE, &scram.last(&asked)).await;
    let said = client.said(0xE0).await;
    assert_eq!(said.reason, NOT_AUTHORIZED, "{said:?}");
    assert!(client.raw.rest().await.is_empty());
    counted(&mesh, "roost_gateway_disconnects_total", "reason=\"reauth_other_user\"", 1.0).await;
    let (_client, was_there) = Client::logged_in(port, "pump", "ann", PASSWORD).await;
    assert!(was_there);
    // And who names no method is let in here.
    Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, "other")).await;
}

on_both_backends!(devices_log_in_and_others_are_refused, a_device_logs_in_again);

/// A gateway's file, whose backend nobody is.
fn gateway(directory: &Path, users: &Path) -> (PathBuf, [ReservedPort; 2]) {
    let (listen, admin) = (ReservedPort::any(), ReservedPort::any());
    let file = directory.join("gateway.yaml");
    let text = format!(
        "role: gateway\nid: eu-1\nregion: eu\namqp: amqp://guest:guest@127.0.0.1:1/%2f\nlisten: 127.0.0.1:{}\n\
         admin: 127.0.0.1:{}\nauthentication: {{scram: {{file: {:?}}}}}\n",
        listen.number(),
        admin.number(),
        users.display().to_string()
    );
    std::fs::write(&file, text).expect("a new directory takes a file");
    (file, [listen, admin])
}

#[tokio::test]
async fn the_log_names_who_is_refused_and_no_secret() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let users = directory.path().join("users");
    add_user(&users, "ann", PASSWORD);
    let (file, [port, _admin]) = gateway(directory.path(), &users);
    let mut command = roost();
    command.args(["--log", "debug", "gateway", "--config"]).arg(file);
    let process = Process::start("gateway", command);
    eventually("the gateway listens", PATIENCE, async || {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
        stream.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let mut scram = Scram::new("ann", "a wrong guess");
    let mut client = Client::begins(port.number(), "pump", &scram.first()).await;
    let asked = client.asked().await;
    let last = scram.last(&asked);
    client.auth(CONTINUE, &last).await;
    assert_eq!(client.refused().await.0, NOT_AUTHORIZED);
    Client::logged_in(port.number(), "pump", "ann", PASSWORD).await;
    let line = "login refused";
    eventually("the log says it", PATIENCE, async || {
        let output = process.output();
        match output.lines().find(|said| said.contains(line)) {
            Some(said) => {
                let names = ["pump", "ann", "127.0.0.1:", "auth_wrong_password"];
                assert!(names.iter().all(|name| said.contains(name)), "{said}");
                Ok(())
            }
            None => Err(output),
        }
    })
    .await;
    let output = process.output();
    let proof = String::from_utf8(last).expect("it is text");
    let proof = proof.rsplit_once("p=").expect("it has a proof").1;
    let stored = std::fs::read_to_string(&users).expect("it is there");
    let keys = stored.trim().rsplit_once('$').expect("it has keys").1;
    for secret in keys.split(':').chain([PASSWORD, "a wrong guess", proof]) {
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

#[tokio::test]
async fn without_a_good_file_of_users_a_gateway_does_not_start() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let users = directory.path().join("users");
    for (text, said) in [(None, "No such file"), (Some("# ours\nann:secret\n"), "line 2: expected NAME:")] {
        if let Some(text) = text {
            std::fs::write(&users, text).expect("a new directory takes a file");
        }
        let (file, _ports) = gateway(directory.path(), &users);
        let mut command = roost();
        command.args(["gateway", "--config"]).arg(file);
        let ended = Process::run("gateway", command).await;
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let output = &ended.output;
        assert!(output.contains(&format!("the users in {}: {said}", users.display())), "{output}");
        assert!(!output.contains("secret"), "{output}");
    }
}
