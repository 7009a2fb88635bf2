//! `$SYS`: what the gateway tells of itself to clients that subscribe to that.
//!
//! ```text
//!           ┌────────────── the interval is over: the loads are sampled ◄─────────────┐
//!  nobody subscribes ── the first SUBSCRIBE below $SYS ──► told: all are retained ────┤
//!           ▲                                               the interval is over: ────┘
//!           └─ nobody subscribes any more: none is retained    what has changed is
//! ```
//! They are told at QoS 0, whatever a subscription is granted, and wait for nobody: the next value comes soon. They go to this gateway's
//! clients only, and are no events.

use std::sync::Arc;
use std::time::Duration;

use roost_wire::{BootTime, Now};

use super::{Shard, TimerFor};
use crate::message::{Message, Payload};
use crate::packet::{Subscribe, Text};
use crate::sys::{self, Figures, Loads, QOS, ShardFigures, Traffic};

/// What a shard remembers for that.
#[derive(Debug, Default)]
pub(super) struct Sys {
    pub(super) traffic: Traffic,
    started_at: Option<BootTime>,
    sampled_at: BootTime,
    loads: Loads,
    connected_max: usize,
    /// What the other shards of the process count, as far as this one was told.
    others: Box<ShardFigures>,
    /// The values that were told last, in their order; none while nobody subscribes.
    told: Vec<String>,
}

impl Shard {
    /// With the first thing that happens, time begins.
    pub(super) fn begin_sys(&mut self, now: Now) {
        let interval = self.config.sys_interval;
        if self.sys.started_at.is_none() && !interval.is_zero() {
            (self.sys.started_at, self.sys.sampled_at) = (Some(now.boot), now.boot);
            self.timers.set(TimerFor::Sys, now.boot + interval);
        }
    }

    /// The interval is over.
    pub(super) fn sys_due(&mut self, now: Now) {
        self.timers.set(TimerFor::Sys, now.boot + self.config.sys_interval);
        self.watch_connected();
        let totals = self.sys_figures(now).totals();
        self.sys.loads.sample(now.boot.since(self.sys.sampled_at), totals);
        self.sys.sampled_at = now.boot;
        if self.subscriptions.has_level(sys::LEVEL) {
            self.tell_sys(now);
        } else {
            self.forget_sys(now);
        }
    }

    /// A client is about to subscribe: if it is the first one to ask for them, the values are there for it.
    pub(super) fn prepare_sys(&mut self, now: Now, subscribe: &Subscribe) {
        let asks = subscribe.filters.iter().any(|asked| sys::is_below(&asked.filter));
        if asks && self.sys.told.is_empty() && self.sys.started_at.is_some() {
            self.tell_sys(now);
        }
    }

    /// What this shard counts, for the others.
    #[must_use]
    pub fn figures(&self) -> ShardFigures {
        ShardFigures { counters: self.counters.clone(), gauges: self.gauges(), traffic: self.sys.traffic }
    }

    /// What the others count.
    pub(super) fn others_count(&mut self, others: Box<ShardFigures>) {
        self.sys.others = others;
        self.watch_connected();
    }

    fn watch_connected(&mut self) {
        let connected = self.connected + self.sys.others.gauges.sessions_connected;
        self.sys.connected_max = self.sys.connected_max.max(connected);
    }

    fn sys_figures(&self, now: Now) -> Figures {
        let mut counted = self.figures();
        counted.add(&self.sys.others);
        Figures {
            uptime: self.sys.started_at.map_or(Duration::ZERO, |at| now.boot.since(at)),
            connected_max: self.sys.connected_max.max(counted.gauges.sessions_connected),
            counted,
        }
    }

    /// Publishes what has changed, as retained.
    fn tell_sys(&mut self, now: Now) {
        let values = self.sys_figures(now).values(&self.sys.loads);
        let told = std::mem::take(&mut self.sys.told);
        for (at, (topic, value)) in values.iter().enumerate() {
            if told.get(at) != Some(value) {
                self.tell_one(now, topic, value);
            }
        }
        self.sys.told = values.into_iter().map(|(_, value)| value).collect();
    }

    fn tell_one(&mut self, now: Now, topic: &str, value: &str) {
        let Ok(topic) = Text::parse(topic) else { return };
        let message = Arc::new(Message {
            topic,
            payload: Payload::Own(value.as_bytes().to_vec()),
            retain: true,
            properties: None,
            expires_at: None,
        });
        if let Err(full) = self.retained.set(Arc::clone(&message), QOS, None, None) {
            self.count(full.count());
        }
        self.deliver_to_the_present(now, &message);
    }

    fn forget_sys(&mut self, now: Now) {
        if std::mem::take(&mut self.sys.told).is_empty() {
            return;
        }
        for (topic, _) in self.sys_figures(now).values(&self.sys.loads) {
            self.retained.delete(&topic);
        }
    }
}
