//! Anything that can happen to a shard, in any order: no panic, and every effect is one that the shell can perform.

#![no_main]

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roost_gateway::shard::{Backend, Input, Output, Shard, ShardConfig};
use roost_gateway::{ConnectionId, Limits, Placement, Publication, PublishOutcome, UplinkRules};
use roost_wire::{Incarnation, Now};

#[derive(Debug, Arbitrary)]
enum Step {
    Open,
    /// Bytes of the client on one of the connections.
    Receive(u8, Vec<u8>),
    Close(u8),
    /// The socket of one of the connections takes what it has.
    Take(u8),
    Answer(u8),
    Away(bool),
    Pass(u16),
    Drain,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut shard = Shard::new(ShardConfig {
        gateway: "eu-1".parse().expect("a good id"),
        region: "eu".parse().expect("a good region"),
        incarnation: Incarnation(1),
        placement: Placement::ALONE,
        hash_seed: 1,
        limits: Limits { queue_messages_max: 4, uplink_events_max: 4, ..Limits::default() },
        uplink: UplinkRules::default(),
        broadcasts: Vec::new(),
        sys_interval: std::time::Duration::ZERO,
        answers: roost_wire::AnswerTopic::default(),
        hints: roost_gateway::Hints::default(),
        trace_ids: None,
    });
    let mut now = Now::default();
    let mut open: Vec<ConnectionId> = Vec::new();
    let mut writes: Vec<(ConnectionId, usize)> = Vec::new();
    let mut paused = BTreeSet::new();
    let mut events: VecDeque<Publication> = VecDeque::new();
    let mut opened = 0;
    for step in steps {
        let nth = |n: u8| open.get(usize::from(n) % open.len().max(1)).copied();
        let input = match step {
            Step::Open => {
                opened += 1;
                open.push(ConnectionId(opened));
                Some(Input::Opened { connection: ConnectionId(opened), entropy: opened })
            }
            Step::Receive(n, bytes) => nth(n)
                .filter(|_| !bytes.is_empty())
                .map(|connection| Input::Received { connection, bytes: BytesMut::from(&bytes[..]) }),
            Step::Close(n) => nth(n).map(|connection| {
                open.retain(|other| *other != connection);
                writes.retain(|(other, _)| *other != connection);
                paused.remove(&connection);
                Input::Closed { connection }
            }),
            Step::Take(n) => (!writes.is_empty()).then(|| {
                let (connection, bytes) = writes.remove(usize::from(n) % writes.len());
                Input::Written { connection, bytes }
            }),
            Step::Answer(n) => events.pop_front().map(|event| {
                let outcomes = [PublishOutcome::Confirmed, PublishOutcome::Returned, PublishOutcome::Nacked];
                Input::Published { token: event.token, outcome: outcomes[usize::from(n) % outcomes.len()] }
            }),
            Step::Away(true) => Some(Input::Backend(Backend::Away)),
            Step::Away(false) => Some(Input::Backend(Backend::Up)),
            Step::Pass(ms) => {
                now.boot = now.boot + Duration::from_millis(ms.into());
                Some(Input::Tick)
            }
            Step::Drain => Some(Input::Drain { grace: Duration::from_secs(1) }),
        };
        let Some(input) = input else { continue };
        shard.handle(now, input);
        while let Some(output) = shard.poll_output() {
            match output {
                Output::Write { connection, bytes } => {
                    assert!(open.contains(&connection) && !bytes.is_empty());
                    assert!(writes.iter().all(|(other, _)| *other != connection), "one write at a time");
                    writes.push((connection, bytes.len()));
                }
                Output::Close { connection, .. } => {
                    assert!(open.contains(&connection), "closed once");
                    open.retain(|other| *other != connection);
                    writes.retain(|(other, _)| *other != connection);
                    paused.remove(&connection);
                }
                Output::PauseReading { connection } => assert!(paused.insert(connection)),
                Output::ResumeReading { connection } => assert!(paused.remove(&connection)),
                Output::HandOver { .. } => panic!("there is one shard"),
                Output::Spool { .. } => panic!("there is no spool"),
                Output::Publish(publication) => events.push_back(*publication),
                Output::BroadcastTaken { .. } => panic!("there is no prefix"),
                // There is no store.
                Output::Store(_) | Output::ReadSession { .. } => {}
                Output::Link(_) | Output::Notice(_) | Output::Trace(_) | Output::Drained => {}
            }
        }
        assert_eq!(shard.gauges().connections, open.len());
        assert!(shard.gauges().uplink_events <= 4);
    }
});
