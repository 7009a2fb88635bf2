//! A service asks, a device answers: into the queue that the service named, and nowhere else.

use roost_harness::{
    Backend, Connect, Delivery, Device, DeviceKind, Federation, Mesh, Metrics, PATIENCE, Publication,
    Service, ServiceKind, eventually, on_both_backends,
};

const TOPIC: &str = "devices/meter/cmd";

fn question(id: &str, queue: &str) -> Publication {
    Publication::command("meter", TOPIC, id.as_bytes(), id).answered_to(queue, &format!("about {id}"))
}

/// The next message to the service that is an answer.
async fn answer(service: &mut Service) -> Delivery {
    service.next_where(|delivery| delivery.exchange.is_empty()).await
}

async fn a_v5_device_answers_where_its_command_says(backend: Backend) {
    let mut mesh = Federation::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let queue = service.listen().await;
    service.consume("roost.receipts", "main.meter.*").await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("eu-1"), "meter")).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    let mut commands = Vec::new();
    for id in ["q-1", "q-2", "q-3"] {
        service.publish(&question(id, &queue)).await.expect("the mesh has it");
        commands.push(device.next().await.expect("still connected"));
        let receipt = service.receipts_of(id).await.pop().expect("the final one");
        assert_eq!(receipt["state"], "delivered");
        let id = receipt["command_id"].as_str().expect("text").to_owned();
        let to = format!("devices/meter/answer/{id}");
        let asked = commands.last().expect("just pushed");
        let data = format!("about {}", asked.text()).into_bytes();
        assert_eq!(asked.answer_to, Some((to, data)));
    }

    // In another order than they were asked, the last one at another gateway, with another router.
    device.answer(&commands[1], b"two").await.expect("PUBACK");
    let two = answer(&mut service).await;
    assert_eq!((two.text(), two.correlation_id.as_deref()), ("two", Some("about q-2")));
    assert_eq!((two.header("roost-tenant"), two.header("roost-device")), (Some("main"), Some("meter")));
    assert_eq!(two.headers["roost-qos"], 1);
    assert!(two.headers["roost-received-at"].is_number(), "{two:?}");
    let id = two.header("roost-command-id").expect("the command");
    assert_eq!(two.message_id, Some(format!("{id}.answer")));

    mesh.kill_router();
    mesh.start_router().await;
    drop(device);
    let mut device =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "meter")).await;
    device.answer(&commands[0], b"one").await.expect("PUBACK");
    let mut one = answer(&mut service).await;
    if one.message_id == two.message_id {
        // The router was killed before it had acknowledged its source: the same once more.
        assert_eq!(one.text(), two.text());
        one = answer(&mut service).await;
    }
    assert_eq!((one.text(), one.correlation_id.as_deref()), ("one", Some("about q-1")));

    // A second answer is nobody's, and neither is one of another device.
    device.answer(&commands[1], b"again").await.expect("PUBACK");
    let mut stranger =
        Device::connected(DeviceKind::RumqttcV5, &Connect::to(mesh.mqtt_port("us-1"), "stranger")).await;
    stranger.answer(&commands[2], b"a lie").await.expect("PUBACK");
    device.answer(&commands[2], b"three").await.expect("PUBACK");
    let three = answer(&mut service).await;
    assert_eq!((three.text(), three.correlation_id.as_deref()), ("three", Some("about q-3")));
}

async fn a_3_1_1_device_answers_its_oldest_command(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let queue = service.listen().await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("eu-1"), "meter")).await;
    device.subscribe("devices/meter/#", 1).await.expect("subscribed");
    let plain = Publication::command("meter", TOPIC, b"tell nobody", "plain");
    for publication in [question("q-1", &queue), plain, question("q-2", &queue)] {
        service.publish(&publication).await.expect("the mesh has it");
        assert_eq!(device.next().await.expect("still connected").payload, publication.body);
    }
    for (payload, expected) in [("one", "about q-1"), ("two", "about q-2")] {
        device.publish("devices/meter/answer", payload.as_bytes(), 1).await.expect("PUBACK");
        let answer = answer(&mut service).await;
        assert_eq!((answer.text(), answer.correlation_id.as_deref()), (payload, Some(expected)));
    }
}

async fn an_answer_for_nobody_is_counted_and_holds_nothing_up(backend: Backend) {
    let mesh = Mesh::start(backend).await;
    let mut service = mesh.service(ServiceKind::Lapin).await;
    let queue = service.listen().await;
    let mut device =
        Device::connected(DeviceKind::RumqttcV4, &Connect::to(mesh.mqtt_port("eu-1"), "meter")).await;
    device.subscribe(TOPIC, 1).await.expect("subscribed");
    device.publish("devices/meter/answer", b"to whom?", 1).await.expect("PUBACK");
    service.publish(&question("lost", "no such queue")).await.expect("the mesh has it");
    device.next().await.expect("still connected");
    device.publish("devices/meter/answer", b"hello?", 1).await.expect("PUBACK");
    service.publish(&question("q-1", &queue)).await.expect("the mesh has it");
    device.next().await.expect("still connected");
    device.publish("devices/meter/answer", b"here", 1).await.expect("PUBACK");
    let here = answer(&mut service).await;
    assert_eq!((here.text(), here.correlation_id.as_deref()), ("here", Some("about q-1")));
    eventually("both are counted", PATIENCE, async || {
        let metrics = Metrics::of(&mesh.api()).await;
        let has =
            |reason: &str| metrics.sum("roost_router_drops_total", &[&format!("reason=\"{reason}\"")]) == 1.0;
        if has("answer_unexpected") && has("answer_queue_gone") {
            Ok(())
        } else {
            Err(format!("{metrics:?}"))
        }
    })
    .await;
}

on_both_backends!(
    a_v5_device_answers_where_its_command_says,
    a_3_1_1_device_answers_its_oldest_command,
    an_answer_for_nobody_is_counted_and_holds_nothing_up,
);
