use super::world::*;
use crate::embedded::core::*;

fn mandatory(exchange: &str, key: &str, body: &str) -> Operation {
    Operation::Publish(Box::new(Publication { mandatory: true, ..publication(exchange, key, body) }))
}

#[test]
fn what_no_queue_wants_comes_back_before_its_confirm() {
    let mut world = World::new();
    world.exchange("e", "topic");
    world.act(ALICE, confirm_select());
    let seen = world.act(ALICE, mandatory("e", "k", "lost"));
    assert_eq!(seen, [Seen::Returned("lost".into()), Seen::Acked(1, false)]);
    assert_eq!(world.act(ALICE, publish("e", "k", "lost")), [Seen::Acked(2, false)]);
    assert_eq!(world.broker.counters().returned, 1);
    assert_eq!(world.broker.counters().dropped[&DropReason::Unroutable], 1);
}

#[test]
fn an_alternate_exchange_takes_what_no_queue_wants() {
    let mut world = World::new();
    world.exchange("other", "fanout");
    let declaration = ExchangeDeclaration {
        exchange: "e".into(),
        kind: "topic".into(),
        arguments: table(&[("alternate-exchange", text("other"))]),
        ..Default::default()
    };
    world.act(ALICE, Operation::DeclareExchange(declaration));
    world.declare("rest", &[]);
    world.bind("rest", "other", "");
    assert_eq!(world.act(ALICE, mandatory("e", "k", "x")), []);
    assert_eq!(world.drain("rest"), ["x"]);
}

#[test]
fn a_persistent_message_is_confirmed_when_it_is_on_disk() {
    let mut world = World::logged();
    world.declare("q", &[]);
    world.sync();
    world.act(ALICE, confirm_select());
    assert_eq!(world.publish("q", "one"), []);
    assert_eq!(world.publish("q", "two"), []);
    let safe = Lsn(world.records.len() as u64 - 1);
    assert_eq!(world.input(Input::Synced(safe)), [(ALICE, Seen::Acked(1, false))]);
    assert_eq!(world.sync(), [(ALICE, Seen::Acked(2, false))]);
}

#[test]
fn what_is_not_kept_is_confirmed_at_once() {
    let mut world = World::logged();
    world.act(ALICE, Operation::DeclareQueue(QueueDeclaration { queue: "t".into(), ..Default::default() }));
    world.declare("d", &[]);
    world.sync();
    world.act(ALICE, confirm_select());
    assert_eq!(world.act(ALICE, publish("", "t", "in a transient queue")), [Seen::Acked(1, false)]);
    let transient = Publication { properties: BasicProperties::default(), ..publication("", "d", "x") };
    let seen = world.act(ALICE, Operation::Publish(Box::new(transient)));
    assert_eq!(seen, [Seen::Acked(2, false)]);
}

#[test]
fn a_durable_declaration_is_answered_when_it_is_on_disk_and_in_order() {
    let mut world = World::logged();
    assert_eq!(world.declare("q", &[]), []);
    let passive = QueueDeclaration { queue: "q".into(), passive: true, ..Default::default() };
    assert_eq!(world.act(ALICE, Operation::DeclareQueue(passive.clone())), [], "not before the first");
    assert_eq!(world.act(BOB, Operation::DeclareQueue(passive)).len(), 1);
    let declared = (ALICE, Seen::Declared("q".into(), 0, 0));
    assert_eq!(world.sync(), [declared.clone(), declared]);
}

#[test]
fn many_publishes_are_confirmed_by_one_frame() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.act(ALICE, confirm_select());
    for body in ["a", "b", "c"] {
        let operation = publish("", "q", body);
        let (connection, channel) = (ALICE, ChannelNumber(1));
        world.broker.handle(UnixMillis(world.now), Input::Operation { connection, channel, operation });
    }
    assert_eq!(world.input(Input::Tick), [(ALICE, Seen::Acked(3, true))]);
}

#[test]
fn a_full_queue_that_rejects_refuses_its_publisher_and_no_other_queue() {
    for by in [("x-max-length", number(1)), ("x-max-length-bytes", number(1))] {
        let mut world = World::new();
        world.declare("full", &[by, ("x-overflow", text("reject-publish"))]);
        world.declare("roomy", &[]);
        world.exchange("e", "fanout");
        world.bind("full", "e", "");
        world.bind("roomy", "e", "");
        world.act(ALICE, confirm_select());
        assert_eq!(world.act(ALICE, publish("e", "", "a")), [Seen::Acked(1, false)]);
        assert_eq!(world.act(ALICE, publish("e", "", "b")), [Seen::Nacked(2, false)]);
        assert_eq!(world.drain("full"), ["a"]);
        assert_eq!(world.drain("roomy"), ["a", "b"]);
        assert_eq!(world.act(ALICE, publish("e", "", "c")), [Seen::Acked(3, false)]);
    }
}

#[test]
fn the_oldest_makes_room_by_default() {
    let mut world = World::new();
    world.declare("q", &[("x-max-length", number(2))]);
    for body in ["a", "b", "c"] {
        world.publish("q", body);
    }
    assert_eq!(world.drain("q"), ["b", "c"]);
    assert_eq!(world.broker.counters().dropped[&DropReason::Died(DeathReason::MaxLength)], 1);
}

#[test]
fn publishers_above_the_memory_bound_are_blocked_until_there_is_room() {
    let limits = Limits { memory_bytes_max: 5200, ..Limits::default() };
    let mut world = World::with(limits, Storage::Memory);
    world.declare("q", &[]);
    let mut blocked = 0;
    for _ in 0..6 {
        let seen = world.publish("q", "0123456789");
        blocked += seen.iter().filter(|(_, seen)| *seen == Seen::Blocked).count();
    }
    assert_eq!(blocked, 1, "told once");
    let get = |world: &mut World| world.all(ALICE, Operation::Get { queue: "q".into(), no_ack: true });
    assert!(!get(&mut world).contains(&(ALICE, Seen::Unblocked)), "not on the edge");
    let freed: Vec<_> = (0..3).flat_map(|_| get(&mut world)).collect();
    assert_eq!(freed.iter().filter(|one| **one == (ALICE, Seen::Unblocked)).count(), 1);
    while world.get("q").is_some() {}
    assert_eq!(world.broker.counters().memory_bytes, 0);
}

#[test]
fn a_full_disk_blocks_publishers_only() {
    let mut world = World::logged();
    world.declare("q", &[]);
    world.publish("q", "before");
    world.input(Input::LogStalled(true));
    assert_eq!(world.publish("q", "during"), [(ALICE, Seen::Blocked)]);
    assert_eq!(world.act(BOB, consume("q", "c")).len(), 2, "consumers go on");
    assert_eq!(world.input(Input::LogStalled(false)), [(ALICE, Seen::Unblocked)]);
}
