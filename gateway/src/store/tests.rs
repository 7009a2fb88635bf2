//! What is written reads back, or is passed over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_wire::{BootTime, Device, Now, WallTime};

use super::key::{self, SessionKind};
use super::record;
use super::*;
use crate::message::Message;
use crate::packet::{Delivery, PacketId, Publish, PublishProperties, QoS, Text};
use crate::retained::{Retained, Stamp};
use crate::session::LocalCopy;
use crate::share::Filter;

fn now(seconds: u64) -> Now {
    Now {
        boot: BootTime::from_micros(seconds * 1_000_000),
        wall: WallTime::from_millis(1_700_000_000_000 + seconds * 1_000),
    }
}

fn copy(expiry_s: Option<u32>) -> LocalCopy {
    let properties = PublishProperties { message_expiry_s: expiry_s, ..PublishProperties::default() };
    let publish = Publish {
        topic: Text::from_static("a/b"),
        delivery: Delivery::AtLeastOnce { packet_id: PacketId::FIRST, dup: false },
        retain: false,
        payload: Bytes::from_static(b"payload"),
        properties: expiry_s.map(|_| Box::new(properties)),
    };
    let message = Arc::new(Message::from_publish(now(100).boot, publish));
    LocalCopy { message, qos: QoS::ExactlyOnce, retain: false, subscription_ids: Vec::new(), share: None }
}

#[test]
fn keys_read_back_and_are_sorted_by_session_kind_and_number() {
    let device: Device = "acme/ü/x".parse().unwrap();
    let prefix = key::of_session(&device);
    let id = PacketId::new(300).unwrap();
    let kinds = [
        SessionKind::Head,
        SessionKind::Subscription(Filter::parse("$share/g/a/#").unwrap()),
        SessionKind::Subscription(Filter::parse("a/+/#").unwrap()),
        SessionKind::Message(255),
        SessionKind::Message(256),
        SessionKind::Inflight(1),
        SessionKind::Released(u64::MAX),
        SessionKind::Received(id),
    ];
    let keys: Vec<Bytes> = kinds.iter().map(|kind| key::of_record(&prefix, kind)).collect();
    assert!(keys.is_sorted());
    for (key, kind) in keys.iter().zip(kinds) {
        assert_eq!(key::read(key), Some((device.clone(), kind)));
        assert_eq!(prefix_of(key), Some(&prefix[..]));
    }
    // A device whose name begins like another's.
    let longer = key::of_session(&"acme/ü/xy".parse().unwrap());
    assert!(!longer.starts_with(&prefix));
    for wrong in [&b"r"[..], b"s", b"smain/d\0", b"smain/d\0\x63", b"smain/d\0\x03\0", b"smain/d\0\x06\0\0"] {
        assert_eq!(key::read(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_head_reads_back() {
    let head = Head {
        expiry: Duration::from_secs(3_600),
        kept_until: Some(WallTime::from_millis(5)),
        accepted_at: BootTime::from_micros(7),
        boot: 9,
    };
    for head in [head, Head { kept_until: None, ..head }] {
        assert_eq!(Head::decode(&head.encode()), Some(head));
    }
    assert_eq!(Head::decode(&head.encode()[1..]), None);
    let mut newer = head.encode().to_vec();
    newer[0] = 2;
    assert_eq!(Head::decode(&newer), None);
}

#[test]
fn a_message_reads_back_with_its_group_and_what_is_left_of_its_life() {
    let Filter::Shared(group) = Filter::parse("$share/g/a/#").unwrap() else { panic!("it is shared") };
    for share in [None, Some((&group, QoS::AtLeastOnce))] {
        let value = record::message(now(110), &copy(Some(60)), share);
        let (read, shared) = record::decode_message(now(130), &value).unwrap();
        assert_eq!(shared, share.map(|(group, qos)| (group.clone(), qos)));
        assert_eq!((read.qos, read.message.expires_at), (QoS::ExactlyOnce, Some(now(160).boot)));
        assert_eq!(read.message.payload, copy(None).message.payload);
        for cut in 0..value.len() {
            assert_eq!(record::decode_message(now(130), &value.slice(..cut)), None);
        }
    }
    let value = record::message(now(110), &copy(Some(60)), None);
    // After a reboot the boot clock begins anew.
    let rebooted = Now { boot: BootTime::from_micros(5), wall: now(1_000).wall };
    let (read, _) = record::decode_message(rebooted, &value).unwrap();
    assert!(read.message.is_expired(rebooted.boot));
    let value = record::message(now(110), &copy(None), None);
    assert_eq!(record::decode_message(now(111), &value).unwrap().0, copy(None));
}

#[test]
fn a_retained_message_reads_back() {
    let publisher = Some("acme/d".parse::<Device>().unwrap());
    let stamp = Some(Stamp { at: WallTime::from_millis(77), origin: 5 });
    for (qos, publisher, stamp) in [(QoS::AtMostOnce, publisher, None), (QoS::ExactlyOnce, None, stamp)] {
        let mut retained = Retained::new(10, 1_000);
        let message = Message { retain: true, ..(*copy(Some(60)).message).clone() };
        retained.set(Arc::new(message.clone()), qos, publisher.clone(), stamp).unwrap();
        let value = StoredRetained::encode(now(110), retained.of_topic("a/b").unwrap());
        let read = StoredRetained::decode(now(110), &value).unwrap();
        // What is left, and not what was asked for.
        let properties = PublishProperties { message_expiry_s: Some(50), ..PublishProperties::default() };
        let message = Message { properties: Some(Box::new(properties)), ..message };
        assert_eq!(read, StoredRetained { message, qos, publisher, stamp });
        for cut in 0..value.len() {
            assert_eq!(StoredRetained::decode(now(110), &value.slice(..cut)), None);
        }
    }
}
