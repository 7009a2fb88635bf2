//! What mosquitto's users look for below `$SYS/broker/`: the values of its topics, from what the shard counts.
//!
//! The names and units are mosquitto's. Loads are averages per minute that are damped exponentially, as those of Unix are: after an
//! interval of `t` seconds in which something happened `n` times, a load over `T` seconds is `e^(-t/T)` of what it was, and the rest of it
//! `60 n / t`.

use std::time::Duration;

use crate::packet::QoS;
use crate::shard::Gauges;
use crate::{Count, Counters};

/// The first level of these topics. Clients may not publish below it [MQTT-4.7.2-1].
pub(crate) const LEVEL: &str = "$SYS";

/// Whether a topic, or a filter without a wildcard in its first level, is that level or below it.
pub(crate) fn is_below(topic: &str) -> bool {
    topic.strip_prefix(LEVEL).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the values are made of.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Since the start.
    pub(crate) uptime: Duration,
    /// Of all shards.
    pub(crate) counted: ShardFigures,
    /// The most clients that were connected at once.
    pub(crate) connected_max: usize,
}

/// What the clients' connections have carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traffic {
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

/// What one shard counts, or several together, for [`crate::shard::Input::Others`].
#[derive(Debug, Clone, Default)]
pub struct ShardFigures {
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    /// Of the clients' connections.
    pub(crate) traffic: Traffic,
}

impl ShardFigures {
    /// Adds what another shard counts.
    pub fn add(&mut self, other: &Self) {
        self.counters.add_all(&other.counters);
        self.gauges.add(&other.gauges);
        let Traffic { packets_received, packets_sent, bytes_received, bytes_sent } = other.traffic;
        self.traffic.packets_received += packets_received;
        self.traffic.packets_sent += packets_sent;
        self.traffic.bytes_received += bytes_received;
        self.traffic.bytes_sent += bytes_sent;
    }
}

/// What there are loads of.
const LOADS: [&str; 9] = [
    "bytes/received",
    "bytes/sent",
    "connections",
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "sockets",
];

/// Over how long they are damped.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The totals of [`LOADS`], in their order.
pub(crate) type Totals = [u64; LOADS.len()];

/// The loads, and the totals that they were last made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Loads {
    totals: Totals,
    per_minute: [[f64; SPANS.len()]; LOADS.len()],
}

impl Loads {
    /// So much time has passed since the last sample, and the totals are these.
    pub(crate) fn sample(&mut self, elapsed: Duration, totals: Totals) {
        let elapsed_s = elapsed.as_secs_f64();
        if elapsed_s <= 0.0 {
            return;
        }
        for ((loads, total), before) in self.per_minute.iter_mut().zip(totals).zip(self.totals) {
            // Exact up to 2^53.
            let now = (total - before) as f64 * 60.0 / elapsed_s;
            for (load, (_, span_s)) in loads.iter_mut().zip(SPANS) {
                *load = now + (-elapsed_s / span_s).exp() * (*load - now);
            }
        }
        self.totals = totals;
    }
}

impl Figures {
    /// What loads are made of.
    pub(crate) fn totals(&self) -> Totals {
        let Traffic { packets_received, packets_sent, bytes_received, bytes_sent } = self.counted.traffic;
        [
            bytes_received,
            bytes_sent,
            self.counted.counters.of(Count::Connected),
            packets_received,
            packets_sent,
            self.dropped(),
            self.sum([Count::PublishQos0, Count::PublishQos1, Count::PublishQos2]),
            self.sum([Count::WrittenQos0, Count::WrittenQos1, Count::WrittenQos2]),
            self.counted.counters.of(Count::Opened),
        ]
    }

    /// Every topic with its value, always in the same order.
    pub(crate) fn values(&self, loads: &Loads) -> Vec<(String, String)> {
        let Gauges { sessions, sessions_connected, subscriptions, shared_subscriptions, .. } =
            self.counted.gauges;
        let (retained, queued) = (self.counted.gauges.retained_messages, self.counted.gauges.queued_messages);
        let stored = retained + queued + self.counted.gauges.inflight_messages;
        let stored_bytes = self.counted.gauges.retained_bytes + self.counted.gauges.queued_bytes;
        let [bytes_received, bytes_sent, _, messages_received, messages_sent, dropped, received, sent, _] =
            self.totals();
        let payload_received =
            self.sum([Count::PublishBytesQos0, Count::PublishBytesQos1, Count::PublishBytesQos2]);
        let payload_sent =
            self.sum([Count::WrittenBytesQos0, Count::WrittenBytesQos1, Count::WrittenBytesQos2]);
        let mut values = vec![
            ("version", format!("roost version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{} seconds", self.uptime.as_secs())),
            ("clients/total", sessions.to_string()),
            ("clients/connected", sessions_connected.to_string()),
            ("clients/disconnected", sessions.saturating_sub(sessions_connected).to_string()),
            ("clients/maximum", self.connected_max.to_string()),
            ("clients/expired", self.counted.counters.of(Count::SessionExpired).to_string()),
            ("messages/received", messages_received.to_string()),
            ("messages/sent", messages_sent.to_string()),
            ("messages/stored", stored.to_string()),
            ("store/messages/count", stored.to_string()),
            ("store/messages/bytes", stored_bytes.to_string()),
            ("subscriptions/count", subscriptions.to_string()),
            ("shared_subscriptions/count", shared_subscriptions.to_string()),
            ("retained messages/count", retained.to_string()),
            ("publish/messages/received", received.to_string()),
            ("publish/messages/sent", sent.to_string()),
            ("publish/messages/dropped", dropped.to_string()),
            ("publish/bytes/received", payload_received.to_string()),
            ("publish/bytes/sent", payload_sent.to_string()),
            ("bytes/received", bytes_received.to_string()),
            ("bytes/sent", bytes_sent.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (topic(name), value))
        .collect::<Vec<_>>();
        for (name, per_minute) in LOADS.iter().zip(loads.per_minute) {
            let of_span = |((span, _), load): ((&str, f64), f64)| {
                (topic(&format!("load/{name}/{span}")), format!("{load:.2}"))
            };
            values.extend(SPANS.into_iter().zip(per_minute).map(of_span));
        }
        values
    }

    fn sum(&self, counts: [Count; 3]) -> u64 {
        counts.into_iter().map(|count| self.counted.counters.of(count)).sum()
    }

    fn dropped(&self) -> u64 {
        let is_drop = |(count, _): &(Count, u64)| count.metric() == Count::DroppedQueueFull.metric();
        self.counted.counters.iter().filter(is_drop).map(|(_, dropped)| dropped).sum()
    }
}

fn topic(name: &str) -> String {
    format!("{LEVEL}/broker/{name}")
}

/// They are told as they are, at most once.
pub(crate) const QOS: QoS = QoS::AtMostOnce;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// As many connections as there were by then, and nothing else.
    fn sockets(total: u64) -> Totals {
        let mut totals = Totals::default();
        totals[LOADS.len() - 1] = total;
        totals
    }

    fn loads_of_sockets(loads: &Loads) -> [f64; 3] {
        loads.per_minute[LOADS.len() - 1]
    }

    #[test]
    fn a_load_comes_near_what_happens_in_its_time() {
        let mut loads = Loads::default();
        // Two connections a second, which is 120 a minute, for each span of time.
        for (second, expected) in
            [(60, [75.9, 21.8, 7.7]), (300, [119.2, 75.9, 34.0]), (900, [120.0, 114.0, 75.9])]
        {
            let sampled = loads.totals[LOADS.len() - 1] / 2;
            for now in (sampled + 10..=second).step_by(10) {
                loads.sample(INTERVAL, sockets(now * 2));
            }
            let found = loads_of_sockets(&loads).map(|load| (load * 10.0).round() / 10.0);
            assert_eq!(found, expected, "after {second} s");
        }
        // And away again: a minute later 1/e of it is left.
        for _ in 0..6 {
            loads.sample(INTERVAL, sockets(1_800));
        }
        assert_eq!((loads_of_sockets(&loads)[0] * 10.0).round() / 10.0, 44.1);
    }

    #[test]
    fn how_often_is_sampled_makes_no_difference() {
        let (mut often, mut seldom) = (Loads::default(), Loads::default());
        for n in 1..=60 {
            often.sample(Duration::from_secs(1), sockets(n));
        }
        seldom.sample(Duration::from_secs(60), sockets(60));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(loads_of_sockets(&often)[0], loads_of_sockets(&seldom)[0]), "{often:?} {seldom:?}");
        let before = seldom;
        seldom.sample(Duration::ZERO, sockets(70));
        assert_eq!(seldom, before, "no time, no rate");
    }

    #[test]
    fn every_topic_is_there_once_with_a_value_of_its_kind() {
        let mut counters = Counters::default();
        counters.received(QoS::AtLeastOnce, 100);
        counters.written(QoS::AtMostOnce, 30);
        counters.add(Count::DroppedQueueFull);
        counters.add(Count::DroppedExpired);
        let gauges = Gauges {
            sessions: 5,
            sessions_connected: 3,
            retained_messages: 2,
            queued_messages: 4,
            inflight_messages: 1,
            retained_bytes: 20,
            queued_bytes: 40,
            ..Gauges::default()
        };
        let traffic =
            Traffic { packets_received: 7, packets_sent: 8, bytes_received: 900, bytes_sent: 1_000 };
        let uptime = Duration::from_millis(61_900);
        let figures =
            Figures { uptime, counted: ShardFigures { counters, gauges, traffic }, connected_max: 4 };
        let mut loads = Loads::default();
        loads.sample(Duration::from_secs(60), figures.totals());
        let values = figures.values(&loads);
        assert_eq!(values.len(), 22 + LOADS.len() * SPANS.len());
        let topics: BTreeSet<&str> = values.iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(topics.len(), values.len());
        let value = |name: &str| {
            &*values.iter().find(|(topic, _)| *topic == format!("$SYS/broker/{name}")).unwrap().1
        };
        for (name, expected) in [
            ("uptime", "61 seconds"),
            ("clients/total", "5"),
            ("clients/disconnected", "2"),
            ("clients/maximum", "4"),
            ("messages/received", "7"),
            ("messages/stored", "7"),
            ("store/messages/bytes", "60"),
            ("retained messages/count", "2"),
            ("publish/messages/received", "1"),
            ("publish/messages/dropped", "2"),
            ("publish/bytes/received", "100"),
            ("publish/bytes/sent", "30"),
            ("bytes/sent", "1000"),
            ("load/messages/sent/1min", "5.06"),
            ("load/sockets/15min", "0.00"),
        ] {
            assert_eq!(value(name), expected, "{name}");
        }
        assert!(value("version").starts_with("roost version "));
    }

    #[test]
    fn the_level_is_a_whole_one() {
        for (topic, expected) in
            [("$SYS", true), ("$SYS/x", true), ("$SYSTEM", false), ("a/$SYS", false), ("$", false)]
        {
            assert_eq!(is_below(topic), expected, "{topic}");
        }
    }
}
