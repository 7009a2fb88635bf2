//! The outbox against a naive model: nothing is lost before its PUBACK or PUBREC, nothing is sent out of order, no id is used twice.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packet::{Delivery, Publish, Text};

fn copy(payload: u32, qos: QoS) -> LocalCopy {
    let publish = Publish {
        topic: Text::from_static("t"),
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload: Bytes::copy_from_slice(&payload.to_be_bytes()),
        properties: None,
    };
    let message = Arc::new(Message::from_publish(BootTime::default(), publish));
    LocalCopy { message, qos, retain: false, subscription_ids: Vec::new(), share: None }
}

fn at_least_once(payload: u32) -> LocalCopy {
    copy(payload, QoS::AtLeastOnce)
}

fn number(copy: &LocalCopy) -> u32 {
    u32::from_be_bytes(copy.message.payload.as_ref().try_into().unwrap())
}

fn lowest_free(outbox: &Outbox) -> PacketId {
    (1..).filter_map(PacketId::new).find(|&id| !outbox.uses(id)).unwrap()
}

#[test]
fn what_was_sent_is_sent_again_in_order_with_dup() {
    let mut outbox = Outbox::new();
    (0..3).for_each(|n| outbox.push(at_least_once(n)));
    let first = outbox.send_next(lowest_free(&outbox)).unwrap().packet_id;
    let second = outbox.send_next(lowest_free(&outbox)).unwrap().packet_id;
    assert!(outbox.acknowledge(first).is_some());
    assert_eq!(outbox.acknowledge(first), None, "once only");
    outbox.disconnect();
    assert_eq!(outbox.unacknowledged(), 0);
    let due = outbox.send_next(lowest_free(&outbox)).unwrap();
    assert_eq!((due.packet_id, due.dup, number(due.copy)), (second, true, 1));
    let due = outbox.send_next(lowest_free(&outbox)).unwrap();
    assert_eq!((due.dup, number(due.copy)), (false, 2));
    assert!(outbox.send_next(lowest_free(&outbox)).is_none());
}

#[test]
fn a_queue_is_bounded_by_count_and_bytes_but_takes_one_message_of_any_size() {
    let mut outbox = Outbox::new();
    let bounds = QueueBounds { messages: 2, bytes: 10 };
    assert!(!outbox.is_full_for(1_000, bounds));
    outbox.push(at_least_once(1));
    assert!(outbox.is_full_for(6, bounds));
    assert!(!outbox.is_full_for(5, bounds));
    outbox.push(at_least_once(2));
    assert!(outbox.is_full_for(0, QueueBounds { bytes: 100, ..bounds }));
}

#[test]
fn a_message_at_qos_2_is_not_sent_again_after_its_pubrec_and_has_its_id_until_pubcomp() {
    let mut outbox = Outbox::new();
    (0..3).for_each(|n| outbox.push(copy(n, QoS::ExactlyOnce)));
    let ids = [(); 3].map(|()| outbox.send_next(lowest_free(&outbox)).unwrap().packet_id);
    assert!(outbox.release(ids[0]).is_some());
    assert!(outbox.release(ids[0]).is_none() && outbox.is_released(ids[0]), "a repeat is known as one");
    assert_eq!(outbox.acknowledge(ids[1]), None, "a PUBACK is no answer");
    assert!(!outbox.complete(ids[1]), "nor is a PUBCOMP before the PUBREC");
    assert!(outbox.refuse(ids[2]).is_some() && !outbox.uses(ids[2]), "a refusal is the end");
    assert_eq!((outbox.unacknowledged(), outbox.depth().inflight), (2, 1));
    outbox.disconnect();
    assert_eq!(outbox.unacknowledged(), 1, "the released one counts on the next connection as well");
    let due = outbox.send_next(lowest_free(&outbox)).unwrap();
    assert_eq!((due.packet_id, due.dup, number(due.copy)), (ids[1], true, 1));
    assert!(outbox.send_next(lowest_free(&outbox)).is_none());
    assert!(outbox.uses(ids[0]));
    assert!(outbox.complete(ids[0]) && !outbox.uses(ids[0]) && !outbox.complete(ids[0]));
}

#[test]
fn the_id_of_what_cannot_be_sent_again_at_qos_2_is_released() {
    for (qos, known) in [(QoS::AtLeastOnce, false), (QoS::ExactlyOnce, true)] {
        let mut outbox = Outbox::new();
        outbox.push(copy(1, qos));
        let packet_id = outbox.send_next(PacketId::FIRST).unwrap().packet_id;
        outbox.disconnect();
        outbox.send_next(PacketId::FIRST).unwrap();
        assert_eq!(outbox.drop_last_sent(), known.then_some(packet_id));
        assert_eq!(outbox.uses(packet_id), known);
        outbox.push(copy(2, qos));
        outbox.send_next(lowest_free(&outbox)).unwrap();
        assert_eq!(outbox.drop_last_sent(), None, "nobody has seen that one");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push(QoS),
    Send,
    /// The next word about the n-th of those that are unacknowledged: PUBACK, PUBREC, or PUBCOMP.
    Acknowledge(usize),
    /// The n-th of those at QoS 2 that are unacknowledged is refused.
    Refuse(usize),
    /// The n-th of those that the client may not have is another's.
    Take(usize),
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        3 => qos.prop_map(Step::Push),
        4 => Just(Step::Send),
        4 => (0..8_usize).prop_map(Step::Acknowledge),
        1 => (0..8_usize).prop_map(Step::Refuse),
        1 => (0..12_usize).prop_map(Step::Take),
        1 => Just(Step::Disconnect),
    ]
}

/// A message that was pushed and is not over.
#[derive(Debug, Clone)]
struct Known {
    number: u32,
    qos: QoS,
    /// Once it was sent.
    packet_id: Option<PacketId>,
    /// On this connection.
    is_sent: bool,
    is_released: bool,
}

impl Known {
    fn is_due(&self) -> bool {
        !self.is_sent && !self.is_released
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_list_does(steps in proptest::collection::vec(step(), 1..200), window in 1..6_usize) {
        let mut outbox = Outbox::new();
        let mut pushed = 0;
        // Oldest first.
        let mut model: Vec<Known> = Vec::new();
        for step in steps {
            match step {
                Step::Push(qos) => {
                    outbox.push(copy(pushed, qos));
                    let (packet_id, is_sent, is_released) = (None, false, false);
                    model.push(Known { number: pushed, qos, packet_id, is_sent, is_released });
                    pushed += 1;
                }
                Step::Send if outbox.unacknowledged() < window => {
                    let expected = model.iter_mut().find(|known| known.is_due());
                    match (outbox.send_next(lowest_free(&outbox)), expected) {
                        (None, None) => {}
                        (Some(due), Some(expected)) => {
                            prop_assert_eq!((number(due.copy), due.delivery().qos()), (expected.number, expected.qos), "in order");
                            prop_assert_eq!(due.dup, expected.packet_id.is_some(), "DUP exactly when sent before");
                            if let Some(id) = expected.packet_id {
                                prop_assert_eq!(due.packet_id, id, "under the same id");
                            }
                            expected.packet_id = Some(due.packet_id);
                            expected.is_sent = true;
                        }
                        (due, expected) => prop_assert!(false, "{due:?} for {expected:?}"),
                    }
                }
                Step::Send => {}
                Step::Acknowledge(n) => {
                    let mut open = model.iter_mut().filter(|known| known.is_sent || known.is_released);
                    let Some(known) = open.nth(n) else { continue };
                    let (number, id) = (known.number, known.packet_id.unwrap());
                    let is_over = match (known.qos, known.is_released) {
                        (QoS::ExactlyOnce, false) => {
                            prop_assert!(outbox.release(id).is_some() && outbox.acknowledge(id).is_none());
                            known.is_released = true;
                            false
                        }
                        (QoS::ExactlyOnce, true) => outbox.complete(id),
                        _ => outbox.acknowledge(id).is_some(),
                    };
                    model.retain(|known| !is_over || known.number != number);
                }
                Step::Refuse(n) => {
                    let may_be = |known: &&Known| known.qos == QoS::ExactlyOnce && known.is_sent && !known.is_released;
                    if let Some(known) = model.iter().filter(may_be).nth(n).cloned() {
                        prop_assert!(outbox.refuse(known.packet_id.unwrap()).is_some());
                        model.retain(|other| other.number != known.number);
                    }
                }
                Step::Take(n) => {
                    let place = outbox.taken() + n.saturating_sub(outbox.depth().inflight) as u64;
                    if let Some(known) = model.iter().filter(|known| !known.is_released).nth(n).cloned() {
                        let has_waited = known.packet_id.is_none();
                        prop_assert_eq!(outbox.take_at(n), has_waited.then_some(place));
                        model.retain(|other| other.number != known.number);
                    }
                }
                Step::Disconnect => {
                    outbox.disconnect();
                    model.iter_mut().for_each(|known| known.is_sent = false);
                }
            }
            let mut ids: Vec<_> = model.iter().filter_map(|known| known.packet_id).collect();
            ids.sort_unstable();
            let used = ids.len();
            ids.dedup();
            prop_assert_eq!(ids.len(), used, "no id twice");
            let taken = model.iter().filter(|known| known.is_sent || known.is_released).count();
            prop_assert_eq!(outbox.unacknowledged(), taken);
            prop_assert!(outbox.unacknowledged() <= window);
            prop_assert_eq!(outbox.released().count(), model.iter().filter(|known| known.is_released).count());
            prop_assert_eq!(outbox.has_due(), model.iter().any(Known::is_due));
        }
    }
}
