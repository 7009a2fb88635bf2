//! A million subscriptions: what each holds in memory, and how long a match takes among them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use roost_gateway::subscriptions::{Subscription, SubscriptionTree};
use roost_wire::TopicFilter;

use crate::page::{Page, whole};

const SUBSCRIPTIONS: u32 = 1_000_000;
/// Topics that are looked up, all over the tree.
const MATCHES: u32 = 1_000_000;
/// Odd, so that steps of it meet every number.
const STEP: u32 = 7_919;

pub(super) fn measure(page: &mut Page) -> anyhow::Result<()> {
    let mut tree = SubscriptionTree::new(0x5eed, SUBSCRIPTIONS);
    let began = Instant::now();
    for number in 0..SUBSCRIPTIONS {
        let filter: TopicFilter = filter(number).parse()?;
        tree.insert(number, &filter, Subscription::default())?;
    }
    let insert = began.elapsed() / SUBSCRIPTIONS;
    let each = tree.allocated_bytes() as f64 / f64::from(SUBSCRIPTIONS);
    let topics: Vec<String> = (0..MATCHES).map(|at| topic(at.wrapping_mul(STEP) % SUBSCRIPTIONS)).collect();
    let (began, mut found) = (Instant::now(), 0_u64);
    for topic in &topics {
        tree.visit_matches(black_box(topic), |_, _| found += 1);
    }
    let matched = began.elapsed() / MATCHES;
    ensure!(found == u64::from(MATCHES), "{found} matches of {MATCHES} topics");
    page.heading("A million subscriptions");
    page.paragraph(&format!(
        "{} sessions with one subscription each in one shard's tree, half of them with a wildcard (`sites/N/+/state`), half without (`devices/N/cmd`); then {} topics, each matched by one of them. No sockets.",
        whole(f64::from(SUBSCRIPTIONS)),
        whole(f64::from(MATCHES)),
    ));
    page.table(
        &["subscriptions", "bytes per subscription", "to subscribe", "to match a topic"],
        &[vec![
            whole(f64::from(SUBSCRIPTIONS)),
            whole(each),
            format!("{:.2} µs", insert.as_secs_f64() * 1e6),
            format!("{:.2} µs", matched.as_secs_f64() * 1e6),
        ]],
    );
    Ok(())
}

fn filter(number: u32) -> String {
    match number % 2 {
        0 => format!("devices/{number}/cmd"),
        _ => format!("sites/{number}/+/state"),
    }
}

fn topic(number: u32) -> String {
    match number % 2 {
        0 => format!("devices/{number}/cmd"),
        _ => format!("sites/{number}/pump/state"),
    }
}
