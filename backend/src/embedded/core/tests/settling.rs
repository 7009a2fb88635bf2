use super::world::*;
use crate::embedded::core::*;

fn deliver(tag: u64, body: &str, redelivered: bool) -> Seen {
    Seen::Deliver { tag, body: body.into(), redelivered, count: 0 }
}

fn filled(bodies: &[&str], arguments: &[(&str, AMQPValue)]) -> World {
    let mut world = World::new();
    world.declare("q", arguments);
    for body in bodies {
        world.publish("q", body);
    }
    world
}

#[test]
fn a_consumer_gets_as_many_as_its_prefetch() {
    for (global, second) in [(false, vec!["b", "c"]), (true, vec![])] {
        let mut world = filled(&["a", "b", "c", "d", "e"], &[]);
        world.act(BOB, prefetch(2, global));
        assert_eq!(bodies(&world.act(BOB, consume("q", "one"))), ["a", "b"]);
        let seen = world.act(BOB, consume("q", "two"));
        let expected = if second.is_empty() { vec![] } else { vec!["c", "d"] };
        assert_eq!(bodies(&seen), expected, "global {global}");
        assert_eq!(bodies(&world.act(BOB, ack(1))).len(), 1);
    }
}

#[test]
fn a_requeued_message_goes_back_to_its_place() {
    let mut world = filled(&["a", "b", "c", "d"], &[]);
    world.act(BOB, prefetch(3, false));
    world.act(BOB, consume("q", "c"));
    world.act(BOB, Operation::Cancel { consumer_tag: "c".into(), nowait: true });
    world.act(BOB, nack(2, true));
    world.act(BOB, nack(1, true));
    world.act(BOB, nack(3, true));
    let seen = world.act(BOB, consume("q", "c"));
    assert_eq!(seen, [deliver(4, "a", true), deliver(5, "b", true), deliver(6, "c", true)]);
}

#[test]
fn multiple_settles_all_up_to_the_tag() {
    let mut world = filled(&["a", "b", "c", "d"], &[]);
    world.act(BOB, consume("q", "c"));
    world.act(BOB, Operation::Ack { delivery_tag: 2, multiple: true });
    assert_eq!(world.queue("q").unwrap().unacknowledged, 2);
    world.act(BOB, Operation::Cancel { consumer_tag: "c".into(), nowait: true });
    world.act(BOB, Operation::Nack { delivery_tag: 0, multiple: true, requeue: true, reject: false });
    assert_eq!(world.drain("q"), ["c", "d"]);
    assert_eq!(world.act(BOB, Operation::Ack { delivery_tag: 0, multiple: true }), [], "none is all of none");
}

#[test]
fn recover_puts_everything_back() {
    let mut world = filled(&["a", "b"], &[]);
    world.act(BOB, consume("q", "c"));
    let seen = world.act(BOB, Operation::Recover { requeue: true, nowait: true });
    assert_eq!(seen, [deliver(3, "a", true), deliver(4, "b", true)]);
}

#[test]
fn no_ack_deliveries_are_done() {
    let mut world = filled(&["a"], &[]);
    let subscription = Subscription { queue: "q".into(), no_ack: true, nowait: true, ..Default::default() };
    assert_eq!(world.act(BOB, Operation::Consume(subscription)), [deliver(1, "a", false)]);
    let figures = world.queue("q").unwrap();
    assert_eq!((figures.ready, figures.unacknowledged, figures.acknowledged_total), (0, 0, 1));
    assert_eq!(world.broker.counters().memory_bytes, 0);
}

#[test]
fn consumers_take_turns() {
    let mut world = filled(&[], &[]);
    world.act(ALICE, consume("q", "a"));
    world.act(BOB, consume("q", "b"));
    let who: Vec<_> = ["1", "2", "3", "4"].iter().map(|body| world.publish("q", body)[0].0).collect();
    assert_eq!(who, [ALICE, BOB, ALICE, BOB]);
}

#[test]
fn only_the_first_consumer_of_a_single_active_queue_gets_messages() {
    let mut world = filled(&["a", "b"], &[("x-single-active-consumer", AMQPValue::Boolean(true))]);
    assert_eq!(bodies(&world.act(BOB, consume("q", "active"))), ["a", "b"]);
    world.act(ALICE, consume("q", "waiting"));
    assert_eq!(world.publish("q", "c")[0].0, BOB);
    let seen = world.input(Input::ConnectionLost { connection: BOB });
    let seen = mine(ALICE, seen);
    assert_eq!(seen, [deliver(1, "a", true), deliver(2, "b", true), deliver(3, "c", true)]);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let exclusive = || {
        Operation::Consume(Subscription {
            queue: "q".into(),
            exclusive: true,
            nowait: true,
            ..Default::default()
        })
    };
    let refused = |seen: Vec<Seen>| matches!(seen[..], [Seen::ChannelError(ReplyCode::AccessRefused, _)]);
    let mut world = filled(&[], &[]);
    world.act(ALICE, exclusive());
    assert!(refused(world.act(BOB, consume("q", "c"))));
    let mut world = filled(&[], &[]);
    world.act(ALICE, consume("q", "c"));
    assert!(refused(world.act(BOB, exclusive())));
    world.act(ALICE, Operation::Cancel { consumer_tag: "c".into(), nowait: true });
    world.act(ALICE, exclusive());
    assert_eq!(world.queue("q").unwrap().consumers, 1);
}

#[test]
fn a_tag_in_use_is_refused() {
    let mut world = filled(&[], &[]);
    world.act(BOB, consume("q", "c"));
    let seen = world.act(BOB, consume("q", "c"));
    assert!(matches!(seen[..], [Seen::ConnectionError(ReplyCode::NotAllowed, _)]), "{seen:?}");
}

#[test]
fn a_connection_that_does_not_read_is_not_delivered_to() {
    let body = "x".repeat(1000);
    let limits = Limits { outgoing_bytes_max: 3000, ..Limits::default() };
    let mut world = World::with(limits, Storage::Memory);
    world.declare("q", &[]);
    for _ in 0..5 {
        world.publish("q", &body);
    }
    assert_eq!(world.act(BOB, consume("q", "c")).len(), 2);
    let cost = 1000 + DELIVERY_OVERHEAD_BYTES;
    let seen = world.input(Input::Written { connection: BOB, bytes: 2 * cost });
    assert_eq!(seen.len(), 2);
}

#[test]
fn taking_one_tells_how_many_stay() {
    let mut world = filled(&["a", "b"], &[]);
    let get = || Operation::Get { queue: "q".into(), no_ack: false };
    assert_eq!(world.act(BOB, get()), [Seen::Got { tag: 1, body: "a".into(), remaining: 1 }]);
    assert_eq!(world.act(BOB, get()), [Seen::Got { tag: 2, body: "b".into(), remaining: 0 }]);
    assert_eq!(world.act(BOB, get()), [Seen::GotNothing]);
    world.act(BOB, ack(1));
    world.act(BOB, nack(2, true));
    assert_eq!(world.drain("q"), ["b"]);
}

#[test]
fn a_purge_takes_what_is_ready_only() {
    let mut world = filled(&["a", "b", "c"], &[]);
    world.act(BOB, prefetch(1, false));
    world.act(BOB, consume("q", "c"));
    let seen = world.act(ALICE, Operation::Purge { queue: "q".into(), nowait: false });
    assert_eq!(seen, [Seen::Other("QueuePurged { messages: 2 }".into())]);
    world.act(BOB, Operation::Close);
    assert_eq!(world.drain("q"), ["a"]);
}
