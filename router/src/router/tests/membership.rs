//! Gateways come, go, lapse and lie; devices come and go with them.

use roost_wire::{
    BootTime, CloseReason, Control, Echo, Heartbeat, Incarnation, LinkId, PresenceState, Present, SessionId,
    Sighting,
};

use super::bench::{Bench, Gate, SECOND, command, device};
use crate::{DropReason, GatewayUsers, Limits, Output, Publication, PublishOutcome, Queue};

fn drops(bench: &Bench, reason: DropReason) -> u64 {
    bench.core.counters().drops.get(&reason).copied().unwrap_or_default()
}

fn standing(bench: &Bench, gateway: usize) -> &'static str {
    bench.core.gateways(bench.now)[gateway].standing
}

#[test]
fn a_heartbeat_is_answered_once() {
    let mut bench = Bench::new();
    let mut g1 = Gate::new("g1");
    bench.beat(&mut g1);
    let answer = (
        g1.control(),
        Control::HeartbeatAnswer { number: 1, answered_at: bench.now.boot, moves_sessions: true },
    );
    assert_eq!(bench.controls(), [answer]);
    g1.beats = 0;
    bench.beat(&mut g1);
    assert_eq!((bench.controls(), drops(&bench, DropReason::Repeated)), (vec![], 1));
}

#[test]
fn nothing_is_said_to_a_gateway_before_the_run_is_on_disk() {
    let mut bench = Bench::new();
    bench = {
        bench.durable = 0;
        bench.log.clear();
        bench.crash()
    };
    let mut fresh = crate::RouterCore::start(
        bench.now,
        roost_wire::ShardId(0),
        Limits::default(),
        crate::journal::Journal::default(),
        crate::Lsn::ZERO,
        1,
    );
    std::mem::swap(&mut bench.core, &mut fresh);
    bench.log.clear();
    bench.durable = 0;
    bench.is_quick = false;
    bench.settle();
    bench.beat(&mut Gate::new("g1"));
    assert_eq!(bench.controls(), []);
    bench.fsync();
    assert_eq!(bench.controls().len(), 1);
}

#[test]
fn a_report_of_the_wrong_user_is_not_believed() {
    let mut bench =
        Bench::with(Limits { gateway_users: GatewayUsers::NamedLikeGateway, ..Limits::default() });
    let mut g1 = Gate::new("g1");
    bench.beat(&mut g1);
    bench.sync(&mut g1, &[]);
    assert_eq!(drops(&bench, DropReason::WrongUser), 2);
    assert_eq!(bench.core.gateways(bench.now), []);
}

#[test]
fn a_new_incarnation_voids_the_old_one_for_good_also_after_a_restart() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.presences();
    let mut reborn = gates[0].reborn();
    bench.join(&mut reborn);
    let offline = bench.presences();
    assert_eq!(offline.len(), 1);
    assert_eq!((offline[0].state, offline[0].incarnation), (PresenceState::Offline, Incarnation(1)));
    bench.accepted(&gates[0], "d", 2);
    assert_eq!(
        bench.core.explain(bench.now, &device("d")).online,
        None,
        "what the old one still says is ignored"
    );
    let mut bench = bench.crash();
    bench.accepted(&gates[0], "d", 3);
    assert_eq!(drops(&bench, DropReason::VoidedIncarnation), 1);
    assert_eq!(bench.core.gateways(bench.now)[0].incarnation, reborn.incarnation);
}

#[test]
fn a_voided_process_that_lives_is_told_so_and_a_person_once() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let mut newer = gates[0].reborn();
    bench.join(&mut newer);
    bench.said.clear();
    let told = |bench: &mut Bench| {
        let is_notice = |output: &&Output| matches!(output, Output::SameGatewayId { .. });
        bench.said.iter().filter(is_notice).cloned().collect::<Vec<_>>()
    };
    let superseded = (gates[0].control(), Control::Superseded { by: newer.incarnation });
    for beat in 0..=6 {
        bench.beat(&mut gates[0]);
        let is_known = beat * 3 >= 12;
        assert_eq!(told(&mut bench).len(), usize::from(is_known), "after {beat} heartbeats of 3 s");
        assert_eq!(bench.controls(), std::slice::from_ref(&superseded));
        bench.advance(3 * SECOND);
    }
    let (gateway, older) = (gates[0].id.clone(), gates[0].incarnation);
    assert_eq!(told(&mut bench), [Output::SameGatewayId { gateway, newer: newer.incarnation, older }]);
    // The one that is believed is answered as ever.
    bench.beat(&mut newer);
    assert!(matches!(bench.controls()[..], [(_, Control::HeartbeatAnswer { .. })]));
}

#[test]
fn what_a_process_that_has_ended_had_said_before_is_no_second_process() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let mut reborn = gates[0].reborn();
    bench.join(&mut reborn);
    for _ in 0..9 {
        // What was on its way, read again and again.
        gates[0].beats = 1;
        for _ in 0..4 {
            bench.beat(&mut gates[0]);
        }
        bench.advance(5 * SECOND);
    }
    assert!(!bench.said.iter().any(|output| matches!(output, Output::SameGatewayId { .. })));
}

#[test]
fn only_sightings_say_which_incarnation_is_the_newer_one() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let mut reborn = gates[0].reborn();
    bench.join(&mut reborn);
    // A run that came and went without a sighting, read late in the settlement queue.
    let mut between = Gate { incarnation: Incarnation(77), ..gates[0].clone() };
    bench.sync(&mut between, &[]);
    assert_eq!(bench.core.gateways(bench.now)[0].incarnation, reborn.incarnation);
    // A sync that is read before its run is named counts as soon as it is.
    let mut third = reborn.reborn();
    bench.sync(&mut third, &[]);
    assert_eq!(standing(&bench, 0), "ready");
    bench.beat(&mut third);
    assert_eq!((bench.core.gateways(bench.now)[0].sync, standing(&bench, 0)), (Some(third.sync), "ready"));
    gates.clear();
}

#[test]
fn two_sessions_of_a_device_do_not_last_and_presence_tells_of_one() {
    let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[1], "d", 7);
    let asked = bench.questions();
    bench.replies(&gates[0], asked[0].1, "d", Some(1));
    bench.replies(&gates[1], asked[1].1, "d", Some(7));
    let close = Control::Close {
        device: device("d"),
        session: SessionId(1),
        reason: CloseReason::TakenOver,
        forget: false,
    };
    assert_eq!(bench.controls(), [(gates[0].control(), close)]);
    bench.gone(&gates[0], "d", 1);
    let told: Vec<_> = bench.presences().into_iter().map(|p| (p.state, p.gateway.to_string())).collect();
    let online = |at: &str| (PresenceState::Online, at.to_owned());
    assert_eq!(told, [online("g1"), online("g2")], "a late offline never beats a newer online");
    bench.gone(&gates[1], "d", 7);
    assert_eq!(bench.presences()[0].state, PresenceState::Offline);
}

/// A heartbeat over a link of 10 ms each way, from a clock that is `ahead` of the router's.
fn measured(bench: &mut Bench, gate: &mut Gate, ahead_micros: u64) {
    for round in 0..2 {
        gate.beats += 1;
        let here = bench.now.boot.as_micros();
        let echo = (round == 1).then(|| Echo {
            run: bench.core.run(),
            answered_at: BootTime::from_micros(here - 30_000),
            read_at: BootTime::from_micros(here - 20_000 + ahead_micros),
        });
        let beat = Heartbeat {
            number: gate.beats,
            sent_at: BootTime::from_micros(here - 10_000 + ahead_micros),
            echo,
            inbox: gate.inbox(),
            control: gate.control(),
            sessions: 1,
            draining: false,
            moves_sessions: false,
            started_at: None,
        };
        bench.sight(gate, vec![Sighting::Heartbeat(beat)]);
    }
}

#[test]
fn with_clock_bounds_a_late_sighting_of_an_earlier_session_loses_and_is_closed() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    let aheads = [0, 5_000_000_000];
    for (gate, ahead) in gates.iter_mut().zip(aheads) {
        measured(&mut bench, gate, ahead);
    }
    bench.controls();
    let present = |bench: &Bench, ago_micros: u64, gateway: usize, session| Present {
        device: device("d"),
        session: SessionId(session),
        accepted_at: BootTime::from_micros(bench.now.boot.as_micros() - ago_micros + aheads[gateway]),
    };
    let newer = present(&bench, 100_000, 0, 1);
    let older = present(&bench, 900_000, 1, 1);
    bench.sight(&gates[0], vec![Sighting::Accepted(newer)]);
    bench.sight(&gates[1], vec![Sighting::Accepted(older)]);
    let explained = bench.core.explain(bench.now, &device("d"));
    assert_eq!(explained.location.as_ref().unwrap().gateway, gates[0].id);
    assert!(explained.location.unwrap().accepted_within_micros.unwrap() < 30_000);
    let closed: Vec<_> = bench.controls().into_iter().map(|(queue, _)| queue).collect();
    assert_eq!(closed, [gates[1].control()]);
}

#[test]
fn a_snapshot_in_parts_removes_what_it_does_not_name_at_its_end() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let names = ["a", "b", "c"];
    for (session, name) in (1..).zip(names) {
        bench.accepted(&gates[0], name, session);
    }
    bench.presences();
    let part = |bench: &Bench, name: &str, session, first, last| {
        let present = vec![bench.present(name, session)];
        vec![Sighting::Snapshot { first, last, present }]
    };
    let online =
        |bench: &Bench| names.map(|name| bench.core.explain(bench.now, &device(name)).online == Some(true));
    // The first part was said twice, since its confirm was lost.
    for (name, session, first, last) in [("a", 1, true, false), ("a", 1, true, false), ("c", 9, false, true)]
    {
        assert_eq!(online(&bench), [true; 3]);
        let items = part(&bench, name, session, first, last);
        bench.sight(&gates[0], items);
    }
    assert_eq!(online(&bench), [true, false, true]);
    // A last part without its first removes nobody.
    let items = part(&bench, "b", 10, false, true);
    bench.sight(&gates[0], items);
    assert_eq!((online(&bench), drops(&bench, DropReason::BrokenList)), ([true; 3], 1));
}

#[test]
fn a_lapsed_gateway_puts_its_devices_in_doubt_and_the_others_are_asked() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    for _ in 0..4 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[1]);
    }
    assert_eq!(standing(&bench, 0), "lapsed");
    bench.controls();
    bench.send(command("d", "c1"));
    let asked = bench.questions();
    assert_eq!(asked.iter().map(|(gateway, ..)| gateway.as_str()).collect::<Vec<_>>(), ["g2"]);
    let run = bench.core.run();
    bench.sight(&gates[1], vec![Sighting::Absent { question: asked[0].1, run, device: device("d") }]);
    assert_eq!(bench.parked("d"), "gateway_unsure");
    // It is back, with its devices.
    bench.beat(&mut gates[0]);
    bench.sync(&mut gates[0], &[]);
    assert_eq!(bench.delivery().session, SessionId(1));
}

#[test]
fn a_gateway_that_never_syncs_loses_its_lease() {
    let mut bench = Bench::new();
    let mut g1 = Gate::new("g1");
    let mut asked = 0;
    for _ in 0..12 {
        bench.beat(&mut g1);
        asked += bench.controls().iter().filter(|(_, item)| *item == Control::Sync).count();
        bench.advance(SECOND * 3);
    }
    assert!(asked >= 3, "it was asked");
    assert!(drops(&bench, DropReason::NotSynced) >= 1);
    assert_eq!(bench.core.counters().lapses, 1);
}

#[test]
fn gateways_are_bounded_and_a_lost_one_makes_room() {
    let mut bench = Bench::with(Limits { gateways_max: 1, ..Limits::default() });
    bench.join(&mut Gate::new("g1"));
    bench.join(&mut Gate::new("g2"));
    assert_eq!(bench.core.gateways(bench.now).len(), 1);
    assert_eq!(drops(&bench, DropReason::TooManyGateways), 2);
    bench.advance(SECOND * 12);
    assert!(bench.read_marker());
    bench.join(&mut Gate::new("g3"));
    assert_eq!(bench.core.gateways(bench.now)[0].gateway.as_str(), "g3");
}

#[test]
fn explain_says_where_how_sure_and_what_a_send_would_do() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    let unknown = bench.core.explain(bench.now, &device("d"));
    assert_eq!((unknown.online, unknown.decision.kind), (None, "ask"));
    bench.accepted(&gates[0], "d", 3);
    bench.advance(SECOND);
    let there = bench.core.explain(bench.now, &device("d"));
    assert_eq!((there.online, there.decision.kind), (Some(true), "forward"));
    assert_eq!(there.location.as_ref().unwrap().age_ms, 1_000);
    assert!(there.decision.words.contains("g1"));
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    let out = bench.core.explain(bench.now, &device("d")).mailbox;
    assert_eq!((out.outstanding, out.waiting, out.epoch), (1, 0, Some(c1.epoch)));
    bench.settled(&gates[0], &c1, roost_wire::Outcome::NoSubscription);
    bench.send(command("d", "c2"));
    let blocked = bench.core.explain(bench.now, &device("d"));
    assert_eq!((blocked.mailbox.waiting, blocked.mailbox.outstanding), (2, 0));
    assert!(blocked.mailbox.blocked_by.unwrap().contains("no subscription"));
    bench.deliver(Queue::Sightings, super::bench::message(bytes::Bytes::new()));
    let stale = Gate { link: LinkId(0), ..gates[0].clone() };
    bench.beat(&mut Gate { beats: 9, ..stale });
    assert_eq!(bench.core.gateways(bench.now)[0].link, Some(LinkId(1)), "an older link is not heard");
}

#[test]
fn a_sync_that_was_written_before_the_lapse_and_read_after_it_strands_nothing() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    for _ in 0..5 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[1]);
    }
    bench.sync(&mut gates[0], &[&c1]);
    bench.accepted(&gates[1], "d", 1);
    assert_eq!(bench.deliveries(), [], "c1 is in flight at g1");
    assert!(bench.read_marker());
    assert_eq!(bench.delivery().id, c1.id, "and g1 is no more");
}

#[test]
fn a_late_marker_does_not_touch_what_was_given_after_it() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.advance(SECOND * 12);
    let mut reborn = gates.remove(0).reborn();
    bench.sync(&mut reborn, &[]);
    bench.beat(&mut reborn);
    bench.accepted(&reborn, "d", 1);
    bench.send(command("d", "c1"));
    let c1 = bench.delivery();
    assert!(bench.read_marker());
    assert_eq!(bench.deliveries(), []);
    bench.settled(&reborn, &c1, roost_wire::Outcome::Delivered);
    assert_eq!(bench.finals().len(), 1);
}

#[test]
fn an_inbox_that_is_gone_while_its_link_lives_is_tried_again_after_a_sync() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.is_quick = false;
    bench.send(command("d", "c1"));
    bench.fsync();
    let (token, ..) = bench.deliveries_with_tokens().remove(0);
    bench.outcome(token, crate::PublishOutcome::Returned);
    bench.is_quick = true;
    bench.fsync();
    bench.controls();
    for _ in 0..2 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[0]);
    }
    assert!(bench.controls().iter().any(|(_, item)| *item == Control::Sync), "it did not come by itself");
    bench.sync(&mut gates[0], &[]);
    assert_eq!(bench.deliveries().len(), 1);
}

#[test]
fn a_close_that_was_lost_on_the_way_is_said_again() {
    for outcome in [PublishOutcome::Lost, PublishOutcome::Nacked] {
        let (mut bench, gates) = Bench::ready(&["g1", "g2"]);
        bench.accepted(&gates[0], "d", 1);
        bench.accepted(&gates[1], "d", 2);
        let asked = bench.questions();
        bench.is_quick = false;
        bench.replies(&gates[0], asked[0].1, "d", Some(1));
        bench.replies(&gates[1], asked[1].1, "d", Some(2));
        let token = bench.said.iter().find_map(|output| match output {
            Output::Publish { token, what: Publication::Control { queue, .. } }
                if *queue == gates[0].control() =>
            {
                Some(*token)
            }
            _ => None,
        });
        assert_eq!(bench.controls().len(), 1);
        bench.outcome(token.unwrap(), outcome);
        bench.advance(SECOND);
        let [(queue, Control::Close { session, .. })] = &bench.controls()[..] else {
            panic!("two sessions of one device would last ({outcome:?})")
        };
        assert_eq!((queue, session.0), (&gates[0].control(), 1));
        bench.outcome(token.unwrap(), PublishOutcome::Confirmed);
        bench.advance(SECOND * 2);
        assert_eq!(bench.controls(), []);
    }
}

#[test]
fn presence_that_nobody_takes_is_bounded() {
    let limits = Limits { presences_max: 3, ..Limits::default() };
    let mut bench = Bench::with(limits);
    let mut g1 = Gate::new("g1");
    bench.join(&mut g1);
    bench.is_quick = false;
    for n in 0..5 {
        bench.accepted(&g1, &format!("d{n}"), n);
    }
    let waiting = bench.take_presence_tokens();
    assert_eq!(waiting.len(), 3);
    assert_eq!(drops(&bench, DropReason::PresenceBacklog), 2);
    // What is refused still waits; what is confirmed makes room.
    bench.outcome(waiting[0], PublishOutcome::Nacked);
    bench.accepted(&g1, "e", 8);
    assert_eq!(bench.presences(), []);
    bench.outcome(waiting[1], PublishOutcome::Confirmed);
    bench.accepted(&g1, "f", 9);
    assert_eq!(bench.presences().len(), 1);
}

#[test]
fn gateways_that_come_and_go_for_good_do_not_fill_the_journal() {
    let limits = Limits { gateways_max: 2, ..Limits::default() };
    let mut bench = Bench::with(limits);
    for n in 0..6 {
        let mut gate = Gate::new(&format!("g{n}"));
        bench.join(&mut gate);
        bench.advance(SECOND * 13);
        assert!(bench.read_marker());
    }
    assert_eq!(bench.core.journal().gateways().count(), 2);
    assert_eq!(bench.core.gateways(bench.now).len(), 2);
    // The log remembers them until it is compacted; the next one to come makes room.
    let mut bench = bench.crash();
    bench.join(&mut Gate::new("g6"));
    assert_eq!(bench.core.journal().gateways().count(), 2);
    assert_eq!(bench.core.gateways(bench.now).len(), 2);
}

#[test]
fn a_device_that_left_while_there_was_no_router_is_told_offline() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    bench.accepted(&gates[0], "d", 1);
    bench.accepted(&gates[0], "elsewhere", 2);
    let mut bench = bench.crash();
    for gate in &mut gates {
        bench.join(gate);
    }
    bench.accepted(&gates[1], "elsewhere", 1);
    bench.presences();
    bench.gone(&gates[0], "d", 1);
    bench.gone(&gates[0], "elsewhere", 2);
    let told = bench.presences();
    let [offline] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&offline.device, offline.state), (&device("d"), PresenceState::Offline));
    assert_eq!((&offline.gateway, offline.session), (&gates[0].id, SessionId(1)));
    assert_eq!(bench.core.explain(bench.now, &device("d")).online, None, "where it is nobody knows");
}
