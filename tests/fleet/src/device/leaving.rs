//! How a device ends: it says goodbye, and takes its session with it.

use std::time::Duration;

use roost_gateway::packet::{Disconnect, DisconnectProperties, Packet};
use roost_wire::BootTime;

use super::{Device, Effects, State};
use crate::{Count, Plan};

impl Device {
    pub(super) fn finish(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        self.finished = true;
        while self.schedule.as_mut().and_then(|schedule| schedule.take(plan, self.index)).is_some() {
            effects.figures.count(Count::Skipped);
        }
        let is_online = self.state == State::Online;
        effects.figures.online -= i64::from(is_online);
        self.forget_in_flight(effects);
        let has_session = plan.mqtt.persistent && plan.mqtt.clean_up && self.accepted;
        // Its last word can end the session of MQTT 5 as well (3.14.2.2.2); of 3.1.1 it takes another connection.
        let ends_session = has_session && is_online && plan.mqtt.v5;
        if self.is_greeted() {
            self.write(plan, &goodbye(ends_session), effects);
        }
        effects.close |= self.has_transport();
        effects.figures.count_many(Count::SessionRemoved, u64::from(ends_session));
        self.state = State::Ended;
        if has_session && !ends_session {
            self.leaving = true;
            // Not all at once, as when they came.
            let until = now + Duration::from_secs_f64(f64::from(self.index) / plan.connect_rate);
            self.state = State::Away { until };
        }
    }

    /// The broker has thrown the session away, since it was asked for a clean one. [MQTT-3.1.2-4]
    pub(super) fn leave(&mut self, plan: &Plan, effects: &mut Effects) {
        effects.figures.count(Count::SessionRemoved);
        self.write(plan, &goodbye(false), effects);
        effects.close = true;
        self.state = State::Ended;
    }

    /// The connection is gone, and it is not to come back.
    pub(super) fn stay_behind(&mut self, effects: &mut Effects) {
        effects.figures.count_many(Count::SessionLeft, u64::from(self.leaving));
        self.state = State::Ended;
    }

    /// What a device does to remove its session is no part of the run.
    pub(super) fn count_unless_leaving(&self, count: Count, effects: &mut Effects) {
        if !self.leaving {
            effects.figures.count(count);
        }
    }

    fn is_greeted(&self) -> bool {
        match self.state {
            State::Subscribing { .. } | State::Online => true,
            // CONNACK was what made it end.
            State::Greeting { .. } => self.accepted,
            State::Away { .. } | State::Opening { .. } | State::Ended => false,
        }
    }
}

fn goodbye(ends_session: bool) -> Packet {
    let properties = ends_session.then(|| {
        Box::new(DisconnectProperties {
            session_expiry_interval_s: Some(0),
            ..DisconnectProperties::default()
        })
    });
    Packet::Disconnect(Disconnect { properties, ..Disconnect::default() })
}
