//! The traces that broke the first draft of the downstream protocol, as far as a gateway has a part in them. The router's
//! half is its own crate's tests.

use std::num::NonZeroU16;
use std::time::Duration;

use roost_wire::{
    CloseReason, Control, Outcome, Present, QuestionId, ReturnReason, SessionId, SettlementItem, Sighting,
};

use super::world::*;
use crate::packet::{QoS, ReasonCode};
use crate::shard::Input;
use crate::{Count, PublishOutcome};

const HOLD_ENDED: Outcome = Outcome::Returned { reason: ReturnReason::HoldEnded };

#[test]
fn v1_a_later_command_does_not_overtake_one_that_found_no_subscription() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let [first, second] = [(); 2].map(|()| world.new_command("d", epoch(1, 1)));
    world.deliver(first);
    world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    world.deliver(second);
    assert_eq!(world.outcomes(), [(1, Outcome::NoSubscription), (2, HOLD_ENDED)]);
    assert_eq!(world.read(client), [], "c2 was not delivered");
    for sequence in [1, 2] {
        let again = world.command(sequence, "d", epoch(1, 2));
        world.deliver(again);
    }
    assert_eq!(world.take_publishes(client, true), ["1", "2"]);
}

#[test]
fn v2_the_subscribe_report_stands_behind_the_answer_it_belongs_to() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "other", QoS::AtLeastOnce);
    assert!(
        !world.settlements.iter().any(|i| matches!(i, SettlementItem::Subscribed { .. })),
        "nobody waits for it"
    );
    let command = world.new_command("d", epoch(1, 1));
    let session = command.session;
    world.settlements.clear();
    let mut command = command;
    command.sync = roost_wire::SyncNumber(2);
    world.deliver(command);
    for _ in 0..2 {
        world.subscribe(client, "devices/d/cmd", QoS::AtLeastOnce);
    }
    let [SettlementItem::Settled(answer), SettlementItem::Subscribed { device, session: subscribed }] =
        &world.settlements[..]
    else {
        panic!("{:?}", world.settlements)
    };
    assert_eq!(answer.outcome, Outcome::NoSubscription);
    assert_eq!((device.to_string(), *subscribed), ("main/d".to_owned(), session));
}

#[test]
fn v3_claim_and_absent_travel_with_the_sightings_in_order() {
    let mut world = World::new();
    world.sightings.clear();
    let ask = |n| Control::Ask { question: QuestionId(n), device: "d".parse().unwrap() };
    world.router_says(1, vec![ask(1)]);
    let client = world.connect(V5, "d");
    world.router_says(1, vec![ask(2)]);
    world.cut(client);
    world.router_says(1, vec![ask(3)]);
    let kinds: Vec<_> = world
        .sightings
        .iter()
        .map(|sighting| match sighting {
            Sighting::Absent { question, .. } => format!("absent {question}"),
            Sighting::Claim { question, present, .. } => format!("claim {question} {}", present.session),
            Sighting::Accepted(present) => format!("accepted {}", present.session),
            Sighting::Gone { session, .. } => format!("gone {session}"),
            Sighting::Heartbeat(_)
            | Sighting::Snapshot { .. }
            | Sighting::WantsSession { .. }
            | Sighting::HoldsSession { .. }
            | Sighting::NoSession { .. } => "other".to_owned(),
        })
        .collect();
    assert_eq!(kinds, ["absent 1", "accepted 1", "claim 2 1", "gone 1", "absent 3"]);
}

#[test]
fn v3_a_kept_session_without_a_connection_is_absent() {
    let mut world = World::new();
    let client = world.connect_as(persistent(V5, "d"));
    world.cut(client);
    world.sightings.clear();
    world.router_says(1, vec![Control::Ask { question: QuestionId(1), device: "d".parse().unwrap() }]);
    assert!(matches!(world.sightings[..], [Sighting::Absent { .. }]));
}

#[test]
fn v4_a_copy_for_a_session_that_is_elsewhere_is_not_delivered() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let mut copy = world.new_command("d", epoch(1, 1));
    copy.session = SessionId(copy.session.0 + 1);
    world.deliver(copy);
    assert_eq!(world.outcomes(), [(1, Outcome::Gone { written: false })]);
    assert_eq!(world.read(client), []);
}

#[test]
fn v5_a_new_link_raises_the_sync_number_before_anything_comes_through_it() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let [lost, next] = [(); 2].map(|()| world.new_command("d", epoch(1, 1)));
    // c1 was in the inbox that went with its link; nobody has it.
    world.link_down();
    world.link_up(2);
    world.deliver(next);
    assert_eq!(
        (world.read(client), world.count(Count::CommandOldSync)),
        (vec![], 1),
        "c2 does not overtake c1"
    );
    let (number, in_flight) = world.last_sync();
    assert!(number > lost.sync && in_flight.is_empty());
    for sequence in [1, 2] {
        let again = world.command(sequence, "d", epoch(1, 2));
        world.deliver(again);
    }
    assert_eq!(world.take_publishes(client, true), ["1", "2"]);
}

#[test]
fn v5_what_comes_late_through_the_old_link_is_dropped() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    world.link_down();
    world.link_up(2);
    let command = world.new_command("d", epoch(1, 1));
    world.deliver_through(1, command);
    assert_eq!((world.read(client), world.count(Count::CommandOldLink)), (vec![], 1));
}

#[test]
fn v6_a_sync_lists_what_is_in_flight_and_that_is_not_published_again() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    let before = world.last_sync().0;
    // The router is another run and knows of neither.
    world.router_says(2, vec![]);
    let (number, in_flight) = world.last_sync();
    assert!(number > before);
    assert_eq!(in_flight, [1, 2], "the one that is written and the one that waits");
    for sequence in [1, 2] {
        let again = world.command(sequence, "d", epoch(2, 0));
        world.deliver(again);
    }
    assert_eq!(world.count(Count::CommandRepeated), 2);
    assert_eq!(world.take_publishes(client, true), ["1", "2"], "each once");
    let epochs: Vec<_> = world
        .settlements
        .iter()
        .filter_map(|item| match item {
            SettlementItem::Settled(s) => Some((s.command.sequence, s.epoch, s.outcome)),
            SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. } => None,
        })
        .collect();
    assert_eq!(epochs, [(1, epoch(2, 0), Outcome::Delivered), (2, epoch(2, 0), Outcome::Delivered)]);
}

#[test]
fn v7_a_gateway_without_a_lease_delivers_nothing() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    world.pass(Duration::from_secs(10));
    let last_moment = world.new_command("d", epoch(1, 1));
    world.deliver(last_moment);
    assert_eq!(world.take_publishes(client, true), ["1"], "the last moment is inside");
    world.pass(Duration::from_micros(1));
    let late = world.new_command("d", epoch(1, 1));
    world.deliver(late);
    assert_eq!(world.read(client), []);
    assert_eq!(world.outcomes()[1..], [(2, Outcome::Returned { reason: ReturnReason::LeaseLapsed })]);
}

#[test]
fn v7_the_shard_does_not_wait_to_be_told_of_the_lapse() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let command = world.new_command("d", epoch(1, 1));
    // The link's timer is late: only the shard hears of the new time.
    world.now.boot = world.now.boot + Duration::from_secs(11);
    world
        .shard
        .handle(world.now, Input::Delivery { link: roost_wire::LinkId(1), delivery: Box::new(command) });
    world.run();
    assert_eq!((world.read(client), world.count(Count::CommandLeaseLapsed)), (vec![], 1));
}

#[test]
fn v7_room_in_the_window_after_the_lapse_is_too_late() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    // Again the link's timer is late: the PUBACK comes before the shard is told of the lapse.
    world.now.boot = world.now.boot + Duration::from_secs(11);
    assert_eq!(world.take_publishes(client, true), ["1"]);
    let outcomes = world.outcomes();
    assert_eq!(
        outcomes,
        [(1, Outcome::Delivered), (2, Outcome::Returned { reason: ReturnReason::LeaseLapsed })]
    );
}

#[test]
fn v8_a_restarted_routers_epoch_is_newer_and_the_old_ones_is_refused() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for turn in [epoch(1, 900), epoch(2, 0), epoch(1, 901)] {
        let command = world.new_command("d", turn);
        world.deliver(command);
    }
    assert_eq!(world.take_publishes(client, true), ["1", "2"]);
    assert_eq!(world.outcomes()[0], (3, Outcome::Returned { reason: ReturnReason::StaleEpoch }));
}

#[test]
fn v9_every_settlement_carries_the_epoch_of_its_command() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let command = world.new_command("d", epoch(1, 7));
    world.deliver(command);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let command = world.new_command("d", epoch(1, 8));
    world.deliver(command);
    world.take_publishes(client, true);
    let epochs: Vec<_> = world
        .settlements
        .iter()
        .filter_map(|item| match item {
            SettlementItem::Settled(settlement) => Some(settlement.epoch.counter),
            SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. } => None,
        })
        .collect();
    assert_eq!(epochs, [7, 8]);
}

#[test]
fn v10_a_settlement_is_published_until_it_is_confirmed_and_before_any_sync() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let command = world.new_command("d", epoch(1, 1));
    world.settlements.clear();
    world.holds_reports = true;
    world.deliver(command);
    world.take_publishes(client, true);
    world.link_down();
    world.link_up(2);
    // Heartbeat and snapshot may go; of the settlements only the answer, not the sync.
    let settles =
        |world: &World| world.reports.iter().filter(|r| r.message.routing_key == "settle.0").count();
    assert_eq!(settles(&world), 1);
    assert_eq!(world.reports[0].on_loss, crate::OnLoss::PublishAgain);
    world.answer_report(PublishOutcome::Nacked);
    while let Some(report) = world.reports.front() {
        assert_ne!(report.message.routing_key, "settle.0", "not at once");
        world.answer_report(PublishOutcome::Confirmed);
    }
    world.pass(Duration::from_secs(1));
    while !world.reports.is_empty() {
        world.answer_report(PublishOutcome::Confirmed);
    }
    let kinds: Vec<_> = world
        .settlements
        .iter()
        .map(|item| match item {
            SettlementItem::Settled(s) => s.outcome == Outcome::Delivered,
            SettlementItem::Sync { .. } => false,
            SettlementItem::Subscribed { .. } => panic!("{item:?}"),
        })
        .collect();
    assert_eq!(kinds, [true, false], "the answer, then the sync");
}

#[test]
fn v11_the_router_asks_for_a_sync_and_gets_one_behind_the_settlements() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    let publishes = world.read_publishes(client);
    let before = world.last_sync().0;
    world.settlements.clear();
    world.puback(client, publishes[0].delivery.packet_id().unwrap());
    world.router_says(1, vec![Control::Sync]);
    let [
        SettlementItem::Settled(settled),
        SettlementItem::Sync { number, first: true, last: true, in_flight },
    ] = &world.settlements[..]
    else {
        panic!("{:?}", world.settlements)
    };
    assert_eq!((settled.command.sequence, in_flight.len(), in_flight[0].command.sequence), (1, 1, 2));
    assert_eq!(*number, before.next());
}

#[test]
fn v12_a_lapse_returns_what_waits_and_keeps_nothing() {
    let mut world = World::new();
    let mut connect = connect_packet(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect);
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..3 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    let written = world.read_publishes(client).remove(0);
    let before = world.last_sync().0;
    world.pass(Duration::from_secs(11));
    let lapsed = Outcome::Returned { reason: ReturnReason::LeaseLapsed };
    let outcomes = world.outcomes();
    assert_eq!((outcomes[0], outcomes.len()), ((2, lapsed), 2), "{outcomes:?}");
    // The lease is regained: a sync, and the hold that lapsed stays over.
    world.answer_heartbeats(1);
    let (number, in_flight) = world.last_sync();
    assert!(number > before);
    assert_eq!(in_flight, [1], "what was written is in flight still");
    world.puback(client, written.delivery.packet_id().unwrap());
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
    assert_eq!(world.read(client), [], "nothing that was held comes late");
    let late = world.command(2, "d", epoch(1, 1));
    world.deliver(late);
    assert_eq!(world.outcomes(), [(2, HOLD_ENDED)]);
    assert_eq!(world.count(Count::LeaseLapsed), 1);
}

#[test]
fn v12_a_regained_lease_announces_who_is_here() {
    let mut world = World::new();
    world.connect(V5, "a");
    let gone = world.connect(V5, "b");
    world.pass(Duration::from_secs(11));
    world.cut(gone);
    world.sightings.clear();
    world.answer_heartbeats(1);
    let [Sighting::Snapshot { first: true, last: true, present }] = &world.sightings[..] else {
        panic!("{:?}", world.sightings)
    };
    assert_eq!(present.iter().map(|p: &Present| p.device.to_string()).collect::<Vec<_>>(), ["main/a"]);
}

#[test]
fn v14_commands_are_never_session_state() {
    let mut world = World::new();
    let mut connect = persistent(V5, "d");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let client = world.connect_as(connect.clone());
    world.subscribe(client, "#", QoS::AtLeastOnce);
    for _ in 0..2 {
        let command = world.new_command("d", epoch(1, 1));
        world.deliver(command);
    }
    assert_eq!(world.read_publishes(client).len(), 1);
    let (client, connack) = world.try_connect(connect);
    assert!(connack.session_present);
    assert_eq!(
        world.outcomes(),
        [(1, Outcome::Gone { written: true }), (2, Outcome::Gone { written: false })]
    );
    assert_eq!(world.read(client), [], "neither is sent again by the gateway");
    let again = world.command(1, "d", epoch(1, 2));
    world.deliver(again);
    let again = world.read_publishes(client).remove(0);
    assert!(!again.delivery.dup(), "to this connection it is new");
}

#[test]
fn v16_the_router_closes_a_session_and_no_other() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    let session = world.session(&"d".parse().unwrap());
    let close = |session| Control::Close {
        device: "d".parse().unwrap(),
        session,
        reason: CloseReason::TakenOver,
        forget: false,
    };
    world.router_says(1, vec![close(SessionId(session.0 + 1)), close(SessionId(0))]);
    assert!(!world.is_closed(client));
    world.sightings.clear();
    world.router_says(1, vec![close(session)]);
    assert_eq!(world.closed_with(client), Some(ReasonCode::SessionTakenOver));
    assert!(matches!(world.sightings[..], [Sighting::Gone { .. }]));
    assert_eq!(world.count(Count::ClosedElsewhere), 1);
}
