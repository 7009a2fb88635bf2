//! Topic names and filters: what is one, and which match (4.7).

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{Publish, field, framed, properties, subscribe, unsubscribe};

pub(crate) const CASES: &[Case] = &[
    case!(wildcards_match_whole_levels,
        v4: ["MQTT-3.3.2-3", "MQTT-3.8.3-2", "MQTT-4.7.1-2", "MQTT-4.7.1-3"],
        v5: ["MQTT-3.3.2-3", "MQTT-4.7.1-1", "MQTT-4.7.1-2"]),
    case!(a_wildcard_that_is_not_a_whole_level_is_refused,
        v4: ["MQTT-4.7.1-2", "MQTT-4.7.1-3"],
        v5: ["MQTT-4.7.1-1", "MQTT-4.7.1-2"]),
    case!(a_wildcard_in_front_finds_no_topic_that_begins_with_a_dollar,
        v4: ["MQTT-4.7.2-1"],
        v5: ["MQTT-4.7.2-1"]),
    case!(topics_are_compared_character_by_character,
        v4: ["MQTT-4.7.3-4", "MQTT-1.5.3-3"],
        v5: ["MQTT-4.7.3-4", "MQTT-1.5.4-3"]),
    case!(a_topic_name_has_no_wildcard,
        v4: ["MQTT-3.3.2-2", "MQTT-4.7.1-1"],
        v5: ["MQTT-3.3.2-2", "MQTT-4.7.0-1"]),
    case!(a_topic_has_at_least_one_character,
        v4: ["MQTT-4.7.3-1"],
        v5: ["MQTT-4.7.3-1"]),
    case!(a_topic_has_no_null_character,
        v4: ["MQTT-4.7.3-2"],
        v5: ["MQTT-4.7.3-2"]),
    case!(a_topic_has_up_to_65_535_bytes,
        v4: ["MQTT-4.7.3-3"],
        v5: ["MQTT-4.7.3-3"]),
];

async fn wildcards_match_whole_levels(at: At) {
    let topics = ["a", "a/b", "a/b/c", "a/", "/", "/a", "b"];
    for (filter, expected) in [
        ("#", &["a", "a/b", "a/b/c", "a/", "/", "/a", "b"][..]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"]),
        ("+", &["a", "b"]),
        ("a/+", &["a/b", "a/"]),
        ("+/b/#", &["a/b", "a/b/c"]),
        ("+/+", &["a/b", "a/", "/", "/a"]),
        ("/+", &["/", "/a"]),
        ("a/+/c", &["a/b/c"]),
        ("a", &["a"]),
    ] {
        let mut client = Client::clean(at, "a").await;
        client.subscribe(&at.topic(filter), 0).await;
        let end = at.topic("end");
        client.subscribe(&at.topic("end"), 0).await;
        let mut publisher = Client::clean(at, "publisher").await;
        for topic in topics {
            publisher.publish(Publish::new(&at.topic(topic), topic.as_bytes())).await;
        }
        publisher.publish(Publish::new(&end, b"end")).await;
        let mut came = Vec::new();
        loop {
            let message = client.message().await;
            if message.topic == end {
                break;
            }
            assert_eq!(message.topic, at.topic(message.text()));
            came.push(message.text().to_owned());
        }
        assert_eq!(came, expected, "{filter}");
        client.leave().await;
    }
}

async fn a_wildcard_that_is_not_a_whole_level_is_refused(at: At) {
    let refusal = if at.is_v5() { 0x8F } else { 0x80 };
    let mut client = Client::clean(at, "a").await;
    for filter in ["a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+", "++", "a/##"] {
        client.send(&subscribe(at.level, 1, &[(&at.topic(filter), 0)], &[])).await;
        let (first, body) = client.next().await;
        assert_eq!((first, body.last()), (0x90, Some(&refusal)), "{filter}");
    }
}

async fn a_wildcard_in_front_finds_no_topic_that_begins_with_a_dollar(at: At) {
    let own = at.own();
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&format!("+/{own}/#"), 0).await;
    let mut publisher = Client::clean(at, "publisher").await;
    let hidden = format!("$own/{own}/t");
    publisher.publish(Publish::new(&hidden, b"hidden")).await;
    publisher.publish(Publish::new(&at.topic("t"), b"seen")).await;
    assert_eq!(client.text().await, "seen");
    client.subscribe(&format!("$own/{own}/+"), 0).await;
    publisher.publish(Publish::new(&hidden, b"by its name")).await;
    assert_eq!(client.text().await, "by its name");
}

async fn topics_are_compared_character_by_character(at: At) {
    // One character, and a letter with a combining one; a byte order mark; characters that some would fold or trim.
    let names = ["é", "e\u{301}", "\u{FEFF}a", "a", "A", "a ", " a", "\u{FB01}", "fi"];
    let mut client = Client::clean(at, "a").await;
    let mut publisher = Client::clean(at, "publisher").await;
    for (n, name) in names.iter().enumerate() {
        client.subscribe(&at.topic(name), 0).await;
        for other in names {
            publisher.publish(Publish::new(&at.topic(other), n.to_string().as_bytes()).at(1, 1)).await;
        }
        let message = client.message().await;
        assert_eq!((&message.topic, message.text()), (&at.topic(name), &*n.to_string()));
        client.send(&unsubscribe(at.level, 2, &[&at.topic(name)])).await;
        assert_eq!(client.next().await.0, 0xB0, "nothing else came before the UNSUBACK");
    }
}

async fn a_topic_name_has_no_wildcard(at: At) {
    for name in ["#", "+", "a/+/b", "a/#", "a+", "a#b"] {
        let mut client = Client::clean(at, "a").await;
        client.send(&Publish::new(name, b"x").bytes(at.level)).await;
        client.expect_disconnect_of(&[0x81, 0x90]).await;
    }
}

async fn a_topic_has_at_least_one_character(at: At) {
    let empty = |first: u8, behind: &[u8]| {
        framed(first, &[&[0, 1][..], &properties(at.level, &[]), &field(b""), behind].concat())
    };
    for packet in [Publish::new("", b"x").bytes(at.level), empty(0x82, &[0]), empty(0xA2, &[])] {
        let mut client = Client::clean(at, "a").await;
        client.send(&packet).await;
        client.expect_disconnect_of(&[0x81, 0x82]).await;
    }
}

async fn a_topic_has_no_null_character(at: At) {
    let topic = at.topic("a\0b");
    for packet in [
        Publish::new(&topic, b"x").bytes(at.level),
        subscribe(at.level, 1, &[(&topic, 0)], &[]),
        unsubscribe(at.level, 1, &[&topic]),
    ] {
        let mut client = Client::clean(at, "a").await;
        client.send(&packet).await;
        client.expect_disconnect(0x81).await;
    }
}

/// A length of two bytes cannot say more.
async fn a_topic_has_up_to_65_535_bytes(at: At) {
    let mut topic = at.topic("t");
    topic.push_str(&"t".repeat(usize::from(u16::MAX) - topic.len()));
    let mut client = Client::clean(at, "a").await;
    client.subscribe(&topic, 1).await;
    client.publish(Publish::new(&topic, b"x").at(1, 1)).await;
    let message = client.take().await;
    assert!(message.topic == topic && message.text() == "x", "{} bytes", message.topic.len());
}
