//! Shared subscriptions, with real clients: a group divides its work, and what a member leaves behind goes to another.

use std::collections::BTreeSet;

use roost_harness::{
    Backend, Connect, Device, DeviceKind, Mesh, Metrics, PATIENCE, eventually, on_both_backends,
};

use crate::raw_client::RawClient;

const SHARED: &str = "$share/workers/local/jobs/+";
const JOBS: usize = 40;

async fn clients_of_all_kinds_divide_their_work(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    let kinds = [DeviceKind::RumqttcV4, DeviceKind::RumqttcV5, DeviceKind::Paho, DeviceKind::MqttJs];
    let mut workers = Vec::new();
    for kind in kinds {
        let mut worker = Device::connected(kind, &Connect::to(port, &format!("{kind:?}"))).await;
        worker.subscribe(SHARED, 1).await.expect("granted");
        workers.push(worker);
    }
    let mut auditor = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "auditor")).await;
    auditor.subscribe("local/jobs/+", 1).await.expect("granted");
    let mut boss = Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, "boss")).await;
    for n in 0..JOBS {
        boss.publish("local/jobs/sweep", n.to_string().as_bytes(), 1).await.expect("PUBACK");
    }
    let mut done = BTreeSet::new();
    for (worker, kind) in workers.iter_mut().zip(kinds) {
        for _ in 0..JOBS / kinds.len() {
            let job = worker.next().await.expect("still connected");
            assert!(done.insert(job.text().to_owned()), "{kind:?} has done {} again", job.text());
        }
    }
    assert_eq!(done.len(), JOBS, "a fair share each");
    for n in 0..JOBS {
        assert_eq!(
            auditor.next().await.expect("still connected").text(),
            n.to_string(),
            "who shares not has all"
        );
    }
    assert!(workers.iter_mut().all(|worker| worker.arrived().is_empty()));
}

/// A member with a kept session that was sent three messages, and has acknowledged none.
async fn with_three_unacknowledged(mesh: &Mesh, level: u8) -> RawClient {
    let port = mesh.mqtt_port("eu-1");
    let mut member = RawClient::persistent(port, level, &format!("leaving-{level}")).await;
    member.subscribe(SHARED).await;
    let mut boss = Device::connected(DeviceKind::RumqttcV4, &Connect::to(port, "boss")).await;
    for text in ["1", "2", "3"] {
        boss.publish("local/jobs/sweep", text.as_bytes(), 1).await.expect("PUBACK");
    }
    assert_eq!(member.next().await.text, "1");
    member
}

async fn what_a_kept_member_leaves_behind_goes_to_one_that_is_there(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let port = mesh.mqtt_port("eu-1");
    for (level, handed_on) in [(4, 3.0), (5, 6.0)] {
        let leaving = with_three_unacknowledged(&mesh, level).await;
        let mut staying = Device::connected(DeviceKind::RumqttcV5, &Connect::to(port, "staying")).await;
        staying.subscribe(SHARED, 1).await.expect("granted");
        drop(leaving);
        for text in ["1", "2", "3"] {
            let message = staying.next().await.expect("still connected");
            assert_eq!((message.text(), message.duplicate), (text, false), "level {level}");
        }
        let admin = mesh.admin("eu-1");
        eventually("it is counted", PATIENCE, async || {
            let counted = Metrics::of(&admin).await.sum("roost_gateway_shares_handed_on_total", &[]);
            if counted == handed_on { Ok(()) } else { Err(format!("{counted}")) }
        })
        .await;
        let mut back = RawClient::persistent(port, level, &format!("leaving-{level}")).await;
        assert!(back.session_present);
        back.has_no_more().await;
        // So that the next one is alone in its group.
        back.raw.send_packet(0xE0, &[]).await;
        staying.disconnect().await;
        RawClient::clean(port, level, &format!("leaving-{level}")).await;
    }
}

async fn what_a_kept_member_leaves_behind_waits_for_it_if_there_is_no_other(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    for level in [4, 5] {
        drop(with_three_unacknowledged(&mesh, level).await);
        let id = format!("leaving-{level}");
        let mut back = RawClient::persistent(mesh.mqtt_port("eu-1"), level, &id).await;
        assert!(back.session_present);
        for text in ["1", "2", "3"] {
            let message = back.next().await;
            assert_eq!((message.text.as_str(), message.duplicate), (text, true), "level {level}");
            back.acknowledge(&message).await;
        }
        back.has_no_more().await;
        // It ends, with its place in the group.
        RawClient::clean(mesh.mqtt_port("eu-1"), level, &id).await;
    }
}

on_both_backends!(
    clients_of_all_kinds_divide_their_work,
    what_a_kept_member_leaves_behind_goes_to_one_that_is_there,
    what_a_kept_member_leaves_behind_waits_for_it_if_there_is_no_other,
);
