//! CONNECT and CONNACK (3.1, 3.2), and what stands instead of them.

use std::time::{Duration, Instant};

use crate::case::{At, Case, case};
use crate::client::Client;
use crate::packets::{
    AN_HOUR, Connect, PINGREQ, PINGRESP, Publish, field, framed, properties_bytes, subscribe,
};

pub(crate) const CASES: &[Case] = &[
    case!(what_comes_before_connect_ends_the_connection,
        v4: ["MQTT-3.1.0-1"],
        v5: ["MQTT-3.1.0-1", "MQTT-3.14.0-1"]),
    case!(a_second_connect_ends_the_connection,
        v4: ["MQTT-3.1.0-2", "MQTT-4.8.0-1"],
        v5: ["MQTT-3.1.0-2", "MQTT-4.13.1-1"]),
    case!(another_protocol_name_is_closed_without_a_word,
        v4: ["MQTT-3.1.2-1"],
        v5: ["MQTT-3.1.2-1"]),
    case!(another_protocol_level_is_answered_and_closed,
        v4: ["MQTT-3.1.2-2"],
        v5: ["MQTT-3.1.2-2"]),
    case!(the_reserved_connect_flag_is_zero,
        v4: ["MQTT-3.1.2-3", "MQTT-3.1.4-1", "MQTT-3.2.2-6"],
        v5: ["MQTT-3.1.2-3", "MQTT-3.1.4-1"]),
    case!(the_will_flag_says_whether_there_is_a_will,
        v4: ["MQTT-3.1.2-9", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-14", "MQTT-3.1.2-15"],
        v5: ["MQTT-3.1.2-9", "MQTT-3.1.2-11", "MQTT-3.1.2-12", "MQTT-3.1.2-13"]),
    case!(user_name_and_password_are_there_if_their_flags_say_so,
        v4: ["MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.2-20", "MQTT-3.1.2-21"],
        v5: ["MQTT-3.1.2-16", "MQTT-3.1.2-17", "MQTT-3.1.2-18", "MQTT-3.1.2-19"]),
    case!(a_password_needs_a_user_name_before_mqtt_5,
        v4: ["MQTT-3.1.2-22"],
        v5: ["MQTT-3.1.2-19"]),
    case!(the_fields_of_connect_are_read_in_their_order,
        v4: ["MQTT-3.1.3-1"],
        v5: ["MQTT-3.1.3-1"]),
    case!(the_client_id_is_there_and_comes_first,
        v4: ["MQTT-3.1.3-3"],
        v5: ["MQTT-3.1.3-3"]),
    case!(strings_of_connect_are_utf_8,
        v4: ["MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-3.1.3-4", "MQTT-3.1.3-10", "MQTT-3.1.3-11"],
        v5: ["MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.1.3-4", "MQTT-3.1.3-11", "MQTT-3.1.3-12"]),
    case!(ids_of_one_to_23_letters_and_digits_are_let_in,
        v4: ["MQTT-3.1.3-5"],
        v5: ["MQTT-3.1.3-5"]),
    case!(who_brings_no_id_is_given_one_of_its_own,
        v4: ["MQTT-3.1.3-6"],
        v5: ["MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16"]),
    case!(a_session_that_is_to_be_kept_needs_an_id_before_mqtt_5,
        v4: ["MQTT-3.1.3-7", "MQTT-3.1.3-8"],
        v5: []),
    case!(an_id_that_is_not_taken_is_refused_and_the_connection_closed,
        v4: ["MQTT-3.1.3-9", "MQTT-3.2.2-4", "MQTT-3.2.2-5"],
        v5: ["MQTT-3.1.3-8", "MQTT-3.1.4-2", "MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8", "MQTT-4.13.2-1"]),
    case!(what_stands_behind_a_refused_connect_is_not_processed,
        v4: ["MQTT-3.1.4-5"],
        v5: ["MQTT-3.1.4-6"]),
    case!(connack_comes_first_and_once,
        v4: ["MQTT-3.1.4-4", "MQTT-3.2.0-1"],
        v5: ["MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.0-2", "MQTT-3.2.2-1"]),
    case!(session_present_says_whether_there_was_a_session,
        v4: ["MQTT-3.1.2-4", "MQTT-3.1.4-3", "MQTT-3.2.2-1", "MQTT-3.2.2-2", "MQTT-3.2.2-3"],
        v5: ["MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.1.4-4", "MQTT-3.2.2-2", "MQTT-3.2.2-3"]),
    case!(the_older_connection_of_a_client_is_closed,
        v4: ["MQTT-3.1.4-2"],
        v5: ["MQTT-3.1.4-3"]),
    case!(silence_of_one_and_a_half_keep_alives_is_a_broken_connection,
        v4: ["MQTT-3.1.2-24"],
        v5: ["MQTT-3.1.2-22", "MQTT-3.2.2-22"]),
    case!(who_pings_in_time_stays,
        v4: ["MQTT-3.1.2-23"],
        v5: ["MQTT-3.1.2-20"]),
    case!(an_authentication_method_that_is_not_known_is_refused,
        v4: [],
        v5: ["MQTT-3.1.2-30", "MQTT-4.12.0-1"]),
    case!(without_a_method_there_is_no_auth,
        v4: [],
        v5: ["MQTT-4.12.0-6", "MQTT-4.12.0-7"]),
    case!(connack_promises_everything_and_it_holds,
        v4: [],
        v5: ["MQTT-3.2.2-9", "MQTT-3.2.2-10", "MQTT-3.2.2-11", "MQTT-3.2.2-12", "MQTT-3.2.2-13", "MQTT-3.2.2-14"]),
];

/// The connection is refused: in MQTT 5 with a CONNACK of this reason, before it without a word, since it has no return
/// code for that.
async fn is_refused_as_malformed(at: At, connect: &Connect, what: &str) {
    let mut client = Client::stranger(at).await;
    client.send(&connect.bytes()).await;
    if at.is_v5() {
        let (first, body) = client.next().await;
        assert_eq!((first, &body[..2]), (0x20, &[0, 0x81][..]), "{what}: {body:02x?}");
    }
    client.expect_end().await;
}

async fn what_comes_before_connect_ends_the_connection(at: At) {
    let publish = Publish::new(&at.topic("t"), b"x").bytes(at.level);
    let subscribe = subscribe(at.level, 1, &[("a", 0)], &[]);
    for packet in [PINGREQ, &publish, &subscribe, &[0xE0, 0]] {
        let mut client = Client::stranger(at).await;
        client.send(packet).await;
        client.expect_end().await;
    }
}

async fn a_second_connect_ends_the_connection(at: At) {
    let mut client = Client::clean(at, "a").await;
    client.send(&Connect::clean(at.level, &at.id("a")).bytes()).await;
    client.expect_disconnect(0x82).await;
}

async fn another_protocol_name_is_closed_without_a_word(at: At) {
    for name in ["COAP", "mqtt", "MQTTX", ""] {
        let mut client = Client::stranger(at).await;
        let rest = [&[at.level, 2, 0, 60][..], &[0; 1][..usize::from(at.is_v5())], &field(b"a")].concat();
        client.send(&framed(0x10, &[field(name.as_bytes()), rest].concat())).await;
        client.expect_end().await;
    }
}

/// Each in words that its client may understand: who is behind 3.1.1 in those of 3.1.1, who is ahead of 5 in those of 5.
async fn another_protocol_level_is_answered_and_closed(at: At) {
    let (level, connack) =
        if at.is_v5() { (6, &[0x20, 3, 0, 0x84, 0][..]) } else { (3, &[0x20, 2, 0, 1][..]) };
    let mut client = Client::stranger(at).await;
    client.send(&Connect::clean(level, &at.id("a")).bytes()).await;
    client.expect(connack).await;
    client.expect_end().await;
}

async fn the_reserved_connect_flag_is_zero(at: At) {
    let mut connect = Connect::clean(at.level, &at.id("a"));
    connect.flags |= 1;
    is_refused_as_malformed(at, &connect, "the flag is set").await;
}

async fn the_will_flag_says_whether_there_is_a_will(at: At) {
    let plain = Connect::clean(at.level, &at.id("a"));
    let with_will = plain.clone().with_will(&at.topic("will"), b"x");
    for (what, connect, flags) in [
        ("QoS without a will", &plain, 0b0000_1010),
        ("RETAIN without a will", &plain, 0b0010_0010),
        ("a will flag without topic and payload", &plain, 0b0000_0110),
        ("topic and payload without a will flag", &with_will, 0b0000_0010),
        ("a will of QoS 3", &with_will, 0b0001_1110),
    ] {
        is_refused_as_malformed(at, &Connect { flags, ..connect.clone() }, what).await;
    }
    for qos in 0..=2 {
        let flags = 0b0000_0110 | qos << 3;
        Client::connect(at, &Connect { flags, ..with_will.clone() }).await.leave().await;
    }
}

async fn user_name_and_password_are_there_if_their_flags_say_so(at: At) {
    let with = |flags: u8, fields: &[&str]| {
        let mut connect = Connect::clean(at.level, &at.id("a"));
        connect.flags |= flags;
        fields.iter().for_each(|value| connect.payload.extend(field(value.as_bytes())));
        connect
    };
    for (what, flags, fields) in [
        ("a user name without its flag", 0x00, &["u"][..]),
        ("a user name flag alone", 0x80, &[]),
        ("a password without its flag", 0x80, &["u", "p"]),
        ("a password flag alone", 0xC0, &["u"]),
    ] {
        is_refused_as_malformed(at, &with(flags, fields), what).await;
    }
    Client::connect(at, &with(0x80, &["u"])).await.leave().await;
    Client::connect(at, &with(0xC0, &["u", "p"])).await.leave().await;
}

async fn a_password_needs_a_user_name_before_mqtt_5(at: At) {
    let mut connect = Connect::clean(at.level, &at.id("a"));
    connect.flags |= 0x40;
    connect.payload.extend(field(b"p"));
    match at.level {
        5 => Client::connect(at, &connect).await.leave().await,
        _ => is_refused_as_malformed(at, &connect, "a password alone").await,
    }
}

/// The will that is published is what stood behind the client id, and the session is known by what stood first.
async fn the_fields_of_connect_are_read_in_their_order(at: At) {
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&at.topic("#"), 0).await;
    let topic = at.topic("will");
    let mut connect = Connect::kept(at.level, &at.id("a")).with_will(&topic, b"gone");
    connect.flags |= 0xC0;
    connect.payload.extend([field(b"user"), field(b"password")].concat());
    Client::connect(at, &connect).await.break_off().await;
    let will = watcher.message().await;
    assert_eq!((will.topic.as_str(), will.text()), (&*topic, "gone"));
    assert!(Client::kept(at, "a").await.session_present());
}

async fn the_client_id_is_there_and_comes_first(at: At) {
    let connect = Connect { payload: Vec::new(), ..Connect::clean(at.level, "") };
    is_refused_as_malformed(at, &connect, "no payload at all").await;
}

async fn strings_of_connect_are_utf_8(at: At) {
    // Bytes that are none, a surrogate, the null character.
    for bad in [&b"a\xC3\x28"[..], b"a\xED\xA0\x80", b"a\x00"] {
        let id = Connect { payload: field(bad), ..Connect::clean(at.level, "") };
        is_refused_as_malformed(at, &id, "the client id").await;
        let mut will = Connect::clean(at.level, &at.id("a"));
        will.flags |= 0b100;
        will.payload.extend([&[0; 1][..usize::from(at.is_v5())], &field(bad), &field(b"")].concat());
        is_refused_as_malformed(at, &will, "the will's topic").await;
        let mut user = Connect::clean(at.level, &at.id("a"));
        user.flags |= 0x80;
        user.payload.extend(field(bad));
        is_refused_as_malformed(at, &user, "the user name").await;
    }
}

async fn ids_of_one_to_23_letters_and_digits_are_let_in(at: At) {
    // Of this version alone: both run at the same time.
    let mark = if at.is_v5() { "5" } else { "4" };
    for id in
        [mark.to_owned(), format!("{mark}bcdefghijklmnopqrstuvw"), format!("{mark}XYZABCDEFGHIJKLMNOPQRS")]
    {
        Client::connect(at, &Connect::clean(at.level, &id)).await.leave().await;
    }
    for id in ["xyzTUVWZ0123456789", "0123456789ABCDEFGHIJKLM"] {
        Client::connect(at, &Connect::clean(at.level, &format!("{}{mark}", &id[1..]))).await.leave().await;
    }
}

async fn who_brings_no_id_is_given_one_of_its_own(at: At) {
    let nobody = Connect::clean(at.level, "").with(AN_HOUR);
    let mut first = Client::connect(at, &nobody).await;
    let mut second = Client::connect(at, &nobody).await;
    first.has_no_more().await;
    second.has_no_more().await;
    if at.is_v5() {
        let ids = [&first, &second].map(assigned_id);
        assert_ne!(ids[0], ids[1]);
        first.leave().await;
        let back = Client::connect(at, &Connect::kept(5, &ids[0])).await;
        assert!(back.session_present(), "it is the session of that id");
    }
}

/// The Assigned Client Identifier in a CONNACK.
fn assigned_id(client: &Client) -> String {
    let properties = &client.connack[2..2 + properties_bytes(&client.connack[2..])];
    let at =
        properties.windows(7).position(|part| part[0] == 0x12 && part.ends_with(b"auto")).expect("an id");
    let length = usize::from(u16::from_be_bytes([properties[at + 1], properties[at + 2]]));
    String::from_utf8(properties[at + 3..at + 3 + length].to_vec()).expect("an id is UTF-8")
}

async fn a_session_that_is_to_be_kept_needs_an_id_before_mqtt_5(at: At) {
    let mut client = Client::stranger(at).await;
    client.send(&Connect::kept(at.level, "").bytes()).await;
    client.expect(&[0x20, 2, 0, 2]).await;
    client.expect_end().await;
}

async fn an_id_that_is_not_taken_is_refused_and_the_connection_closed(at: At) {
    let reason = if at.is_v5() { 0x85 } else { 2 };
    for id in ["a+b", "a#", "\u{7}"] {
        let mut client = Client::stranger(at).await;
        client.send(&Connect::kept(at.level, id).bytes()).await;
        let (first, body) = client.next().await;
        assert_eq!((first, &body[..2]), (0x20, &[0, reason][..]), "{id:?}: {body:02x?}");
        client.expect_end().await;
    }
}

async fn what_stands_behind_a_refused_connect_is_not_processed(at: At) {
    let topic = at.topic("t");
    let publish = Publish::new(&topic, b"x").retained();
    let mut refused = Client::stranger(at).await;
    let connect = Connect::clean(at.level, "a+b");
    refused.send(&[connect.bytes(), publish.bytes(at.level)].concat()).await;
    let (first, body) = refused.next().await;
    assert!(first == 0x20 && body[1] != 0, "{body:02x?}");
    refused.expect_end().await;
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 0).await;
    later.has_no_more().await;
}

async fn connack_comes_first_and_once(at: At) {
    let topic = at.topic("t");
    let mut away = Client::kept(at, "away").await;
    away.subscribe(&topic, 1).await;
    away.leave().await;
    Client::clean(at, "publisher").await.publish(Publish::new(&topic, b"waited").at(1, 1)).await;
    // `connect` reads CONNACK as the first packet.
    let mut back = Client::kept(at, "away").await;
    assert_eq!(back.connack[..2], [1, 0], "session present, and no other flag");
    assert_eq!(back.text().await, "waited");
    back.has_no_more().await;
}

async fn session_present_says_whether_there_was_a_session(at: At) {
    let topic = at.topic("t");
    let mut first = Client::kept(at, "a").await;
    assert!(!first.session_present(), "there was none");
    first.subscribe(&topic, 0).await;
    first.leave().await;
    let mut second = Client::kept(at, "a").await;
    assert!(second.session_present(), "it was kept");
    second.publish(Publish::new(&topic, b"x")).await;
    assert_eq!(second.text().await, "x", "and its subscription with it");
    second.leave().await;
    let clean = Client::clean(at, "a").await;
    assert!(!clean.session_present(), "it is not wanted");
    clean.leave().await;
    assert!(!Client::kept(at, "a").await.session_present(), "and so it is gone");
}

async fn the_older_connection_of_a_client_is_closed(at: At) {
    let older = Client::clean(at, "a").await;
    let mut newer = Client::clean(at, "a").await;
    older.expect_disconnect(0x8E).await;
    newer.has_no_more().await;
}

async fn silence_of_one_and_a_half_keep_alives_is_a_broken_connection(at: At) {
    let topic = at.topic("will");
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&topic, 0).await;
    let connect =
        Connect { keep_alive_s: 1, ..Connect::clean(at.level, &at.id("a")).with_will(&topic, b"gone") };
    let begin = Instant::now();
    let silent = Client::connect(at, &connect).await;
    silent.expect_disconnect(0x8D).await;
    assert!(begin.elapsed() >= Duration::from_millis(1_500), "{:?}", begin.elapsed());
    assert_eq!(watcher.text().await, "gone");
}

/// The will of a client that falls silent at the same time says when a silent one would have been gone.
async fn who_pings_in_time_stays(at: At) {
    let topic = at.topic("will");
    let mut watcher = Client::clean(at, "watcher").await;
    watcher.subscribe(&topic, 0).await;
    let brisk = |name: &str| Connect { keep_alive_s: 2, ..Connect::clean(at.level, &at.id(name)) };
    let mut pinging = Client::connect(at, &brisk("pinging")).await;
    let _silent = Client::connect(at, &brisk("silent").with_will(&topic, b"gone")).await;
    let will = async { watcher.text().await };
    tokio::pin!(will);
    let mut pings = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            text = &mut will => break assert_eq!(text, "gone"),
            _ = pings.tick() => {
                pinging.send(PINGREQ).await;
                pinging.expect(PINGRESP).await;
            }
        }
    }
    pinging.has_no_more().await;
}

async fn an_authentication_method_that_is_not_known_is_refused(at: At) {
    let topic = at.topic("t");
    let connect = Connect::clean(5, &at.id("a")).with(b"\x15\x00\x05SCRAM");
    let mut client = Client::stranger(at).await;
    // A client that does not wait for its CONNACK is not heard either.
    let publish = Publish::new(&topic, b"x").retained();
    client.send(&[connect.bytes(), publish.bytes(5)].concat()).await;
    let (first, body) = client.next().await;
    assert_eq!((first, &body[..2]), (0x20, &[0, 0x8C][..]), "{body:02x?}");
    client.expect_end().await;
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&topic, 0).await;
    later.has_no_more().await;
}

async fn without_a_method_there_is_no_auth(at: At) {
    let mut client = Client::clean(at, "a").await;
    let properties = &client.connack[2..];
    assert!(!properties.contains(&0x15), "no Authentication Method in {properties:02x?}");
    client.has_no_more().await;
    client.send(&[0xF0, 2, 0x18, 0]).await;
    client.expect_disconnect(0x82).await;
}

/// No Maximum QoS and no Retain Available in CONNACK: all of it is there, also for a will.
async fn connack_promises_everything_and_it_holds(at: At) {
    let topic = at.topic("t");
    // QoS 2 and RETAIN.
    let connect = Connect::clean(5, &at.id("a")).with_will_of(0b0011_0000, &topic, b"will", &[]);
    let mut client = Client::connect(at, &connect).await;
    let names: Vec<u8> = property_names(&client.connack[2..]);
    assert!(!names.contains(&0x24) && !names.contains(&0x25), "{names:02x?}");
    client.subscribe(&topic, 2).await;
    client.publish(Publish::new(&topic, b"kept").at(2, 1).retained()).await;
    assert_eq!(client.take().await.qos, 2);
    drop(client);
    let mut later = Client::clean(at, "later").await;
    later.subscribe(&at.topic("#"), 2).await;
    let message = later.take().await;
    assert!(message.qos == 2 && ["kept", "will"].contains(&message.text()), "{message:?}");
}

/// The identifiers of CONNACK's properties, of which the gateway sends numbers and one string.
fn property_names(bytes: &[u8]) -> Vec<u8> {
    let mut rest = &bytes[1..properties_bytes(bytes)];
    let mut names = Vec::new();
    while let [name, value @ ..] = rest {
        names.push(*name);
        let size = match name {
            0x11 | 0x27 => 4,
            0x13 | 0x21 | 0x22 => 2,
            0x12 | 0x1A => 2 + usize::from(u16::from_be_bytes([value[0], value[1]])),
            _ => 1,
        };
        rest = &value[size..];
    }
    names
}
