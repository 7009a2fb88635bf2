use super::world::*;
use crate::embedded::core::*;

#[test]
fn a_closed_channel_gives_back_what_it_held_in_order() {
    let closings: [fn(&mut World); 3] = [
        |world| drop(world.act(BOB, Operation::Close)),
        |world| drop(world.act(BOB, ack(99))),
        |world| drop(world.input(Input::ConnectionLost { connection: BOB })),
    ];
    for close in closings {
        let mut world = World::new();
        world.declare("q", &[]);
        for body in ["a", "b", "c"] {
            world.publish("q", body);
        }
        world.act(BOB, consume("q", "c"));
        close(&mut world);
        let figures = world.queue("q").unwrap();
        assert_eq!((figures.ready, figures.unacknowledged, figures.consumers), (3, 0, 0));
        assert_eq!(world.drain("q"), ["a", "b", "c"]);
    }
}

#[test]
fn a_channel_at_fault_is_deaf_until_the_client_has_noticed() {
    let mut world = World::new();
    world.declare("q", &[]);
    assert!(matches!(world.act(BOB, ack(1))[..], [Seen::ChannelError(ReplyCode::PreconditionFailed, _)]));
    assert_eq!(world.act(BOB, publish("", "q", "into the void")), []);
    world.act(BOB, Operation::CloseOk);
    assert_eq!(world.act(BOB, Operation::Open), [Seen::Other("ChannelOpened".into())]);
    assert_eq!(world.drain("q"), Vec::<String>::new());
}

#[test]
fn a_channel_that_is_not_open_is_an_error_of_the_connection() {
    let mut world = World::new();
    world.act(BOB, Operation::Close);
    let seen = world.act(BOB, consume("q", "c"));
    assert!(matches!(seen[..], [Seen::ConnectionError(ReplyCode::ChannelError, _)]), "{seen:?}");
}

#[test]
fn exclusive_queues_end_with_their_connection() {
    let endings = [Input::ConnectionLost { connection: BOB }, Input::ConnectionClosing { connection: BOB }];
    for ending in endings {
        let mut world = World::new();
        let mine =
            QueueDeclaration { queue: "mine".into(), exclusive: true, durable: true, ..Default::default() };
        world.act(BOB, Operation::DeclareQueue(mine));
        world.exchange("e", "fanout");
        let binding = Binding { queue: "mine".into(), exchange: "e".into(), ..Default::default() };
        world.act(BOB, Operation::Bind(binding));
        world.act(ALICE, publish("e", "", "x"));
        world.input(ending);
        assert_eq!(world.queue("mine"), None);
        let mandatory = Publication { mandatory: true, ..publication("e", "", "y") };
        let seen = world.act(ALICE, Operation::Publish(Box::new(mandatory)));
        assert_eq!(seen, [Seen::Returned("y".into())]);
        assert_eq!(world.broker.counters().memory_bytes, 0);
    }
}

#[test]
fn auto_delete_ends_with_the_last_consumer_or_binding() {
    let mut world = World::new();
    let queue = QueueDeclaration { queue: "q".into(), auto_delete: true, ..Default::default() };
    world.act(ALICE, Operation::DeclareQueue(queue));
    let exchange = ExchangeDeclaration {
        exchange: "e".into(),
        kind: "topic".into(),
        auto_delete: true,
        ..Default::default()
    };
    world.act(ALICE, Operation::DeclareExchange(exchange.clone()));
    world.bind("q", "e", "k");
    world.act(ALICE, consume("q", "one"));
    world.act(BOB, consume("q", "two"));
    world.act(ALICE, Operation::Cancel { consumer_tag: "one".into(), nowait: true });
    assert!(world.queue("q").is_some());
    world.act(BOB, Operation::Close);
    assert_eq!(world.queue("q"), None);
    let passive = ExchangeDeclaration { passive: true, ..exchange };
    let seen = world.act(ALICE, Operation::DeclareExchange(passive));
    assert!(matches!(seen[..], [Seen::ChannelError(ReplyCode::NotFound, _)]), "{seen:?}");
}

#[test]
fn consumers_are_told_when_their_queue_goes() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.publish("q", "x");
    world.act(BOB, consume("q", "c"));
    let delete =
        Operation::DeleteQueue { queue: "q".into(), if_unused: false, if_empty: false, nowait: true };
    assert_eq!(world.all(ALICE, delete.clone()), [(BOB, Seen::Cancelled("c".into()))]);
    assert_eq!(world.act(BOB, ack(1)), [], "what was delivered may still be acknowledged");
    assert_eq!(world.broker.counters().memory_bytes, 0);
    assert_eq!(world.act(ALICE, delete), [], "deleting what is not there succeeds");
}

#[test]
fn a_user_may_only_speak_as_itself() {
    let mut world = World::new();
    world.declare("q", &[]);
    let properties = BasicProperties::default().with_user_id("bob".into());
    let publication = Publication { properties, ..publication("", "q", "x") };
    assert_eq!(world.act(BOB, Operation::Publish(Box::new(publication))), []);
    assert_eq!(world.drain("q"), ["x"]);
}
