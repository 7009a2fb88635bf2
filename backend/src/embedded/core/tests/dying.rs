use super::world::*;
use crate::embedded::core::*;

/// A queue `q` whose dead go to `dead`, by the key `k`.
fn mortal(arguments: &[(&str, AMQPValue)]) -> World {
    let mut world = World::new();
    world.exchange("dlx", "direct");
    world.declare("dead", &[]);
    world.bind("dead", "dlx", "k");
    let to = [("x-dead-letter-exchange", text("dlx")), ("x-dead-letter-routing-key", text("k"))];
    world.declare("q", &[&to, arguments].concat());
    world
}

fn take_dead(world: &mut World) -> Message {
    let input = Input::Operation {
        connection: ALICE,
        channel: ChannelNumber(1),
        operation: Operation::Get { queue: "dead".into(), no_ack: true },
    };
    world.broker.handle(UnixMillis(world.now), input);
    loop {
        match world.broker.poll_output().expect("a message is dead") {
            Output::Reply { reply: Reply::Got { delivery, .. }, .. } => return (*delivery.message).clone(),
            _ => continue,
        }
    }
}

fn deaths(message: &Message) -> Vec<(String, i64)> {
    let Some(AMQPValue::FieldArray(deaths)) = message.header("x-death") else { panic!("no x-death") };
    let read = |death: &AMQPValue| {
        let AMQPValue::FieldTable(death) = death else { panic!("{death:?}") };
        let AMQPValue::LongString(reason) = &death.inner()["reason"] else { panic!("no reason") };
        let AMQPValue::LongLongInt(count) = death.inner()["count"] else { panic!("no count") };
        (reason.to_string(), count)
    };
    deaths.as_slice().iter().map(read).collect()
}

#[test]
fn each_death_is_noted_with_its_reason() {
    type Kill = fn(&mut World);
    let reject: Kill = |world| {
        world.act(BOB, consume("q", "c"));
        world.act(BOB, nack(1, false));
    };
    let expire: Kill = |world| drop(world.wait(50));
    let overflow: Kill = |world| drop(world.publish("q", "next"));
    let limit: Kill = |world| {
        world.act(BOB, consume("q", "c"));
        world.act(BOB, nack(1, true));
        world.act(BOB, nack(2, true));
    };
    let quorum = || ("x-queue-type", text("quorum"));
    for (arguments, kill, reason) in [
        (vec![], reject, "rejected"),
        (vec![("x-message-ttl", number(50))], expire, "expired"),
        (vec![("x-max-length", number(1))], overflow, "maxlen"),
        (vec![quorum(), ("x-delivery-limit", number(1))], limit, "delivery_limit"),
    ] {
        let mut world = mortal(&arguments);
        world.publish("q", "mortal");
        kill(&mut world);
        let dead = take_dead(&mut world);
        assert_eq!(&dead.body[..], b"mortal", "{reason}");
        assert_eq!(deaths(&dead), [(reason.to_owned(), 1)]);
        assert_eq!((&*dead.exchange, &*dead.routing_key), ("dlx", "k"));
        for (header, value) in
            [("x-first-death-reason", reason), ("x-first-death-queue", "q"), ("x-first-death-exchange", "")]
        {
            assert_eq!(dead.header(header), Some(&text(value)), "{header}");
        }
        let Some(AMQPValue::FieldArray(array)) = dead.header("x-death") else { panic!("no x-death") };
        let AMQPValue::FieldTable(death) = &array.as_slice()[0] else { panic!("no table") };
        assert_eq!(death.inner()["queue"], text("q"));
        assert_eq!(death.inner()["exchange"], text(""));
        assert_eq!(death.inner()["routing-keys"], AMQPValue::FieldArray(vec![text("q")].into()));
        assert_eq!(death.inner()["time"], AMQPValue::Timestamp(world.now / 1000));
    }
}

#[test]
fn a_publishers_lifetime_ends_once() {
    let mut world = mortal(&[]);
    let properties = BasicProperties::default().with_expiration("50".into());
    let publication = Publication { properties, ..publication("", "q", "x") };
    world.act(ALICE, Operation::Publish(Box::new(publication)));
    assert_eq!(world.broker.next_timeout(), Some(UnixMillis(world.now + 50)));
    world.wait(49);
    assert_eq!(world.queue("q").unwrap().ready, 1);
    world.wait(1);
    assert_eq!(world.queue("q").unwrap().ready, 0);
    world.wait(1000);
    let dead = take_dead(&mut world);
    assert_eq!(dead.properties.expiration(), &None);
    let Some(AMQPValue::FieldArray(array)) = dead.header("x-death") else { panic!("no x-death") };
    let AMQPValue::FieldTable(death) = &array.as_slice()[0] else { panic!("no table") };
    assert_eq!(death.inner()["original-expiration"], text("50"));
}

#[test]
fn a_lifetime_of_zero_is_now_or_never() {
    let mut world = mortal(&[("x-message-ttl", number(0))]);
    world.publish("q", "never");
    assert_eq!(&take_dead(&mut world).body[..], b"never");
    world.act(BOB, consume("q", "c"));
    assert_eq!(world.publish("q", "now").len(), 1);
}

#[test]
fn what_is_unacknowledged_does_not_expire_until_it_comes_back() {
    let mut world = mortal(&[("x-message-ttl", number(50))]);
    world.publish("q", "held");
    world.act(BOB, consume("q", "c"));
    world.wait(500);
    assert_eq!(world.queue("dead").unwrap().ready, 0);
    world.act(BOB, nack(1, true));
    assert_eq!(deaths(&take_dead(&mut world)), [("expired".to_owned(), 1)]);
}

#[test]
fn a_second_death_in_the_same_queue_is_counted() {
    let mut world = mortal(&[]);
    world.publish("q", "again");
    world.act(BOB, consume("q", "c"));
    world.act(BOB, nack(1, false));
    let dead = take_dead(&mut world);
    let back = Publication { properties: dead.properties, ..publication("", "q", "again") };
    world.act(ALICE, Operation::Publish(Box::new(back)));
    world.act(BOB, nack(2, false));
    assert_eq!(deaths(&take_dead(&mut world)), [("rejected".to_owned(), 2)]);
}

#[test]
fn a_message_that_only_expires_does_not_go_round_for_ever() {
    let mut world = World::new();
    world.declare("round", &[("x-message-ttl", number(10)), ("x-dead-letter-exchange", text(""))]);
    world.publish("round", "x");
    world.wait(10);
    assert_eq!(world.queue("round").unwrap().ready, 0);
    assert_eq!(world.broker.counters().dropped[&DropReason::DeadLetterCycle], 1);
    assert_eq!(world.broker.counters().memory_bytes, 0);
}

#[test]
fn a_dead_message_nobody_wants_is_dropped_and_counted() {
    let mut world = World::new();
    world.declare("q", &[("x-message-ttl", number(1)), ("x-dead-letter-exchange", text("none"))]);
    world.declare("r", &[("x-message-ttl", number(1))]);
    world.publish("q", "x");
    world.publish("r", "x");
    world.wait(5);
    let dropped = world.broker.counters().dropped;
    assert_eq!(dropped[&DropReason::DeadLetterUnroutable], 1);
    assert_eq!(dropped[&DropReason::Died(DeathReason::Expired)], 1);
}

#[test]
fn a_refusing_queue_may_dead_letter_what_it_refuses() {
    let mut world = mortal(&[("x-max-length", number(1)), ("x-overflow", text("reject-publish-dlx"))]);
    world.act(ALICE, confirm_select());
    world.publish("q", "in");
    assert_eq!(mine(ALICE, world.publish("q", "out")), [Seen::Nacked(2, false)]);
    assert_eq!(&take_dead(&mut world).body[..], b"out");
}

#[test]
fn a_quorum_queue_counts_deliveries() {
    let mut world = mortal(&[("x-queue-type", text("quorum")), ("x-delivery-limit", number(2))]);
    world.publish("q", "x");
    let counts: Vec<u32> =
        [world.act(BOB, consume("q", "c")), world.act(BOB, nack(1, true)), world.act(BOB, nack(2, true))]
            .iter()
            .map(|seen| match seen[..] {
                [Seen::Deliver { count, .. }] => count,
                _ => panic!("{seen:?}"),
            })
            .collect();
    assert_eq!(counts, [0, 1, 2]);
    world.act(BOB, nack(3, true));
    assert_eq!(deaths(&take_dead(&mut world)), [("delivery_limit".to_owned(), 1)]);
}

#[test]
fn an_idle_queue_is_deleted_and_a_used_one_is_not() {
    let mut world = World::new();
    world.declare("idle", &[("x-expires", number(100))]);
    world.declare("consumed", &[("x-expires", number(100))]);
    world.declare("asked", &[("x-expires", number(100))]);
    world.act(BOB, consume("consumed", "c"));
    world.wait(60);
    world.declare("asked", &[("x-expires", number(100))]);
    world.wait(60);
    let names: Vec<String> = world.broker.queues().iter().map(|queue| queue.name.to_string()).collect();
    assert_eq!(names, ["asked", "consumed"]);
    world.act(BOB, Operation::Cancel { consumer_tag: "c".into(), nowait: true });
    world.wait(100);
    assert!(world.broker.queues().is_empty());
}
