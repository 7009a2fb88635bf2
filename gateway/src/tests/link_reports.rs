//! What the link tells the router, when, and what it keeps.

use std::time::Duration;

use roost_wire::{Control, Incarnation, Outcome, RouterRun, SettlementItem, Sighting, mesh::ITEMS_MAX};

use super::world::*;
use crate::packet::{QoS, ReasonCode};
use crate::shard::Backend;
use crate::{Count, OnLoss, PublishOutcome, UplinkRules};

#[test]
fn a_connect_does_not_wait_for_router_or_backend() {
    let mut world = World::unconnected(limits(), UplinkRules::default());
    let client = world.connect(V5, "d");
    assert_eq!(world.subscribe(client, "a", QoS::AtLeastOnce), ReasonCode::GrantedQos1);
    assert_eq!((world.sightings.len(), world.heartbeats.len()), (0, 0));
    assert_eq!(world.count(Count::SightingAway), 1, "a snapshot will say it");
}

#[test]
fn a_new_link_says_where_it_is_then_who_is_here_and_syncs() {
    let mut world = World::unconnected(limits(), UplinkRules::default());
    world.connect(V5, "d");
    world.link_up(1);
    assert_eq!(world.heartbeats.len(), 0, "nothing can be published yet");
    world.backend(Backend::Up);
    assert_eq!((&*world.heartbeats[0].inbox, &*world.heartbeats[0].control), ("inbox.1", "control.1"));
    assert_eq!((world.heartbeats[0].sessions, world.heartbeats[0].echo), (1, None));
    let [Sighting::Snapshot { first: true, last: true, present }] = &world.sightings[..] else {
        panic!("{:?}", world.sightings)
    };
    assert_eq!(present[0].device.to_string(), "main/d");
    assert!(world.last_sync().1.is_empty());
}

#[test]
fn heartbeats_come_every_three_seconds_and_echo_the_last_answer() {
    let mut world = World::new();
    world.pass(Duration::from_secs(9));
    assert_eq!(world.heartbeats.len(), 3);
    let echo = world.heartbeats[2].echo.unwrap();
    assert_eq!((echo.run, echo.answered_at.as_micros()), (RouterRun(1), 5));
    assert!(world.heartbeats.windows(2).all(|h| h[1].number == h[0].number + 1));
    world.link_down();
    world.pass(Duration::from_secs(9));
    assert_eq!(world.heartbeats.len(), 3, "without a link there is nothing to answer to");
}

#[test]
fn a_lost_or_refused_sighting_is_replaced_by_a_snapshot() {
    for outcome in [PublishOutcome::Lost, PublishOutcome::Nacked, PublishOutcome::Returned] {
        let mut world = World::new();
        world.holds_reports = true;
        world.connect(V5, "d");
        assert_eq!(world.reports[0].on_loss, OnLoss::Report);
        world.sightings.clear();
        world.answer_report(outcome);
        world.pass(Duration::from_millis(999));
        assert!(world.reports.is_empty(), "not at once: its queue may be full");
        world.holds_reports = false;
        world.pass(Duration::from_millis(1));
        assert!(
            matches!(&world.sightings[..], [Sighting::Snapshot { present, .. }] if present.len() == 1),
            "{outcome:?}"
        );
        assert_eq!(world.count(Count::SightingLost), 1);
    }
}

#[test]
fn the_end_of_a_session_is_not_told_while_its_acceptance_may_be_lost() {
    let mut world = World::new();
    world.holds_reports = true;
    let client = world.connect(V5, "d");
    world.sightings.clear();
    world.answer_report(PublishOutcome::Lost);
    world.holds_reports = false;
    world.cut(client);
    world.connect(V5, "e");
    assert!(
        matches!(&world.sightings[..], [Sighting::Accepted(present)] if present.device.id.as_str() == "e")
    );
    world.pass(Duration::from_secs(1));
    assert!(
        matches!(&world.sightings[1..], [Sighting::Snapshot { present, .. }] if present.len() == 1),
        "{:?}",
        world.sightings
    );
}

#[test]
fn snapshots_that_are_refused_come_later_and_later() {
    let mut world = World::new();
    world.holds_reports = true;
    world.connect(V5, "d");
    world.answer_report(PublishOutcome::Nacked);
    let is_snapshot =
        |report: &crate::Publication| String::from_utf8_lossy(&report.message.body).contains("snapshot");
    let mut snapshots = 0;
    for _ in 0..127 {
        world.pass(Duration::from_secs(1));
        while let Some(report) = world.reports.front() {
            snapshots += usize::from(is_snapshot(report));
            world.answer_report(PublishOutcome::Nacked);
        }
    }
    assert!((4..=9).contains(&snapshots), "{snapshots}");
}

#[test]
fn history_is_not_told() {
    let mut world = World::new();
    world.backend(Backend::Away);
    for n in 0..3 {
        let client = world.connect(V5, &format!("d{n}"));
        world.cut(client);
    }
    world.connect(V5, "here");
    world.sightings.clear();
    world.backend(Backend::Up);
    assert!(
        matches!(&world.sightings[..], [Sighting::Snapshot { present, .. }] if present.len() == 1 && present[0].device.id.as_str() == "here"),
        "{:?}",
        world.sightings
    );
}

#[test]
fn the_router_can_ask_for_a_snapshot() {
    let mut world = World::new();
    world.connect(V5, "d");
    world.sightings.clear();
    world.router_says(1, vec![Control::Snapshot]);
    assert!(matches!(&world.sightings[..], [Sighting::Snapshot { present, .. }] if present.len() == 1));
}

#[test]
fn a_new_run_of_the_router_gets_sync_and_snapshot_and_an_old_one_no_ear() {
    let mut world = World::new();
    let (before, beats) = (world.last_sync().0, world.heartbeats.len());
    world.sightings.clear();
    world.router_says(2, vec![]);
    assert!(world.last_sync().0 > before);
    assert!(matches!(world.sightings[..], [Sighting::Snapshot { .. }]));
    assert_eq!(world.heartbeats.len(), beats + 1, "it may not know yet where it reaches the gateway");
    world.sightings.clear();
    world.router_says(1, vec![Control::Snapshot]);
    assert_eq!((world.sightings.len(), world.count(Count::ControlOldRun)), (0, 1));
}

#[test]
fn a_lost_sync_is_replaced_by_one_with_a_new_number() {
    let mut world = World::new();
    let before = world.last_sync().0;
    world.holds_reports = true;
    world.router_says(1, vec![Control::Sync]);
    let sync = world.reports.back().unwrap();
    assert_eq!((&*sync.message.routing_key, sync.on_loss), ("settle.0", OnLoss::Report));
    world.answer_report(PublishOutcome::Lost);
    world.holds_reports = false;
    world.pass(Duration::from_secs(1));
    assert_eq!(world.last_sync().0, before.next().next());
    assert_eq!(world.count(Count::SyncLost), 1);
}

#[test]
fn settlements_are_kept_while_the_backend_is_away() {
    let mut world = World::new();
    let client = world.connect(V5, "d");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    let command = world.new_command("d", epoch(1, 1));
    world.deliver(command);
    world.backend(Backend::Away);
    world.take_publishes(client, true);
    assert_eq!(world.outcomes(), []);
    assert!(!world.link.is_settled());
    world.backend(Backend::Up);
    assert_eq!(world.outcomes(), [(1, Outcome::Delivered)]);
    assert!(world.link.is_settled());
}

#[test]
fn too_many_kept_settlements_turn_commands_away_until_they_are_confirmed() {
    let mut world = World::new();
    let number = world.last_sync().0;
    world.backend(Backend::Away);
    let mut dropped_from = None;
    for n in 0..20_010 {
        let mut command = world.new_command("d", epoch(1, 1));
        command.sync = number;
        world.deliver(command);
        if world.count(Count::CommandOldSync) > 0 && dropped_from.is_none() {
            dropped_from = Some(n);
        }
    }
    assert_eq!(dropped_from, Some(20_001));
    assert_eq!(world.count(Count::SettlementBacklog), 1);
    world.settlements.clear();
    world.backend(Backend::Up);
    let settled = world.settlements.iter().filter(|item| matches!(item, SettlementItem::Settled(_))).count();
    assert_eq!(settled, 20_001);
    assert!(
        matches!(world.settlements.last(), Some(SettlementItem::Sync { .. })),
        "the router learns of the rest"
    );
    assert!(world.last_sync().0 > number);
}

#[test]
fn a_sync_of_many_commands_and_a_snapshot_of_many_sessions_come_in_parts() {
    let mut world = World::new();
    for n in 0..5_000 {
        let name = format!("d{n}");
        let client = world.connect(V311, &name);
        world.subscribe(client, "#", QoS::AtLeastOnce);
    }
    for n in 0..5_000 {
        let mut command = world.new_command(&format!("d{n}"), epoch(1, 1));
        // Sessions are numbered from 1 in the order of their CONNECTs.
        command.session = roost_wire::SessionId(n + 1);
        world.deliver(command);
    }
    world.settlements.clear();
    world.sightings.clear();
    world.router_says(1, vec![Control::Sync, Control::Snapshot]);
    let syncs: Vec<_> = world
        .settlements
        .iter()
        .map(|item| match item {
            SettlementItem::Sync { first, last, in_flight, .. } => (*first, *last, in_flight.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(syncs, [(true, false, 4_096), (false, true, 904)]);
    let snapshots: Vec<_> = world
        .sightings
        .iter()
        .map(|sighting| match sighting {
            Sighting::Snapshot { first, last, present } => (*first, *last, present.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(snapshots, [(true, false, 4_096), (false, true, 904)]);
}

/// Parts on their way when a connection breaks: the second is lost with it, and a third that was not sent yet leaves with the next
/// connection.
fn lose_the_second_part(world: &mut World) {
    world.answer_report(PublishOutcome::Confirmed);
    world.answer_report(PublishOutcome::Lost);
    while !world.reports.is_empty() {
        world.answer_report(PublishOutcome::Confirmed);
    }
}

#[test]
fn a_sync_that_lost_a_part_never_looks_complete() {
    let mut world = World::new();
    // More commands than two parts hold.
    for n in 0..520 {
        let name = format!("d{n}");
        let client = world.connect(V5, &name);
        world.subscribe(client, "#", QoS::AtLeastOnce);
        for _ in 0..16 {
            let command = world.new_command(&name, epoch(1, 1));
            world.deliver(command);
        }
    }
    let before = world.last_sync().0;
    world.settlements.clear();
    world.holds_reports = true;
    world.router_says(1, vec![Control::Sync]);
    lose_the_second_part(&mut world);
    let part = |item: &SettlementItem| match item {
        SettlementItem::Sync { number, first, last, in_flight } => {
            Some((*number, *first, *last, in_flight.len()))
        }
        SettlementItem::Settled(_) | SettlementItem::Subscribed { .. } => None,
    };
    let read: Vec<_> = world.settlements.iter().filter_map(part).collect();
    assert_eq!(read, [(before.next(), true, false, ITEMS_MAX)], "the rest would be taken for all there is");
    world.holds_reports = false;
    world.settlements.clear();
    world.pass(Duration::from_secs(1));
    let read: Vec<_> = world.settlements.iter().filter_map(part).collect();
    let number = before.next().next();
    let rest = 520 * 16 - 2 * ITEMS_MAX;
    assert_eq!(
        read,
        [(number, true, false, ITEMS_MAX), (number, false, false, ITEMS_MAX), (number, false, true, rest)]
    );
}

#[test]
fn a_snapshot_that_lost_a_part_never_looks_complete() {
    let mut world = World::new();
    for n in 0..2 * ITEMS_MAX + 7 {
        world.connect(V5, &format!("d{n}"));
    }
    world.sightings.clear();
    world.holds_reports = true;
    world.router_says(1, vec![Control::Snapshot]);
    lose_the_second_part(&mut world);
    let part = |sighting: &Sighting| match sighting {
        Sighting::Snapshot { first, last, present } => Some((*first, *last, present.len())),
        _ => None,
    };
    let read: Vec<_> = world.sightings.iter().filter_map(part).collect();
    assert_eq!(
        read,
        [(true, false, ITEMS_MAX)],
        "devices of the part that is missing would be taken for gone"
    );
    world.holds_reports = false;
    world.sightings.clear();
    world.pass(Duration::from_secs(1));
    let read: Vec<_> = world.sightings.iter().filter_map(part).collect();
    assert_eq!(read, [(true, false, ITEMS_MAX), (false, false, ITEMS_MAX), (false, true, 7)]);
}

#[test]
fn a_newer_process_with_the_same_id_is_told_once_to_a_person_and_counted_each_time() {
    let mut world = World::new();
    let by = |number| Control::Superseded { by: Incarnation(number) };
    world.router_says(1, vec![by(7)]);
    world.router_says(1, vec![by(7)]);
    assert_eq!(world.superseded_by, [Incarnation(7)]);
    world.router_says(1, vec![by(8)]);
    assert_eq!(world.superseded_by, [Incarnation(7), Incarnation(8)]);
    assert_eq!(world.count(Count::Superseded), 3);
}
