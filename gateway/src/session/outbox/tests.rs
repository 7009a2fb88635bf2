//! The outbox against a naive model: nothing is lost before its PUBACK, nothing is sent out of order, no id is used twice.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::packet::{Delivery, Publish, Text};

fn copy(payload: u32) -> LocalCopy {
    let publish = Publish {
        topic: Text::from_static("t"),
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload: Bytes::copy_from_slice(&payload.to_be_bytes()),
        properties: None,
    };
    let message = Arc::new(Message::from_publish(BootTime::default(), publish));
    LocalCopy { message, retain: false, subscription_ids: Vec::new() }
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
    (0..3).for_each(|n| outbox.push(copy(n)));
    let first = outbox.send_next(lowest_free(&outbox)).unwrap().packet_id;
    let second = outbox.send_next(lowest_free(&outbox)).unwrap().packet_id;
    assert!(outbox.acknowledge(first));
    assert!(!outbox.acknowledge(first), "once only");
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
    assert!(!outbox.is_full_for(1_000, 2, 10));
    outbox.push(copy(1));
    assert!(outbox.is_full_for(6, 2, 10));
    assert!(!outbox.is_full_for(5, 2, 10));
    outbox.push(copy(2));
    assert!(outbox.is_full_for(0, 2, 100));
}

#[derive(Debug, Clone)]
enum Step {
    Push,
    Send,
    /// Acknowledge the n-th of those that are unacknowledged.
    Acknowledge(usize),
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Push),
        4 => Just(Step::Send),
        3 => (0..8_usize).prop_map(Step::Acknowledge),
        1 => Just(Step::Disconnect),
    ]
}

proptest! {
    #[test]
    fn it_does_what_a_plain_list_does(steps in proptest::collection::vec(step(), 1..200), window in 1..6_usize) {
        let mut outbox = Outbox::new();
        let mut pushed = 0;
        // Everything pushed and not acknowledged, oldest first: number, packet id once sent, sent on this connection.
        let mut model: Vec<(u32, Option<PacketId>, bool)> = Vec::new();
        for step in steps {
            match step {
                Step::Push => {
                    outbox.push(copy(pushed));
                    model.push((pushed, None, false));
                    pushed += 1;
                }
                Step::Send if outbox.unacknowledged() < window => {
                    let expected = model.iter_mut().find(|(_, _, sent)| !sent);
                    match (outbox.send_next(lowest_free(&outbox)), expected) {
                        (None, None) => {}
                        (Some(due), Some(expected)) => {
                            prop_assert_eq!(number(due.copy), expected.0, "in order");
                            prop_assert_eq!(due.dup, expected.1.is_some(), "DUP exactly when sent before");
                            if let Some(id) = expected.1 {
                                prop_assert_eq!(due.packet_id, id, "under the same id");
                            }
                            *expected = (expected.0, Some(due.packet_id), true);
                        }
                        (due, expected) => prop_assert!(false, "{due:?} for {expected:?}"),
                    }
                }
                Step::Send => {}
                Step::Acknowledge(n) => {
                    let sent: Vec<_> = model.iter().filter(|(_, _, sent)| *sent).cloned().collect();
                    if let Some((gone, id, _)) = sent.get(n) {
                        prop_assert!(outbox.acknowledge(id.unwrap()));
                        model.retain(|(number, _, _)| number != gone);
                    }
                }
                Step::Disconnect => {
                    outbox.disconnect();
                    model.iter_mut().for_each(|(_, _, sent)| *sent = false);
                }
            }
            let mut ids: Vec<_> = model.iter().filter_map(|(_, id, _)| *id).collect();
            ids.sort_unstable();
            let used = ids.len();
            ids.dedup();
            prop_assert_eq!(ids.len(), used, "no id twice");
            prop_assert_eq!(outbox.unacknowledged(), model.iter().filter(|(_, _, sent)| *sent).count());
            prop_assert!(outbox.unacknowledged() <= window);
            prop_assert_eq!(outbox.has_due(), model.iter().any(|(_, _, sent)| !sent));
        }
    }
}
