//! `$SYS` as a client of mosquitto's users reads it.

use std::collections::BTreeMap;

use roost_harness::{Backend, Connect, Device, DeviceKind, Federation, on_both_backends};

/// Reads until what was told last is as wanted.
async fn tells(
    device: &mut Device,
    told: &mut BTreeMap<String, String>,
    wanted: impl Fn(&BTreeMap<String, String>) -> bool,
) {
    while !wanted(told) {
        let message = device.next().await.expect("still connected");
        let name = message.topic.strip_prefix("$SYS/broker/").expect("nothing else was subscribed to");
        told.insert(name.to_owned(), message.text().to_owned());
    }
}

fn uptime_s(told: &BTreeMap<String, String>) -> Option<u64> {
    told.get("uptime")?.strip_suffix(" seconds")?.parse().ok()
}

async fn a_client_reads_what_its_gateway_tells_of_itself(backend: Backend) {
    let mesh = Federation::of(backend).await.with_gateways("sys_interval_s: 1\n").started().await;
    let port = mesh.mqtt_port("eu-1");
    for kind in [DeviceKind::Mosquitto, DeviceKind::RumqttcV4] {
        let mut device = Device::connected(kind, &Connect::to(port, &format!("{kind:?}"))).await;
        device.subscribe("$SYS/broker/#", 1).await.expect("subscribed");
        let mut told = BTreeMap::new();
        tells(&mut device, &mut told, |told| told.len() == 49).await;
        assert!(told["version"].starts_with("roost version "), "{kind:?}: {told:?}");
        // The other ones are gone, or will be seen to be.
        tells(&mut device, &mut told, |told| told["clients/connected"] == "1").await;
        // Whichever thread of the gateway serves them.
        let mut others = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let name = format!("{kind:?}-{name}");
            others.push(Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, &name)).await);
        }
        tells(&mut device, &mut told, |told| told["clients/connected"] == "9").await;
        drop(others);
        let first = uptime_s(&told).expect("seconds");
        tells(&mut device, &mut told, |told| uptime_s(told) > Some(first)).await;
    }
}

on_both_backends!(a_client_reads_what_its_gateway_tells_of_itself);
