//! One subscriber takes nothing: do the others feel it?

use std::time::Duration;

use anyhow::Context;

use super::client::Client;
use super::flood::{Flood, Outcome, Pace, To};
use super::{Brokers, ROUNDS};
use crate::cpu::resident_bytes;
use crate::page::{Page, whole};

const SUBSCRIBERS: u32 = 99;
const A_SECOND: u32 = 200;
/// Bytes that the system keeps for a client that does not read; few, so that the rest is the broker's.
const RECEIVE_BYTES: u32 = 4 * 1024;

pub(super) async fn measure(page: &mut Page, time: Duration) -> anyhow::Result<()> {
    let flood = Flood {
        publishers: 1,
        subscribers: SUBSCRIBERS,
        to: To::All,
        pace: Pace::Rate(A_SECOND),
        time: 2 * time,
        shards: 1,
    };
    let mut rows = Vec::new();
    for round in 1..=ROUNDS {
        let brokers = Brokers::start().await?;
        for (name, port, pid) in brokers.all() {
            let alone =
                flood.run(port, pid).await.with_context(|| format!("{name} without, round {round}"))?;
            let before = resident_bytes(pid)?;
            let mut stalled = Client::with_receive_buffer(port, "stalled", RECEIVE_BYTES).await?;
            stalled.subscribe("local/flood/#").await?;
            let beside = flood.run(port, pid).await.with_context(|| format!("{name} with, round {round}"))?;
            let after = resident_bytes(pid)?;
            rows.push(row(name, round, (&alone, &beside), after.saturating_sub(before)));
        }
    }
    page.heading("A subscriber that takes nothing");
    page.paragraph(&format!(
        "One publisher, {A_SECOND} messages a second at QoS 1 for {} s, and {SUBSCRIBERS} subscribers; then the same with one more that has subscribed and reads nothing. Times are those \
         of the {SUBSCRIBERS}, from the publisher's write to their read.",
        flood.time.as_secs()
    ));
    page.table(
        &[
            "broker",
            "round",
            "acknowledged without",
            "p50 / p99 without",
            "acknowledged with",
            "p50 / p99 with",
            "p99, with by without",
            "lost by the others",
            "broker's memory grew by",
        ],
        &rows,
    );
    Ok(())
}

fn row(name: &str, round: usize, (alone, beside): (&Outcome, &Outcome), grew: u64) -> Vec<String> {
    let times =
        |outcome: &Outcome| format!("{:.1} / {:.1} ms", outcome.percentile(50), outcome.percentile(99));
    vec![
        name.to_owned(),
        round.to_string(),
        whole(alone.acknowledged as f64),
        times(alone),
        whole(beside.acknowledged as f64),
        times(beside),
        format!("{:.1}×", beside.percentile(99) / alone.percentile(99).max(f64::EPSILON)),
        whole(beside.lost() as f64),
        format!("{} KiB", whole(grew as f64 / 1024.0)),
    ]
}
