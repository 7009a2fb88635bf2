//! A mesh in which everything that is no trouble has happened at least once, and some of it is under way.

use roost_harness::{
    Api, Backend, Connect, Device, DeviceKind, Family, Mesh, PATIENCE, Publication, RawMqtt, Service,
    ServiceKind, eventually,
};
use serde_json::json;

/// A mesh after traffic of every kind, with the clients that keep some of it under way.
pub(crate) struct Busy {
    pub(crate) mesh: Mesh,
    _clients: (Device, RawMqtt, Service),
}

/// Names that no page may have in a label: those of the devices, and words of their topics.
pub(crate) const PRIVATE: [&str; 6] = ["boiler", "listener", "nomad", "mute", "celsius", "nobody-knows"];

impl Busy {
    /// The figures of every role: its name and its page's families.
    pub(crate) async fn pages(&self) -> Vec<(&'static str, Vec<Family>)> {
        let mut pages = Vec::new();
        let roles = [
            ("gateway", self.mesh.admin("eu-1")),
            ("router", self.mesh.api()),
            ("backend", self.mesh.admin_backend()),
        ];
        for (role, api) in roles {
            pages.push((role, Family::parse(&page(&api).await)));
        }
        pages
    }

    /// Starts a mesh and keeps it busy.
    pub(crate) async fn start() -> Self {
        let mesh = Mesh::start(Backend::Embedded).await;
        let port = mesh.mqtt_port("eu-1");
        let mut device = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "boiler")).await;
        device.subscribe("devices/boiler/cmd", 1).await.expect("subscribed");
        device.publish("celsius/early", b"1", 1).await.expect("nobody binds: it is kept as unrouted");
        let mut service = mesh.service(ServiceKind::Lapin).await;
        service.consume("roost.up", "main.boiler.#").await;
        service.consume("roost.receipts", "main.*.*").await;
        let visitor = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "visitor")).await;
        visitor.disconnect().await;
        let mute = mute(port).await;
        keep_messages(&mut device, port).await;
        for qos in [0, 1] {
            device.publish("celsius/now", b"21", qos).await.expect("the mesh has it");
            service.next_where(|delivery| delivery.exchange == "roost.up").await;
        }
        send_commands(&mesh, &mut service, &mut device).await;
        let deep = "level/".repeat(70);
        device.publish(&deep, b"", 1).await.expect_err("a topic of too many levels is refused");
        let nowhere =
            Publication { key: "nonsense".to_owned(), ..Publication::command("x", "x", b"", "c-4") };
        service.publish(&nowhere).await.expect("the broker has it; the router puts it aside");
        let refused = Device::connect(DeviceKind::RumqttcV5, &Connect::to(port, "bad+name")).await;
        assert!(refused.is_err(), "a client id with a wildcard is refused");
        Self { mesh, _clients: (device, mute, service) }
    }
}

/// A client that takes a message and a command, and acknowledges neither.
async fn mute(port: u16) -> RawMqtt {
    let mut mute = RawMqtt::connect(port).await;
    mute.send_connect(4, b"mute").await;
    mute.packet().await.expect("a CONNACK");
    for filter in ["local/mute", "devices/mute/cmd"] {
        let mut body = vec![0, 1];
        body.extend_from_slice(&u16::try_from(filter.len()).expect("short").to_be_bytes());
        body.extend_from_slice(filter.as_bytes());
        body.push(1);
        mute.send_packet(0x82, &body).await;
        mute.packet().await.expect("a SUBACK");
    }
    mute.send_packet(0x40, &[0, 99]).await; // a PUBACK of nothing
    mute
}

/// Local messages: delivered, in flight to the mute client, kept for one that is away, and dropped for it at QoS 0.
async fn keep_messages(device: &mut Device, port: u16) {
    let mut listener =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, "listener").persistent()).await;
    listener.subscribe("local/#", 1).await.expect("subscribed");
    for qos in [0, 1] {
        device.publish("local/news", b"hear", qos).await.expect("still connected");
        listener.next().await.expect("it is delivered");
    }
    listener.disconnect().await;
    device.publish("local/mute", b"hear", 1).await.expect("kept for one, in flight to the other");
    device.publish("local/news", b"hear", 0).await.expect("still connected");
}

/// Commands: delivered, parked for one that nobody knows, and under way to the mute client; some over HTTP, and one that is bad.
async fn send_commands(mesh: &Mesh, service: &mut Service, device: &mut Device) {
    mesh.api().located("boiler", "eu-1").await;
    mesh.api().located("mute", "eu-1").await;
    let command =
        Publication::command("boiler", "devices/boiler/cmd", b"on", "c-1").header("roost-receipts", "all");
    service.publish(&command).await.expect("the mesh has it");
    device.next().await.expect("it is delivered");
    service.receipts_of("c-1").await;
    service.publish(&command).await.expect("a repeat is told of the same receipt");
    let mute = Publication::command("mute", "devices/mute/cmd", b"on", "c-2");
    service.publish(&mute).await.expect("the mesh has it");
    let parked =
        Publication::command("nomad", "devices/nomad/cmd", b"on", "c-3").header("roost-receipts", "all");
    service.publish(&parked).await.expect("the mesh has it");
    service.next_where(|delivery| delivery.key == "main.nomad.parked").await;
    let bad = mesh.api().command("boiler", &json!({"topic": "a/#"}), 1).await;
    assert_eq!(bad.status, 400, "{bad:?}");
    eventually("the mute client has its command", PATIENCE, async || {
        let page = page(&mesh.admin("eu-1")).await;
        if page.contains("\nroost_gateway_commands 1\n") { Ok(()) } else { Err(page) }
    })
    .await;
}

async fn page(api: &Api) -> String {
    let answer = api.get("/metrics").await.unwrap_or_else(|error| panic!("{}: {error}", api.url()));
    answer.body.as_str().unwrap_or_else(|| panic!("no text: {answer:?}")).to_owned()
}
