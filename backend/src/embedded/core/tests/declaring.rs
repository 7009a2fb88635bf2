use super::world::*;
use crate::embedded::core::*;

fn code(seen: &[Seen]) -> Option<(ReplyCode, bool)> {
    match seen.last() {
        Some(Seen::ChannelError(code, _)) => Some((*code, false)),
        Some(Seen::ConnectionError(code, _)) => Some((*code, true)),
        _ => None,
    }
}

#[test]
fn what_is_not_allowed_gets_its_code() {
    let queue = |queue: &str| QueueDeclaration { queue: queue.into(), ..Default::default() };
    let exchange = |exchange: &str, kind: &str| ExchangeDeclaration {
        exchange: exchange.into(),
        kind: kind.into(),
        durable: true,
        ..Default::default()
    };
    let quorum = table(&[("x-queue-type", text("quorum"))]);
    let passive = |declaration| QueueDeclaration { passive: true, ..declaration };
    let bind = |queue: &str, exchange: &str| {
        Operation::Bind(Binding { queue: queue.into(), exchange: exchange.into(), ..Default::default() })
    };
    let publish_as =
        |properties| Operation::Publish(Box::new(Publication { properties, ..publication("", "q", "x") }));
    use ReplyCode::*;
    let cases = [
        ("durable differs", Operation::DeclareQueue(queue("q")), PreconditionFailed),
        ("arguments differ", declare("q", &[("x-max-length", number(1))]), PreconditionFailed),
        (
            "exclusive differs",
            Operation::DeclareQueue(QueueDeclaration { durable: true, exclusive: true, ..queue("q") }),
            ResourceLocked,
        ),
        ("another's exclusive queue", Operation::DeclareQueue(passive(queue("mine"))), ResourceLocked),
        ("another's exclusive queue consumed", consume("mine", "c"), ResourceLocked),
        ("reserved queue name", Operation::DeclareQueue(queue("amq.x")), AccessRefused),
        ("passive, not there", Operation::DeclareQueue(passive(queue("none"))), NotFound),
        ("no last declared queue", Operation::Purge { queue: "".into(), nowait: false }, NotFound),
        (
            "quorum not durable",
            Operation::DeclareQueue(QueueDeclaration { arguments: quorum.clone(), ..queue("n") }),
            PreconditionFailed,
        ),
        (
            "quorum exclusive",
            Operation::DeclareQueue(QueueDeclaration {
                arguments: quorum,
                durable: true,
                exclusive: true,
                ..queue("n")
            }),
            PreconditionFailed,
        ),
        ("default exchange", Operation::DeclareExchange(exchange("", "direct")), AccessRefused),
        ("reserved exchange name", Operation::DeclareExchange(exchange("amq.x", "direct")), AccessRefused),
        ("exchange kind differs", Operation::DeclareExchange(exchange("e", "fanout")), PreconditionFailed),
        ("unknown kind", Operation::DeclareExchange(exchange("n", "cubic")), CommandInvalid),
        ("headers kind", Operation::DeclareExchange(exchange("n", "headers")), NotImplemented),
        (
            "passive exchange, not there",
            Operation::DeclareExchange(ExchangeDeclaration { passive: true, ..exchange("n", "") }),
            NotFound,
        ),
        (
            "exchange in use",
            Operation::DeleteExchange { exchange: "e".into(), if_unused: true, nowait: false },
            PreconditionFailed,
        ),
        (
            "predeclared exchange deleted",
            Operation::DeleteExchange { exchange: "amq.topic".into(), if_unused: false, nowait: false },
            AccessRefused,
        ),
        ("bound to the default exchange", bind("q", ""), AccessRefused),
        ("bound to no exchange", bind("q", "none"), NotFound),
        ("no queue bound", bind("none", "e"), NotFound),
        ("published to no exchange", publish("none", "k", "x"), NotFound),
        ("published to an internal one", publish("internal", "k", "x"), AccessRefused),
        (
            "immediate",
            Operation::Publish(Box::new(Publication { immediate: true, ..publication("", "q", "x") })),
            NotImplemented,
        ),
        (
            "another's user_id",
            publish_as(BasicProperties::default().with_user_id("alice".into())),
            PreconditionFailed,
        ),
        (
            "bad expiration",
            publish_as(BasicProperties::default().with_expiration("soon".into())),
            PreconditionFailed,
        ),
        ("consumed, not there", consume("none", "c"), NotFound),
        ("got, not there", Operation::Get { queue: "none".into(), no_ack: false }, NotFound),
        (
            "queue not empty",
            Operation::DeleteQueue { queue: "q".into(), if_unused: false, if_empty: true, nowait: false },
            PreconditionFailed,
        ),
        (
            "queue in use",
            Operation::DeleteQueue { queue: "used".into(), if_unused: true, if_empty: false, nowait: false },
            PreconditionFailed,
        ),
        ("unknown delivery tag", ack(9), PreconditionFailed),
        ("unknown tag, multiple", Operation::Ack { delivery_tag: 9, multiple: true }, PreconditionFailed),
        ("unknown tag refused", nack(9, true), PreconditionFailed),
        (
            "prefetch in bytes",
            Operation::Qos { prefetch_bytes: 1, prefetch_count: 0, global: false },
            NotImplemented,
        ),
        ("recover without requeue", Operation::Recover { requeue: false, nowait: false }, NotImplemented),
        ("flow off", Operation::Flow { active: false }, NotImplemented),
        ("opened twice", Operation::Open, ChannelError),
    ];
    for (what, operation, expected) in cases {
        let mut world = World::new();
        world.declare("q", &[]);
        world.publish("q", "one");
        world.declare("used", &[]);
        world.act(ALICE, consume("used", "c"));
        let mine = QueueDeclaration { exclusive: true, ..queue("mine") };
        world.act(ALICE, Operation::DeclareQueue(mine));
        world.exchange("e", "topic");
        world.bind("q", "e", "k");
        let internal = ExchangeDeclaration { internal: true, ..exchange("internal", "fanout") };
        world.act(ALICE, Operation::DeclareExchange(internal));
        let seen = world.act(BOB, operation);
        assert_eq!(code(&seen), Some((expected, expected.closes_connection())), "{what}: {seen:?}");
    }
}

#[test]
fn the_same_declaration_again_is_answered_with_figures() {
    let mut world = World::new();
    let arguments =
        [("x-queue-type", text("quorum")), ("x-single-active-consumer", AMQPValue::Boolean(true))];
    assert_eq!(world.declare("q", &arguments), [Seen::Declared("q".into(), 0, 0)]);
    world.publish("q", "one");
    assert_eq!(world.act(BOB, declare("q", &arguments)), [Seen::Declared("q".into(), 1, 0)]);
}

#[test]
fn a_drawn_name_is_new_and_is_what_an_empty_name_means() {
    let mut world = World::new();
    let drawn = |world: &mut World| match &world.declare("", &[])[..] {
        [Seen::Declared(name, 0, 0)] => name.clone(),
        other => panic!("{other:?}"),
    };
    let (one, two) = (drawn(&mut world), drawn(&mut world));
    assert!(one.starts_with("amq.gen-") && one != two);
    world.exchange("e", "direct");
    world.bind("", "e", "");
    world.act(ALICE, publish("e", &two, "by its name"));
    assert_eq!(world.get(""), Some("by its name".into()));
}

#[test]
fn bounds_are_told() {
    let limits = Limits { queues_max: 1, exchanges_max: 4, bindings_max: 1, ..Limits::default() };
    let mut world = World::with(limits, Storage::Memory);
    world.declare("q", &[]);
    world.exchange("e", "topic");
    world.bind("q", "e", "a");
    let binding =
        Binding { queue: "q".into(), exchange: "e".into(), routing_key: "b".into(), ..Default::default() };
    let exchange = ExchangeDeclaration { exchange: "f".into(), kind: "topic".into(), ..Default::default() };
    for operation in [declare("r", &[]), Operation::Bind(binding), Operation::DeclareExchange(exchange)] {
        let seen = world.act(BOB, operation);
        assert_eq!(code(&seen), Some((ReplyCode::PreconditionFailed, false)), "{seen:?}");
        world.act(BOB, Operation::CloseOk);
        world.act(BOB, Operation::Open);
    }
}

#[test]
fn a_connection_too_many_is_refused() {
    let mut world = World::with(Limits { connections_max: 2, ..Limits::default() }, Storage::Memory);
    let connection = ConnectionId(3);
    let seen = world.input(Input::ConnectionOpened { connection, user: "c".into() });
    assert_eq!(code(&mine(connection, seen)), Some((ReplyCode::NotAllowed, true)));
    assert_eq!(world.broker.counters().connections_refused, 1);
}

#[test]
fn an_unbound_queue_gets_no_more() {
    let mut world = World::new();
    world.declare("q", &[]);
    world.exchange("e", "topic");
    world.bind("q", "e", "a.*");
    world.bind("q", "e", "a.b");
    world.act(ALICE, publish("e", "a.b", "once, though two bindings match"));
    let unbind = |key: &str| Binding {
        queue: "q".into(),
        exchange: "e".into(),
        routing_key: key.into(),
        ..Default::default()
    };
    world.act(ALICE, Operation::Unbind(unbind("a.*")));
    world.act(ALICE, publish("e", "a.b", "still bound"));
    world.act(ALICE, Operation::Unbind(unbind("a.b")));
    world.act(ALICE, publish("e", "a.b", "not any more"));
    assert_eq!(world.drain("q"), ["once, though two bindings match", "still bound"]);
}
