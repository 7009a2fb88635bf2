use super::world::*;
use crate::embedded::core::*;
use proptest::prelude::*;

const QUEUES: [&str; 4] = ["plain", "short", "mortal", "quorum"];

/// Operations of any kind, good and bad, on a few queues.
fn operation() -> impl Strategy<Value = Operation> {
    let queue = || prop::sample::select(&QUEUES[..]);
    let tag = || 0..8_u64;
    prop_oneof![
        8 => (queue(), 0..3_u8).prop_map(|(queue, kind)| match kind {
            0 => publish("", queue, "persistent"),
            1 => publish("amq.fanout", "", "everywhere"),
            _ => Operation::Publish(Box::new(Publication {
                properties: BasicProperties::default().with_expiration("30".into()),
                ..publication("", queue, "short-lived")
            })),
        }),
        3 => queue().prop_map(|queue| consume(queue, "")),
        2 => queue().prop_map(|queue| consume(queue, "c")),
        1 => Just(Operation::Cancel { consumer_tag: "c".into(), nowait: true }),
        3 => (queue(), any::<bool>())
            .prop_map(|(queue, no_ack)| Operation::Get { queue: queue.into(), no_ack }),
        4 => (tag(), any::<bool>())
            .prop_map(|(delivery_tag, multiple)| Operation::Ack { delivery_tag, multiple }),
        3 => (tag(), any::<[bool; 2]>()).prop_map(|(delivery_tag, [multiple, requeue])| Operation::Nack {
            delivery_tag,
            multiple,
            requeue,
            reject: false
        }),
        1 => (0..3_u16, any::<bool>()).prop_map(|(count, global)| prefetch(count, global)),
        1 => Just(Operation::Recover { requeue: true, nowait: true }),
        1 => Just(confirm_select()),
        1 => queue().prop_map(|queue| Operation::Purge { queue: queue.into(), nowait: true }),
        1 => queue().prop_map(|queue| Operation::DeleteQueue {
            queue: queue.into(),
            if_unused: false,
            if_empty: false,
            nowait: true
        }),
        1 => Just(Operation::Close),
        2 => Just(Operation::CloseOk),
        4 => Just(Operation::Open),
    ]
}

fn declare_all(world: &mut World) {
    let dead = ("x-dead-letter-exchange", text("amq.fanout"));
    let arguments: [&[(&str, AMQPValue)]; 4] = [
        &[],
        &[("x-max-length", number(3)), dead.clone()],
        &[("x-message-ttl", number(20)), dead.clone()],
        &[("x-queue-type", text("quorum")), ("x-delivery-limit", number(1)), dead],
    ];
    for (queue, arguments) in QUEUES.iter().zip(arguments) {
        world.declare(queue, arguments);
        world.bind(queue, "amq.fanout", "");
    }
}

proptest! {
    // Whatever clients do: figures add up, memory is given back, and a restart finds exactly what the log says.
    #[test]
    fn the_books_balance(
        steps in prop::collection::vec((any::<bool>(), operation(), 0..15_u64, 0..40_u8), 1..120),
    ) {
        let mut world = World::logged();
        declare_all(&mut world);
        for (bob, operation, pause, chance) in steps {
            world.act(if bob { BOB } else { ALICE }, operation);
            world.wait(pause);
            if chance == 0 {
                world.input(Input::ConnectionLost { connection: BOB });
                world.input(Input::ConnectionOpened { connection: BOB, user: "bob".into() });
            }
            if chance == 1 {
                world.sync();
            }
            for queue in world.broker.queues() {
                let left = queue.acknowledged_total + queue.dead_lettered_total + queue.dropped_total;
                prop_assert!(left + queue.ready + queue.unacknowledged <= queue.published_total, "{queue:?}");
            }
        }
        for connection in [ALICE, BOB] {
            world.input(Input::ConnectionLost { connection });
        }
        let ready: Vec<(String, u64)> =
            world.broker.queues().iter().map(|queue| (queue.name.to_string(), queue.ready)).collect();
        for queue in world.broker.queues() {
            prop_assert_eq!((queue.unacknowledged, queue.consumers), (0, 0));
        }
        let mut image = Image::default();
        for record in &world.records {
            image.apply(record.clone());
        }
        let restored = Broker::restore(Limits::default(), Storage::Log, 9, image, UnixMillis(world.now));
        for (queue, (name, ready)) in restored.queues().iter().zip(&ready) {
            prop_assert_eq!(&*queue.name, name.as_str());
            prop_assert!(queue.ready <= *ready, "only what was not persistent is lost: {:?} {}", queue, ready);
        }
        world.input(Input::ConnectionOpened { connection: ALICE, user: "alice".into() });
        world.act(ALICE, Operation::Open);
        for queue in QUEUES {
            let (queue, nowait) = (queue.to_owned(), true);
            world.act(ALICE, Operation::DeleteQueue { queue, if_unused: false, if_empty: false, nowait });
        }
        prop_assert_eq!(world.broker.counters().memory_bytes, 0);
        prop_assert_eq!(world.broker.next_timeout(), None);
    }
}
