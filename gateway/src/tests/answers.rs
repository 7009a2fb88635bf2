//! Devices answer commands on topics of their own, and nowhere else.

use roost_wire::Event;

use super::world::*;
use crate::packet::{QoS, ReasonCode};
use crate::{Count, PublishOutcome};

#[test]
fn a_command_that_wants_an_answer_says_where_and_what_about() {
    for version in [V5, V311] {
        let mut world = World::new();
        let client = world.connect(version, "a/b");
        world.subscribe(client, "#", QoS::AtLeastOnce);
        let mut asking = world.new_command("main/a/b", epoch(1, 1));
        asking.correlation_id = Some("about it".to_owned());
        let plain = world.new_command("main/a/b", epoch(1, 1));
        let id = asking.id;
        world.deliver(asking);
        world.deliver(plain);
        let [asking, plain] = world.read_publishes(client).try_into().unwrap();
        let Some(properties) = asking.properties else {
            assert_eq!(version, V311);
            continue;
        };
        assert_eq!(properties.response_topic.unwrap().as_str(), format!("devices/a%2Fb/answer/{id}"));
        assert_eq!(&**properties.correlation_data.unwrap().bytes(), b"about it");
        let plain = plain.properties.unwrap();
        assert_eq!((plain.response_topic, plain.correlation_data), (None, None));
    }
}

#[test]
fn an_answer_goes_to_the_router_and_its_puback_waits_for_the_confirm() {
    for (topic, exchange) in [
        ("devices/d/answer", "roost.answers"),
        ("devices/d/answer/00000001-2", "roost.answers"),
        ("devices/d/answer/2", "roost.up"),
        ("devices/other/answer/00000001-2", "roost.up"),
        ("devices/d/answers", "roost.up"),
    ] {
        let mut world = World::new();
        let client = world.connect(V5, "d");
        world.publish(client, topic, qos1(1));
        assert_eq!(world.read(client), []);
        let publication = world.answer_event(PublishOutcome::Confirmed);
        assert_eq!(publication.message.exchange, exchange, "{topic}");
        let event = Event::from_message(&publication.message).unwrap();
        assert_eq!((event.device.to_string().as_str(), event.topic.as_str()), ("main/d", topic));
        assert_eq!(world.read_pubacks(client), [(1, ReasonCode::Success)]);
        assert_eq!(world.count(Count::EventConfirmed), 1);
    }
}
