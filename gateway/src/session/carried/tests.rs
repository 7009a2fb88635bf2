//! A session reads back as it was written, or not at all.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::message::Message;
use crate::packet::{
    BinaryData, Delivery, Publish, PublishProperties, RetainHandling, SubscribeOptions, SubscriptionId, Text,
    UserProperty,
};

fn at(seconds: u64) -> BootTime {
    BootTime::from_micros(seconds * 1_000_000)
}

fn copy(n: u8, bytes: usize) -> LocalCopy {
    let properties = PublishProperties {
        message_expiry_s: Some(60),
        correlation_data: Some(BinaryData::parse(vec![0, n]).unwrap()),
        user_properties: vec![UserProperty { name: Text::from_static("k"), value: Text::from_static("v") }],
        ..PublishProperties::default()
    };
    let publish = Publish {
        topic: Text::from_static("local/t"),
        delivery: Delivery::AtMostOnce,
        retain: n.is_multiple_of(3),
        payload: vec![n; bytes].into(),
        properties: n.is_multiple_of(2).then(|| Box::new(properties)),
    };
    LocalCopy {
        message: Arc::new(Message::from_publish(at(100), publish)),
        qos: QoS::AtLeastOnce,
        retain: n.is_multiple_of(3),
        subscription_ids: (0..n % 3).filter_map(|id| subscription_id(id.into())).collect(),
        share: None,
    }
}

fn subscription_id(id: u32) -> Option<SubscriptionId> {
    SubscriptionId::new(id)
}

fn session(subscriptions: usize, inflight: u8, queued: u8, bytes: usize) -> Carried {
    let subscription = |n: usize| {
        let options = SubscribeOptions {
            qos: if n.is_multiple_of(2) { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            no_local: n.is_multiple_of(3),
            retain_as_published: n.is_multiple_of(5),
            retain_handling: RetainHandling::DoNotSend,
        };
        let filter = Filter::parse(&format!("local/{n}/+/#")).unwrap();
        let subscription_id = subscription_id(u32::try_from(n % 4).unwrap());
        (filter, Subscription { options, subscription_id })
    };
    Carried {
        expiry: Duration::from_millis(3_600_001),
        subscriptions: (0..subscriptions).map(subscription).collect(),
        inflight: (0..inflight).map(|n| (PacketId::new(u16::from(n) + 7).unwrap(), copy(n, bytes))).collect(),
        queue: (inflight..inflight + queued).map(|n| copy(n, bytes)).collect(),
        ..Carried::default()
    }
}

/// The same with every other message at QoS 2, and handshakes that are not over.
fn exactly_once(mut carried: Carried, ids: u16) -> Carried {
    let messages = carried.inflight.iter_mut().map(|(_, copy)| copy).chain(&mut carried.queue);
    messages.step_by(2).for_each(|copy| copy.qos = QoS::ExactlyOnce);
    let reasons = [ReasonCode::Success, ReasonCode::NoMatchingSubscribers, ReasonCode::QuotaExceeded];
    let ids = |first| (first..first + ids).map(|n| PacketId::new(n).unwrap());
    carried.received = ids(5).zip(reasons.into_iter().cycle()).collect();
    carried.released = ids(1_000).rev().collect();
    carried
}

/// The same with a shared subscription, through which every third message came.
fn shared(mut carried: Carried) -> Carried {
    let subscription = carried.subscriptions.len();
    let options = SubscribeOptions { qos: QoS::ExactlyOnce, ..SubscribeOptions::default() };
    let filter = Filter::parse("$share/g/local/+").unwrap();
    carried.subscriptions.push((filter, Subscription { options, subscription_id: subscription_id(5) }));
    let messages = (0..carried.messages()).step_by(3);
    carried.shares =
        messages.map(|message| CarriedShare { message, subscription, published: QoS::ExactlyOnce }).collect();
    carried
}

#[test]
fn a_session_reads_back_as_it_was() {
    let plain = || session(12, 3, 5, 100);
    for (session, version) in [
        (plain(), 1),
        (exactly_once(plain(), 7), 2),
        (shared(plain()), 3),
        (shared(exactly_once(plain(), 7)), 3),
    ] {
        let (body, left_behind) = session.encode(at(100), 1 << 20).unwrap();
        assert_eq!(body[0], version, "older gateways read what has nothing new in it");
        assert_eq!((Carried::decode(at(100), body), left_behind), (Ok(session), 0));
    }
}

#[test]
fn a_subscription_at_qos_2_alone_needs_no_newer_reader() {
    let mut session = session(3, 1, 1, 10);
    session.subscriptions[0].1.options.qos = QoS::ExactlyOnce;
    let (body, _) = session.encode(at(100), 1 << 20).unwrap();
    assert_eq!((body[0], Carried::decode(at(100), body)), (1, Ok(session)));
}

#[test]
fn an_older_version_has_nothing_of_qos_2() {
    let body = |session: &Carried| {
        let (body, _) = session.encode(at(100), 1 << 20).unwrap();
        let mut older = BytesMut::from(&body[..]);
        older[0] = 1;
        older.freeze()
    };
    let ids = exactly_once(session(0, 0, 0, 0), 1);
    assert_eq!(Carried::decode(at(100), body(&ids)), Err(CarriedError::Kind(RECEIVED)));
}

#[test]
fn of_what_stays_behind_at_qos_2_the_id_is_released() {
    let whole = exactly_once(session(0, 4, 0, 1_000), 0);
    let (body, left_behind) = whole.encode(at(100), 3_500).unwrap();
    let arrived = Carried::decode(at(100), body).unwrap();
    assert_eq!((left_behind, &arrived.inflight[..]), (1, &whole.inflight[1..]));
    assert_eq!(arrived.released, [whole.inflight[0].0], "its client may have it");
}

#[test]
fn what_is_left_of_an_expiry_counts_down_on_the_way() {
    let (body, _) = session(0, 0, 1, 1).encode(at(130), 1 << 20).unwrap();
    // Another gateway, with another clock.
    let arrived = Carried::decode(at(5), body).unwrap();
    assert_eq!(arrived.queue[0].message.expires_at, Some(at(35)));
}

#[test]
fn the_oldest_messages_stay_behind_if_it_gets_too_long() {
    let whole = session(2, 3, 5, 1_000);
    for (bytes_max, inflight, queued) in [(20_000, 3, 5), (6_500, 3, 3), (3_500, 3, 0), (2_500, 2, 0)] {
        let (body, left_behind) = whole.encode(at(100), bytes_max).unwrap();
        assert!(body.len() <= bytes_max);
        let arrived = Carried::decode(at(100), body).unwrap();
        assert_eq!(arrived.inflight, whole.inflight[3 - inflight..], "{bytes_max}");
        assert_eq!(arrived.queue, whole.queue[5 - queued..], "{bytes_max}");
        assert_eq!(left_behind as usize, 8 - inflight - queued);
    }
    assert_eq!(session(100, 0, 0, 0).encode(at(100), 1_000), None, "not even its subscriptions fit");
}

#[test]
fn another_version_is_refused_as_such() {
    let (body, _) = session(1, 1, 1, 1).encode(at(100), 1 << 20).unwrap();
    let mut newer = BytesMut::from(&body[..]);
    newer[0] = 4;
    assert_eq!(Carried::decode(at(100), newer.freeze()), Err(CarriedError::Version(4)));
}

#[test]
fn what_is_said_of_a_share_stays_with_its_message_if_others_stay_behind() {
    let whole = shared(session(0, 3, 5, 1_000));
    for (bytes_max, expected) in [(20_000, &[0, 3, 6][..]), (6_500, &[0, 4]), (3_600, &[0]), (2_500, &[])] {
        let (body, _) = whole.encode(at(100), bytes_max).unwrap();
        assert!(body.len() <= bytes_max);
        let arrived = Carried::decode(at(100), body).unwrap();
        let shares: Vec<usize> = arrived.shares.iter().map(|share| share.message).collect();
        assert_eq!(shares, expected, "{bytes_max}");
        let messages: Vec<&LocalCopy> =
            arrived.inflight.iter().map(|(_, copy)| copy).chain(&arrived.queue).collect();
        assert!(shares.iter().all(|message| messages[*message].message.payload[0].is_multiple_of(3)));
    }
}

#[test]
fn a_share_of_nothing_is_refused() {
    for (message, subscription) in [(2, 1), (0, 0), (0, 2)] {
        let mut session = shared(session(1, 1, 1, 1));
        session.shares = vec![CarriedShare { message, subscription, published: QoS::AtLeastOnce }];
        let (body, _) = session.encode(at(100), 1 << 20).unwrap();
        let error = Err(CarriedError::Record(SHARE));
        assert_eq!(Carried::decode(at(100), body), error, "{message} {subscription}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Carried::decode(at(1), body.into());
    }

    #[test]
    fn a_damaged_session_never_panics_and_a_cut_one_is_refused(
        place in 0_usize..2_000, value in any::<u8>(), cut in 1_usize..500,
    ) {
        let (body, _) = shared(exactly_once(session(3, 2, 2, 20), 3)).encode(at(100), 1 << 20).unwrap();
        let mut damaged = BytesMut::from(&body[..]);
        let place = place % damaged.len();
        damaged[place] = value;
        let _ = Carried::decode(at(100), damaged.freeze());
        let cut = cut.min(body.len());
        prop_assert!(Carried::decode(at(100), body.slice(..body.len() - cut)).is_err());
    }

    #[test]
    fn encode_and_decode_agree(subscriptions in 0_usize..20, inflight in 0_u8..20, queued in 0_u8..20, bytes in 0_usize..200) {
        let session = shared(exactly_once(session(subscriptions, inflight, queued, bytes), u16::from(queued)));
        let (body, _) = session.encode(at(100), 1 << 20).unwrap();
        prop_assert_eq!(Carried::decode(at(100), body), Ok(session));
    }
}
