use super::world::*;
use crate::embedded::core::*;

fn durable_world() -> World {
    let mut world = World::logged();
    world.exchange("e", "topic");
    world.declare("q", &[("x-dead-letter-exchange", text("e")), ("x-dead-letter-routing-key", text("dead"))]);
    world.declare("dead", &[]);
    world.bind("q", "e", "a.#");
    world.bind("dead", "e", "dead");
    world
}

#[test]
fn a_restart_finds_what_was_safe() {
    let mut world = durable_world();
    let transient = QueueDeclaration { queue: "t".into(), ..Default::default() };
    world.act(ALICE, Operation::DeclareQueue(transient));
    let exclusive =
        QueueDeclaration { queue: "x".into(), durable: true, exclusive: true, ..Default::default() };
    world.act(ALICE, Operation::DeclareQueue(exclusive));
    for body in ["acknowledged", "held", "rejected", "ready"] {
        world.act(ALICE, publish("e", "a.b", body));
    }
    let not_kept =
        Publication { properties: BasicProperties::default(), ..publication("e", "a.b", "transient") };
    world.act(ALICE, Operation::Publish(Box::new(not_kept)));
    world.act(BOB, prefetch(3, false));
    world.act(BOB, consume("q", "c"));
    world.act(BOB, ack(1));
    world.act(BOB, nack(3, false));
    let mut after = world.crash(world.records.len());
    let names: Vec<String> = after.broker.queues().iter().map(|queue| queue.name.to_string()).collect();
    assert_eq!(names, ["dead", "q"]);
    let seen = after.act(BOB, consume("q", "c"));
    assert_eq!(bodies(&seen), ["held", "ready"]);
    assert!(seen.iter().all(|seen| matches!(seen, Seen::Deliver { redelivered: true, .. })));
    assert_eq!(after.drain("dead"), ["rejected"]);
    after.act(ALICE, publish("e", "a.c", "bindings are back"));
    assert_eq!(after.queue("q").unwrap().unacknowledged, 3);
}

#[test]
fn every_prefix_of_the_log_keeps_what_was_confirmed() {
    let mut world = durable_world();
    world.sync();
    world.act(ALICE, confirm_select());
    let mut confirmed = Vec::new();
    let before = world.records.len();
    for body in ["a", "b", "c", "d"] {
        world.act(ALICE, publish("e", "a", body));
        confirmed.push((world.records.len(), body));
    }
    for synced in before..=world.records.len() {
        let mut after = world.crash(synced);
        let expected: Vec<&str> =
            confirmed.iter().filter(|(lsn, _)| *lsn <= synced).map(|(_, body)| *body).collect();
        assert_eq!(after.drain("q"), expected, "synced up to {synced}");
    }
}

#[test]
fn a_death_cut_in_two_leaves_the_message_twice_and_never_nowhere() {
    let mut world = durable_world();
    world.act(ALICE, publish("e", "a", "x"));
    world.act(BOB, consume("q", "c"));
    let before = world.records.len();
    world.act(BOB, nack(1, false));
    assert_eq!(world.records.len(), before + 2);
    for (synced, found) in [(before, (1, 0)), (before + 1, (1, 1)), (before + 2, (0, 1))] {
        let mut after = world.crash(synced);
        assert_eq!((after.drain("q").len(), after.drain("dead").len()), found);
    }
}

#[test]
fn records_applied_twice_change_nothing() {
    let mut world = durable_world();
    world.act(ALICE, publish("e", "a", "x"));
    let doubled: Vec<_> = world.records.iter().flat_map(|record| [record.clone(), record.clone()]).collect();
    world.records = doubled;
    let mut after = world.crash(world.records.len());
    assert_eq!(after.drain("q"), ["x"]);
}

#[test]
fn lifetimes_go_on_through_a_restart() {
    let mut world = World::logged();
    world.declare("q", &[("x-message-ttl", number(100))]);
    world.publish("q", "x");
    world.now += 60;
    let mut after = world.crash(world.records.len());
    after.now = world.now;
    after.wait(39);
    assert_eq!(after.queue("q").unwrap().ready, 1);
    after.wait(1);
    assert_eq!(after.queue("q").unwrap().ready, 0);
}

#[test]
fn a_deleted_queue_stays_deleted_and_its_name_is_free() {
    let mut world = durable_world();
    world.act(ALICE, publish("e", "a", "gone"));
    let delete =
        Operation::DeleteQueue { queue: "q".into(), if_unused: false, if_empty: false, nowait: true };
    world.act(ALICE, delete);
    world.declare("q", &[]);
    let mut after = world.crash(world.records.len());
    assert_eq!(after.drain("q"), Vec::<String>::new());
    after.act(ALICE, publish("e", "a", "not bound any more"));
    assert_eq!(after.drain("q"), Vec::<String>::new());
}

#[test]
fn delivery_counts_survive() {
    let mut world = World::logged();
    world.declare("q", &[("x-queue-type", text("quorum"))]);
    world.publish("q", "x");
    world.act(BOB, consume("q", "c"));
    world.act(BOB, nack(1, true));
    let mut after = world.crash(world.records.len());
    let seen = after.act(BOB, consume("q", "c"));
    assert_eq!(seen, [Seen::Deliver { tag: 1, body: "x".into(), redelivered: true, count: 1 }]);
}
