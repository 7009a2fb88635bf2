//! What metrics say of depths and doubt.

use std::time::Duration;

use roost_wire::{Echo, Heartbeat, Sighting};

use super::bench::*;
use crate::gateway::Standing;

#[test]
fn a_lapsed_gateways_connected_devices_are_in_doubt_and_those_that_have_gone_are_not() {
    let (mut bench, mut gates) = Bench::ready(&["g1", "g2"]);
    for name in ["a", "b", "gone"] {
        bench.accepted(&gates[0], name, 1);
    }
    bench.accepted(&gates[1], "c", 1);
    bench.gone(&gates[0], "gone", 1);
    let gauges = bench.core.gauges(bench.now);
    assert_eq!((gauges.located_online, gauges.located_away, gauges.located_in_doubt), (3, 1, 0));
    for _ in 0..4 {
        bench.advance(SECOND * 3);
        bench.beat(&mut gates[1]);
    }
    bench.advance(SECOND);
    let gauges = bench.core.gauges(bench.now);
    assert_eq!((gauges.located_online, gauges.located_in_doubt), (3, 2));
    assert_eq!(gauges.staleness, SECOND, "of those whose lease runs");
    let standings: Vec<Standing> = gauges.gateways.iter().map(|(_, gateway)| gateway.standing).collect();
    assert_eq!(standings, [Standing::Lapsed, Standing::Ready]);
}

#[test]
fn commands_are_counted_where_they_are() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.send(command("d", "c1"));
    bench.send(command("nobody", "c2"));
    let gauges = bench.core.gauges(bench.now);
    assert_eq!((gauges.mailboxes, gauges.commands_outstanding, gauges.commands_waiting), (2, 1, 1));
    assert!(gauges.waiting_bytes > 0);
    assert_eq!((gauges.questions_open, gauges.questions_waiting), (1, 0));
}

#[test]
fn a_round_trip_is_what_neither_side_kept_the_word_for() {
    let (mut bench, mut gates) = Bench::ready(&["g1"]);
    let answered_at = bench.now.boot;
    bench.advance(SECOND);
    // The gateway's clock began elsewhere; it read the answer and kept it for 900 ms before it beat again.
    let read_at = roost_wire::BootTime::from_micros(77);
    gates[0].beats += 1;
    let beat = Heartbeat {
        number: gates[0].beats,
        sent_at: read_at + Duration::from_millis(900),
        echo: Some(Echo { run: bench.core.run(), answered_at, read_at }),
        inbox: gates[0].inbox(),
        control: gates[0].control(),
        sessions: 5,
        draining: false,
        moves_sessions: false,
        started_at: None,
    };
    bench.sight(&gates[0], vec![Sighting::Heartbeat(beat)]);
    let gauges = bench.core.gauges(bench.now);
    assert_eq!(gauges.gateways[0].1.round_trip, Some(Duration::from_millis(100)));
    assert_eq!(gauges.gateways[0].1.sessions, 5);
}
