//! The clients of the harness against brokers that are known to be right: what a scenario sees is then Roost's doing.

use std::process::Command;
use std::time::Duration;

use roost_harness::{
    Broker, Connect, Device, DeviceKind, PATIENCE, Process, Publication, RawMqtt, ReservedPort, Service,
    ServiceKind, Vhost, eventually,
};

struct Mosquitto {
    port: ReservedPort,
    _process: Process,
}

/// A private mosquitto server.
async fn mosquitto() -> Mosquitto {
    let port = ReservedPort::any();
    let directory = std::env::var("ROOST_TEST_MOSQUITTO").expect("tests/run names the mosquitto server");
    let mut command = Command::new(directory);
    command.args(["-v", "-p", &port.number().to_string()]);
    let process = Process::start("mosquitto", command);
    eventually("mosquitto listens", PATIENCE, async || {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
        connected.map(drop).map_err(|error| error.to_string())
    })
    .await;
    Mosquitto { port, _process: process }
}

/// Whatever the client: subscribe, publish at QoS 1 with its acknowledgement, receive, be taken over.
async fn a_device_works(kind: DeviceKind) {
    let broker = mosquitto().await;
    let port = broker.port.number();
    let mut device = Device::connected(kind, &Connect::to(port, "device")).await;
    let mut other = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "other")).await;
    other.subscribe("up/#", 1).await.expect("mosquitto grants it");

    device.publish("up/a b", b"first", 1).await.expect("mosquitto acknowledges it");
    let message = other.next().await.expect("still connected");
    assert_eq!((message.topic.as_str(), message.text(), message.qos), ("up/a b", "first", 1));

    device.subscribe("down/+", 1).await.expect("mosquitto grants it");
    other.publish("down/x", "zwölf".as_bytes(), 1).await.expect("mosquitto acknowledges it");
    let message = device.next().await.expect("still connected");
    assert_eq!((message.topic.as_str(), message.text(), message.qos), ("down/x", "zwölf", 1));
    assert_eq!(device.next_within(Duration::from_millis(1)).await, Ok(None));

    let successor = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "device")).await;
    successor.disconnect().await;
    device.lost().await;
    other.disconnect().await;
}

#[tokio::test]
async fn rumqttc_v4_works() {
    a_device_works(DeviceKind::RumqttcV4).await;
}

#[tokio::test]
async fn rumqttc_v5_works() {
    a_device_works(DeviceKind::RumqttcV5).await;
}

#[tokio::test]
async fn paho_works() {
    a_device_works(DeviceKind::Paho).await;
}

#[tokio::test]
async fn mqtt_js_works() {
    a_device_works(DeviceKind::MqttJs).await;
}

#[tokio::test]
async fn mosquitto_works() {
    a_device_works(DeviceKind::Mosquitto).await;
}

#[tokio::test]
async fn a_persistent_session_is_found_again() {
    let broker = mosquitto().await;
    for kind in [DeviceKind::RumqttcV4, DeviceKind::RumqttcV5, DeviceKind::Paho, DeviceKind::MqttJs] {
        let how = Connect::to(broker.port.number(), &format!("{kind:?}")).persistent();
        let first = Device::connected(kind, &how).await;
        assert!(!first.session_present(), "{kind:?}");
        drop(first);
        assert!(Device::connected(kind, &how).await.session_present(), "{kind:?}");
    }
}

#[tokio::test]
async fn raw_packets_are_written_and_read() {
    let broker = mosquitto().await;
    let mut raw = RawMqtt::connect(broker.port.number()).await;
    raw.send_connect(5, b"raw").await;
    let (first, body) = raw.packet().await.expect("mosquitto answers");
    assert_eq!((first, body[1]), (0x20, 0), "CONNACK, success");
    raw.send_packet(0xF0, &vec![0; 300]).await; // AUTH that nobody asked for
    raw.rest().await;
}

/// Whatever the client: consume by pattern, publish with its confirm, receive all that a message carries.
async fn a_service_works(kind: ServiceKind) {
    let vhost = Vhost::create().await;
    let mut service = Service::connect(kind, &vhost.uri()).await;
    service.consume("amq.topic", "main.*").await;
    let publication = Publication {
        exchange: "amq.topic".to_owned(),
        key: "main.one".to_owned(),
        body: vec![0, 255, 1],
        message_id: Some("id-1".to_owned()),
        expiration_ms: Some(60_000),
        persistent: true,
        headers: vec![("roost-topic".to_owned(), "a/ü".to_owned())],
        ..Publication::default()
    };
    service.publish(&publication).await.expect("RabbitMQ confirms it");
    let delivery = service.next().await;
    assert_eq!((delivery.exchange.as_str(), delivery.key.as_str()), ("amq.topic", "main.one"));
    assert_eq!((delivery.body.as_slice(), delivery.message_id.as_deref()), (&[0, 255, 1][..], Some("id-1")));
    assert_eq!(delivery.header("roost-topic"), Some("a/ü"));
    assert_eq!(delivery.correlation_id, None);

    let nowhere = Publication { exchange: "no-such-exchange".to_owned(), ..publication };
    assert!(service.publish(&nowhere).await.is_err(), "a missing exchange is an error");
}

#[tokio::test]
async fn lapin_works() {
    a_service_works(ServiceKind::Lapin).await;
}

#[tokio::test]
async fn pika_works() {
    a_service_works(ServiceKind::Pika).await;
}

#[tokio::test]
async fn amqplib_works() {
    a_service_works(ServiceKind::Amqplib).await;
}

#[tokio::test]
async fn rabbitmq_counts_what_goes_into_each_queue() {
    let vhost = Vhost::create().await;
    let mut service = Service::connect(ServiceKind::Lapin, &vhost.uri()).await;
    service.consume("amq.topic", "counted").await;
    let publication =
        Publication { exchange: "amq.topic".to_owned(), key: "counted".to_owned(), ..Publication::default() };
    for _ in 0..7 {
        service.publish(&publication).await.expect("RabbitMQ confirms it");
    }
    let broker = Broker::RabbitMq(vhost);
    eventually("seven messages are counted", PATIENCE, async || {
        match broker.published_total("amq.gen-").await {
            7 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_vhost_goes_with_its_owner() {
    let vhost = Vhost::create().await;
    let uri = vhost.uri();
    drop(Service::connect(ServiceKind::Lapin, &uri).await);
    drop(vhost);
    let refused = tokio::spawn(async move { Service::connect(ServiceKind::Lapin, &uri).await }).await;
    assert!(refused.is_err(), "connected to a virtual host that is gone");
}
