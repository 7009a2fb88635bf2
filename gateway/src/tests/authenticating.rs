//! Enhanced authentication: who is let in, who is not and hears why, and who shows again who it is.

use std::time::Duration;

use bytes::BytesMut;

use super::world::*;
use crate::packet::{
    Auth, Connack, Connect, Disconnect, Packet, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeOptions, Text,
};
use crate::{ConnectionId, Count, Limits, Notice};

const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

fn connect(client_id: &str) -> Connect {
    connect_packet(V5, client_id)
}

/// A client that has sent its first message and was asked for the proof; and what it was asked.
fn asked(world: &mut World, client_id: &str) -> (ConnectionId, Vec<u8>) {
    let first = ScramClient::new("ann", "apple").first();
    let client = world.begin_connect(with_login(connect(client_id), &first));
    let asked = world.read_auth(client, CONTINUE);
    (client, asked)
}

/// The CONNACK that refuses, with a reason for people; and nothing else is left of the client.
fn refusal(world: &mut World, client: ConnectionId) -> (ReasonCode, String) {
    assert!(world.is_closed(client));
    let Connack { reason, properties, .. } = world.read_connack(client);
    let properties = properties.unwrap();
    assert_eq!(properties.authentication_data, None);
    (reason, properties.reason_string.unwrap().as_str().to_owned())
}

#[test]
fn who_knows_the_password_is_let_in_and_learns_that_the_gateway_knows_it_too() {
    let mut world = World::with_users(false);
    let client = world.log_in(connect("d"), "ann", "apple");
    assert_eq!(world.subscribe(client, "local/a", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
    world.publish(client, "local/a", qos1(1));
    assert_eq!(world.read(client).len(), 2, "the message and its PUBACK");
    assert_eq!((world.count(Count::Authenticated), world.count(Count::Connected)), (1, 1));
    let assigned = world.log_in(connect(""), "bob", "banana");
    assert!(!world.is_closed(assigned));
}

#[test]
fn no_two_exchanges_have_the_same_nonce() {
    let mut world = World::with_users(false);
    let nonces: std::collections::BTreeSet<Vec<u8>> = (0..9)
        .map(|n| asked(&mut world, &format!("d{n}")).1.split(|byte| *byte == b',').next().unwrap().to_vec())
        .collect();
    assert_eq!(nonces.len(), 9);
    assert!(nonces.iter().all(|nonce| nonce.len() == 2 + 21 + 32));
}

#[test]
fn who_does_not_is_refused_and_counted_and_told_no_more_than_it_may_know() {
    let mut texts = Vec::new();
    for (user, password, count) in [
        ("ann", "banana", Count::RefusedAuthPassword),
        ("bob", "apple", Count::RefusedAuthPassword),
        ("cid", "apple", Count::RefusedAuthUser),
    ] {
        let mut world = World::with_users(false);
        let mut login = ScramClient::new(user, password);
        let client = world.begin_login(connect("d"), &mut login);
        let (reason, text) = refusal(&mut world, client);
        assert_eq!((reason, world.count(count)), (ReasonCode::NotAuthorized, 1), "{user}");
        texts.push(text);
        let told = world.notices.iter().any(|notice| {
            matches!(notice, Notice::LoginRefused { connection, device: Some(device), user: Some(told), why }
                if *connection == client && device.id.as_str() == "d" && told.as_str() == user && *why == count)
        });
        assert!(told, "{:?}", world.notices);
        assert_eq!(world.count(Count::Authenticated), 0);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
}

#[test]
fn a_first_message_that_is_wrong_is_refused_at_once() {
    let long = [b"n,,n=ann,r=", &[b'x'; 1_024][..]].concat();
    let cases: [(&[u8], Count, &str); 8] = [
        (b"", Count::RefusedAuthMalformed, "gs2-header"),
        (b"hello", Count::RefusedAuthMalformed, "gs2-header"),
        (b"n,,n=ann", Count::RefusedAuthMalformed, "r="),
        (b"n,,n=,r=abc", Count::RefusedAuthMalformed, "user name"),
        (b"n,,m=x,n=ann,r=abc", Count::RefusedAuthMalformed, "n="),
        (&long, Count::RefusedAuthMalformed, "1024 bytes"),
        (b"p=tls-exporter,,n=ann,r=abc", Count::RefusedAuthBinding, "channel binding"),
        (b"n,a=bob,n=ann,r=abc", Count::RefusedAuthIdentity, "identity"),
    ];
    for (first, count, what) in cases {
        let mut world = World::with_users(false);
        let client = world.begin_connect(with_login(connect("d"), first));
        let (reason, text) = refusal(&mut world, client);
        assert_eq!((reason, world.count(count)), (ReasonCode::NotAuthorized, 1), "{what}");
        assert!(text.contains(what), "{text}");
    }
    let mut world = World::with_users(false);
    let mut without_data = with_login(connect("d"), b"");
    without_data.properties.authentication_data = None;
    let client = world.begin_connect(without_data);
    assert_eq!(refusal(&mut world, client).0, ReasonCode::NotAuthorized);
}

#[test]
fn both_words_of_a_client_without_channel_binding_are_taken() {
    for header in ["n,,", "y,,", "n,a=ann,"] {
        let mut world = World::with_users(false);
        let mut login = ScramClient::new("ann", "apple");
        login.header = header.to_owned();
        let client = world.begin_login(connect("d"), &mut login);
        assert_eq!(world.read_connack(client).reason, ReasonCode::Success, "{header}");
    }
}

#[test]
fn a_final_message_that_is_wrong_is_refused() {
    for (data, what) in [
        (&b""[..], "p="),
        (b"c=biws,r=abc,p=AAAA", "32 bytes"),
        (b"c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "nonce"),
        (b"c=eSws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "c="),
    ] {
        let mut world = World::with_users(false);
        let (client, _) = asked(&mut world, "d");
        world.send(client, auth_packet(CONTINUE, data));
        let (reason, text) = refusal(&mut world, client);
        assert_eq!((reason, world.count(Count::RefusedAuthMalformed)), (ReasonCode::NotAuthorized, 1));
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn until_connack_there_is_nothing_but_auth_with_the_method_of_connect() {
    let filter = SubscribeFilter { filter: Text::from_static("a"), options: SubscribeOptions::default() };
    let wrong = [
        Packet::Pingreq,
        Packet::Publish(publish_packet("local/a", b"x", qos1(1))),
        Packet::Subscribe(Subscribe { packet_id: id(1), filters: vec![filter], properties: None }),
        auth_packet(AGAIN, b"x"),
        auth_of("SCRAM-SHA-1", CONTINUE, b"x"),
        auth_of("scram-sha-256", CONTINUE, b"x"),
        Packet::Auth(Auth { reason: CONTINUE, properties: None }),
    ];
    for packet in wrong {
        let mut world = World::with_users(false);
        let (client, _) = asked(&mut world, "d");
        world.send(client, packet.clone());
        assert_eq!(refusal(&mut world, client).0, ReasonCode::ProtocolError, "{packet:?}");
        assert_eq!(world.count(Count::RefusedAuthProtocol), 1, "{packet:?}");
    }
    let mut world = World::with_users(false);
    let (client, _) = asked(&mut world, "d");
    world.send(client, Packet::Disconnect(Disconnect::default()));
    assert!(world.is_closed(client) && world.read(client).is_empty());
    let (client, _) = asked(&mut world, "d");
    world.cut(client);
    assert_eq!(world.count(Count::RefusedLeft), 2);
    let (client, _) = asked(&mut world, "d");
    world.send(client, Packet::Connect(Box::new(connect("d"))));
    assert_eq!(world.read_connack(client).reason, ReasonCode::ProtocolError);
}

#[test]
fn before_it_is_over_nothing_of_the_device_is_touched() {
    let mut world = World::with_users(false);
    let mut older = connect("d");
    older.properties.session_expiry_interval_s = Some(3_600);
    let older = world.log_in(older, "ann", "apple");
    let client = world.begin_login(connect("d"), &mut ScramClient::new("ann", "wrong"));
    assert_eq!(refusal(&mut world, client).0, ReasonCode::NotAuthorized);
    let (client, _) = asked(&mut world, "d");
    assert!(!world.is_closed(older) && !world.is_closed(client));
    world.cut(client);
    world.log_in(connect("d"), "ann", "apple");
    assert_eq!(world.closed_with(older), Some(ReasonCode::SessionTakenOver));
}

#[test]
fn it_takes_no_longer_than_a_connect_may() {
    let mut world = World::with_users(false);
    let (client, _) = asked(&mut world, "d");
    world.pass(Duration::from_millis(9_999));
    assert!(!world.is_closed(client));
    world.pass(Duration::from_millis(1));
    assert_eq!(refusal(&mut world, client).0, ReasonCode::NotAuthorized);
    assert_eq!((world.count(Count::RefusedAuthTimeout), world.count(Count::RefusedTimeout)), (1, 0));
}

#[test]
fn until_connack_a_packet_has_four_kibibytes_at_most() {
    let mut world = World::with_users(false);
    let (client, _) = asked(&mut world, "d");
    // AUTH of 4,096 bytes behind its fixed header of three: refused before they come.
    world.send_bytes(client, BytesMut::from(&b"\xf0\x80\x20"[..]));
    assert_eq!(world.read_connack(client).reason, ReasonCode::PacketTooLarge);
    assert!(world.is_closed(client));
    let client = world.log_in(connect("d"), "ann", "apple");
    world.send_bytes(client, BytesMut::from(&b"\xf0\x80\x20"[..]));
    assert!(!world.is_closed(client), "from then on it is as any packet");
}

#[test]
fn who_takes_no_packet_as_large_as_auth_is_refused() {
    let mut world = World::with_users(false);
    let mut small = with_login(connect("d"), &[b"n,,n=ann,r=", &[b'x'; 500][..]].concat());
    small.properties.maximum_packet_size = std::num::NonZeroU32::new(300);
    let (client, connack) = world.try_connect(small);
    assert_eq!(connack.reason, ReasonCode::ImplementationSpecificError);
    assert!(world.is_closed(client));
    assert_eq!(world.count(Count::RefusedPacketSize), 1);
}

#[test]
fn without_a_method_a_client_is_let_in_where_the_operator_says_so() {
    for version in [V31, V311, V5] {
        let mut world = World::with_users(true);
        world.connect(version, "d");
        let mut world = World::with_users(false);
        let mut with_password = connect_packet(version, "d");
        with_password.user_name = Some(Text::from_static("ann"));
        for refused in [connect_packet(version, "d"), with_password] {
            let (client, connack) = world.try_connect(refused);
            assert_eq!(connack.reason, ReasonCode::NotAuthorized, "{version:?}");
            assert!(world.is_closed(client));
        }
        assert_eq!(world.count(Count::RefusedAnonymous), 2);
    }
    let mut world = World::with_users(true);
    world.log_in(connect("d"), "ann", "apple");
}

#[test]
fn a_method_that_is_not_known_is_refused_with_and_without_users() {
    for mut world in [World::new(), World::with_users(true), World::with_users(false)] {
        for method in ["SCRAM-SHA-1", "scram-sha-256", "SCRAM-SHA-256-PLUS", ""] {
            let mut other = connect("d");
            other.properties.authentication_method = Some(Text::from_static(method));
            let (client, connack) = world.try_connect(other);
            assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
            assert!(world.is_closed(client));
        }
        assert_eq!(world.count(Count::RefusedAuthMethod), 4);
    }
    let mut world = World::new();
    let first = ScramClient::new("ann", "apple").first();
    let (_, connack) = world.try_connect(with_login(connect("d"), &first));
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod, "there are no users");
}

#[test]
fn a_session_from_elsewhere_is_waited_for_with_the_last_word() {
    let mut world = World::roaming_with_users();
    let mut login = ScramClient::new("ann", "apple");
    let client = world.begin_login(persistent(V5, "d"), &mut login);
    assert!(world.read(client).is_empty() && world.is_paused(client), "the router is asked");
    world.pass(Duration::from_secs(2));
    let properties = world.read_connack(client).properties.unwrap();
    assert!(login.trusts(properties.authentication_data.unwrap().expose()));
}

/// A client with a session that is kept, and what it was asked when it began to log in again.
fn asked_again(world: &mut World, login: &ScramClient) -> (ConnectionId, Vec<u8>) {
    let client = world.log_in(persistent(V5, "d"), "ann", "apple");
    world.send(client, auth_packet(AGAIN, &login.first()));
    let asked = world.read_auth(client, CONTINUE);
    (client, asked)
}

/// `ann`'s client shows again who it is, with this name and password.
fn says_again(world: &mut World, user: &str, password: &str) -> ConnectionId {
    let mut login = ScramClient::new(user, password);
    let (client, asked) = asked_again(world, &login);
    world.send(client, auth_packet(CONTINUE, &login.last(&asked)));
    client
}

fn begins_again(world: &mut World, first: &[u8]) -> ConnectionId {
    let client = world.log_in(persistent(V5, "d"), "ann", "apple");
    world.send(client, auth_packet(AGAIN, first));
    client
}

fn says_nothing_more(world: &mut World) -> ConnectionId {
    let (client, _) = asked_again(world, &ScramClient::new("ann", "apple"));
    world.pass(Duration::from_millis(9_999));
    assert!(!world.is_closed(client));
    world.pass(Duration::from_millis(1));
    client
}

#[test]
fn a_connected_client_shows_again_who_it_is_while_all_else_goes_on() {
    let mut world = World::with_users(false);
    let mut login = ScramClient::new("ann", "apple");
    let (client, asked) = asked_again(&mut world, &login);
    assert_eq!(world.subscribe(client, "local/a", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
    world.publish(client, "local/a", qos1(1));
    assert_eq!(world.read(client).len(), 2);
    world.send(client, auth_packet(CONTINUE, &login.last(&asked)));
    let last = world.read_auth(client, ReasonCode::Success);
    assert!(login.trusts(&last));
    assert_eq!((world.count(Count::AuthenticatedAgain), world.count(Count::Authenticated)), (1, 1));
    // And once more, also after the time that one may take.
    world.pass(Duration::from_secs(20));
    let mut login = ScramClient::new("ann", "apple");
    world.send(client, auth_packet(AGAIN, &login.first()));
    let asked = world.read_auth(client, CONTINUE);
    world.send(client, auth_packet(CONTINUE, &login.last(&asked)));
    assert!(login.trusts(&world.read_auth(client, ReasonCode::Success)));
}

#[test]
fn who_fails_then_is_disconnected_and_its_session_stays() {
    type Fail = fn(&mut World) -> ConnectionId;
    let cases: [(Fail, Count); 7] = [
        (|world| says_again(world, "ann", "banana"), Count::ClosedReauthPassword),
        (|world| says_again(world, "cid", "apple"), Count::ClosedReauthUser),
        (|world| says_again(world, "bob", "banana"), Count::ClosedReauthOtherUser),
        (|world| begins_again(world, b"hello"), Count::ClosedReauthMalformed),
        (|world| begins_again(world, b"p=x,,n=ann,r=abc"), Count::ClosedReauthBinding),
        (|world| begins_again(world, b"n,a=bob,n=ann,r=abc"), Count::ClosedReauthIdentity),
        (says_nothing_more, Count::ClosedReauthTimeout),
    ];
    for (fails, count) in cases {
        let mut world = World::with_users(false);
        let client = fails(&mut world);
        assert!(world.is_closed(client), "{count:?}");
        match world.read(client).pop() {
            Some(Packet::Disconnect(disconnect)) => {
                assert_eq!(disconnect.reason, ReasonCode::NotAuthorized, "{count:?}");
                assert!(disconnect.properties.unwrap().reason_string.is_some());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((world.count(count), world.count(Count::AuthenticatedAgain)), (1, 0), "{count:?}");
        let mut login = ScramClient::new("ann", "apple");
        let client = world.begin_login(persistent(V5, "d"), &mut login);
        assert!(world.read_connack(client).session_present, "{count:?}");
    }
}

#[test]
fn there_is_one_exchange_at_a_time_with_the_method_of_connect() {
    let begun: [(&str, Packet); 2] = [
        ("another begins", auth_packet(AGAIN, &ScramClient::new("ann", "apple").first())),
        ("it goes on with another method", auth_of("SCRAM-SHA-1", CONTINUE, b"x")),
    ];
    let idle: [(&str, Packet); 3] = [
        ("none is going on", auth_packet(CONTINUE, b"x")),
        ("another method", auth_of("SCRAM-SHA-1", AGAIN, b"x")),
        ("no method", Packet::Auth(Auth { reason: AGAIN, properties: None })),
    ];
    for (is_begun, (what, packet)) in
        begun.map(|case| (true, case)).into_iter().chain(idle.map(|case| (false, case)))
    {
        let mut world = World::with_users(true);
        let client = match is_begun {
            true => asked_again(&mut world, &ScramClient::new("ann", "apple")).0,
            false => world.log_in(persistent(V5, "d"), "ann", "apple"),
        };
        world.send(client, packet);
        assert_eq!(world.closed_with(client), Some(ReasonCode::ProtocolError), "{what}");
        assert_eq!(world.count(Count::ClosedProtocol), 1, "{what}");
    }
    let mut world = World::with_users(true);
    let anonymous = world.connect(V5, "a");
    world.send(anonymous, auth_packet(AGAIN, &ScramClient::new("ann", "apple").first()));
    assert_eq!(world.closed_with(anonymous), Some(ReasonCode::ProtocolError), "CONNECT had no method");
}

#[test]
fn who_logs_in_while_the_gateway_goes_away_is_sent_elsewhere() {
    let mut world = World::configured(|config| {
        config.authentication = users(false);
        config.limits = Limits { session_transfer: Duration::ZERO, ..limits() };
    });
    let busy = world.log_in(connect("busy"), "bob", "banana");
    world.publish(busy, "a", qos1(1));
    let mut login = ScramClient::new("ann", "apple");
    let client = world.begin_connect(with_login(connect("d"), &login.first()));
    let asked = world.read_auth(client, CONTINUE);
    world.input(crate::shard::Input::Drain { grace: Duration::from_secs(9) });
    world.send(client, auth_packet(CONTINUE, &login.last(&asked)));
    assert_eq!(world.read_connack(client).reason, ReasonCode::UseAnotherServer);
    assert_eq!(world.count(Count::RefusedDraining), 1);
}
