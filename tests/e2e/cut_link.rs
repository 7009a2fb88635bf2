//! The link of one gateway to the broker is cut while devices publish: they are acknowledged, everything arrives when the link is there
//! again, and nobody feels it at the other gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use roost_fleet::shell::WanState;
use roost_harness::{
    Backend, Connect, Delivery, Device, DeviceKind, Federation, Metrics, PATIENCE, Service, ServiceKind,
    eventually, on_both_backends,
};

use crate::link::behind_a_link;

const RULES: &str = "uplink:\n  rules:\n\
    \x20   - {filter: 'fresh/#', acknowledge: spooled, order: fresh}\n\
    \x20   - {filter: '#', acknowledge: spooled}\n";
const TOPICS: [&str; 2] = ["strict/x", "fresh/x"];
const GATEWAYS: [&str; 2] = ["eu-1", "us-1"];
const DEVICES_EACH: usize = 3;
/// The link is a long one: everything is so late, each way.
const LATE: Duration = Duration::from_millis(20);

/// An event, as its publisher and the service know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    device: String,
    topic: String,
    number: usize,
}

/// The devices of one gateway.
struct Crowd {
    devices: Vec<(String, Device)>,
}

impl Crowd {
    async fn at(mesh: &Federation, gateway: &str) -> Self {
        let mut devices = Vec::new();
        for number in 0..DEVICES_EACH {
            let id = format!("{gateway}-{number}");
            let how = Connect::to(mesh.mqtt_port(gateway), &id);
            devices.push((id, Device::connected(DeviceKind::RumqttcV5, &how).await));
        }
        Self { devices }
    }

    /// Publishes these numbers, half of them to each topic, all devices at once; every one is acknowledged.
    async fn publish(self, numbers: Range<usize>) -> (Self, BTreeSet<Event>) {
        let tasks = self.devices.into_iter().map(|(id, mut device)| {
            let numbers = numbers.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in numbers {
                    let topic = TOPICS[number % 2];
                    device.publish(topic, number.to_string().as_bytes(), 1).await.expect("it is on disk");
                    acknowledged.push(Event { device: id.clone(), topic: topic.to_owned(), number });
                }
                (id, device, acknowledged)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let (mut devices, mut all) = (Vec::new(), BTreeSet::new());
        for task in tasks {
            let (id, device, acknowledged) = task.await.expect("it has not panicked");
            devices.push((id, device));
            all.extend(acknowledged);
        }
        (Self { devices }, all)
    }
}

/// What has come to the service.
#[derive(Default)]
struct Log {
    came: BTreeSet<Event>,
    /// Of each device and topic, in the order in which they came first.
    order: BTreeMap<(String, String), Vec<usize>>,
    ids: BTreeMap<Event, Option<String>>,
    twice: BTreeSet<Event>,
}

impl Log {
    fn take(&mut self, delivery: &Delivery) {
        let text = |name| delivery.header(name).expect("every event has it").to_owned();
        let (device, topic) = (text("roost-device"), text("roost-topic"));
        let number = delivery.text().parse().expect("events are numbered");
        let event = Event { device: device.clone(), topic: topic.clone(), number };
        if self.came.insert(event.clone()) {
            self.order.entry((device, topic)).or_default().push(number);
            self.ids.insert(event, delivery.message_id.clone());
        } else {
            assert_eq!(
                delivery.headers["roost-replayed"], true,
                "twice, and it does not say so: {delivery:?}"
            );
            assert_eq!(self.ids[&event], delivery.message_id, "twice, with another id");
            self.twice.insert(event);
        }
    }

    /// Reads until all of these have come.
    async fn has(&mut self, service: &mut Service, wanted: &BTreeSet<Event>) {
        while !self.came.is_superset(wanted) {
            match service.next_within(PATIENCE).await {
                Some(delivery) => self.take(&delivery),
                None => panic!("missing: {:?}", wanted.difference(&self.came).collect::<Vec<_>>()),
            }
        }
    }

    /// What has come from devices of a gateway, from this number on.
    fn events_of(&self, gateway: &str, first: usize) -> Vec<&Event> {
        self.came.iter().filter(|event| event.device.starts_with(gateway) && event.number >= first).collect()
    }
}

async fn the_uplink_is(mesh: &Federation, gateway: &str, up: f64) {
    eventually(&format!("roost_link_up of {gateway}'s uplink is {up}"), PATIENCE, async || {
        let found = Metrics::of(&mesh.admin(gateway)).await.sum("roost_link_up", &["link=\"uplink\""]);
        if found == up { Ok(()) } else { Err(found.to_string()) }
    })
    .await;
}

async fn a_cut_at_one_gateway_loses_nothing_and_is_not_felt_at_the_other(backend: Backend) {
    let (mesh, link) = behind_a_link(Federation::of(backend).await.with_spools(RULES), "eu-1").await;
    link.be(WanState::Late(LATE));
    let mesh = mesh.started().await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    service.consume("roost.up", "#").await;
    let [eu, us] = [Crowd::at(&mesh, "eu-1").await, Crowd::at(&mesh, "us-1").await];
    let mut log = Log::default();
    let lost = async || Metrics::of(&mesh.admin("us-1")).await.sum("roost_link_downs_total", &[]);
    let before = lost().await;

    // Cut in the middle of things.
    let cut = async {
        while log.events_of("eu-1", 0).len() < 20 {
            log.take(&service.next().await);
        }
        link.be(WanState::Cut);
    };
    let ((eu, mut of_eu), (us, mut of_us), ()) = tokio::join!(eu.publish(0..60), us.publish(0..60), cut);
    the_uplink_is(&mesh, "eu-1", 0.0).await;

    let ((eu, more_of_eu), (us, more_of_us)) = tokio::join!(eu.publish(60..120), us.publish(60..120));
    of_eu.extend(more_of_eu);
    of_us.extend(more_of_us);
    log.has(&mut service, &of_us).await;
    assert_eq!(log.events_of("eu-1", 60), Vec::<&Event>::new(), "the link is cut");
    assert_eq!(mesh.admin("us-1").get("/readyz").await.expect("an answer").status, 200);
    assert_eq!(mesh.admin("eu-1").get("/readyz").await.expect("an answer").status, 503);

    // Devices publish on while the backlog drains.
    link.be(WanState::Late(LATE));
    let ((_eu, more_of_eu), (_us, more_of_us)) = tokio::join!(eu.publish(120..180), us.publish(120..180));
    of_eu.extend(more_of_eu);
    of_us.extend(more_of_us);
    for wanted in [&of_eu, &of_us] {
        log.has(&mut service, wanted).await;
    }
    let acknowledged: BTreeSet<Event> = of_eu.union(&of_us).cloned().collect();
    assert_eq!(log.came, acknowledged, "all of it, and nothing else");
    for ((device, topic), numbers) in &log.order {
        assert!(topic.starts_with("fresh/") || numbers.is_sorted(), "{device} {topic}: {numbers:?}");
    }

    the_uplink_is(&mesh, "eu-1", 1.0).await;
    mesh.admin("eu-1").ready().await;
    for gateway in GATEWAYS {
        eventually("everything is confirmed", PATIENCE, async || {
            let answer = mesh.admin(gateway).get("/spool").await?;
            if answer.body["events"] == 0 { Ok(()) } else { Err(answer.body.to_string()) }
        })
        .await;
    }
    let felt: Vec<_> = log.twice.iter().filter(|event| event.device.starts_with("us-1")).collect();
    assert!(felt.is_empty(), "{felt:?} came twice");
    assert_eq!(lost().await, before, "links of the other gateway were lost");
}

on_both_backends!(a_cut_at_one_gateway_loses_nothing_and_is_not_felt_at_the_other);
