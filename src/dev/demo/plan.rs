//! What the devices of a demo do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use roost_fleet::shell::descriptors;
use roost_fleet::{
    Action, Backoff, Mqtt, Plan, Reconnect, Scenario, Step, TopicPattern, Traffic, Transport, sources,
};

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) devices: u32,
    /// Events per device and second.
    pub(crate) rate: f64,
    /// Commands per second over all devices.
    pub(crate) command_rate: f64,
    /// The share of the devices that moves to the other gateway in a minute.
    pub(crate) roam: f64,
    /// From which all that is random is drawn.
    pub(crate) seed: u64,
    /// What happens to the devices beside roaming.
    pub(crate) steps: Vec<Step>,
}

/// A demo ends by itself after this: devices have a list of what happens to them, and every list has an end.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How often a share of the devices moves on.
const ROAM_EVERY: Duration = Duration::from_secs(15);
/// All devices are to be there within ten seconds, where that is not too much at once.
const CONNECT_S: f64 = 10.0;
const CONNECT_RATES: (f64, f64) = (50.0, 1_000.0);
/// The mesh needs descriptors for other things than devices.
const DESCRIPTORS_KEPT: u32 = 500;
/// The payload of events and commands.
const PAYLOAD_BYTES: u32 = 64;

impl Wanted {
    /// Whether this process may have that many sockets: each device has one at its gateway.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let room = descriptors().saturating_sub(DESCRIPTORS_KEPT);
        ensure!(
            self.devices <= room,
            "--devices {}: this process may have {} open files, which is enough for {room} devices; raise it with `ulimit -n`",
            self.devices,
            descriptors(),
        );
        Ok(())
    }

    /// How many processes of their own the devices need beside the mesh; none if one process may have both ends.
    pub(crate) fn workers(&self) -> Option<u32> {
        let both_ends = self.devices.saturating_mul(2).saturating_add(DESCRIPTORS_KEPT);
        (both_ends > descriptors()).then_some(1)
    }

    /// The plan of the fleet.
    pub(crate) fn plan(&self, run: u32, gateways: Vec<SocketAddr>) -> Plan {
        let connect_rate = (f64::from(self.devices) / CONNECT_S).clamp(CONNECT_RATES.0, CONNECT_RATES.1);
        Plan {
            run,
            seed: self.seed,
            sources: sources(self.devices, &gateways),
            brokers: gateways,
            devices: self.devices,
            prefix: "demo-".to_owned(),
            connect_rate,
            duration_ms: LONGEST.as_millis() as u64,
            drain_ms: 0, // whoever leads them sees to it
            transport: Transport::default(),
            mqtt: Mqtt {
                v5: true,
                persistent: false,
                keep_alive_s: 30,
                connect_timeout_ms: 10_000,
                clean_up: true,
            },
            traffic: Traffic {
                rate: self.rate,
                size: PAYLOAD_BYTES,
                qos: 1,
                topic: TopicPattern::default(),
                jitter: 1.0,
                zipf: 0.0,
                in_flight_max: 8,
                backlog_max: 100,
            },
            echo: false,
            pairs: false,
            commands: true,
            command_qos: 1,
            durable_queues: false,
            answer: None,
            reconnect: Reconnect {
                backoff: Backoff::FullJitter { first_ms: 200, max_ms: 2_000 },
                spread_ms: 200,
            },
            scenario: Scenario { steps: self.steps() },
        }
    }

    fn steps(&self) -> Vec<Step> {
        let share = (self.roam * ROAM_EVERY.as_secs_f64() / 60.0).clamp(0.0, 1.0);
        let roams = if share > 0.0 { LONGEST.as_secs() / ROAM_EVERY.as_secs() } else { 0 };
        let every_ms = ROAM_EVERY.as_millis() as u64;
        let roams = (1..=roams).map(|turn| Step { at_ms: turn * every_ms, share, action: Action::Roam });
        let mut steps: Vec<Step> = roams.chain(self.steps.iter().cloned()).collect();
        steps.sort_by_key(|step| step.at_ms);
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(devices: u32) -> Wanted {
        Wanted { devices, rate: 0.1, command_rate: 10.0, roam: 0.01, seed: 1, steps: Vec::new() }
    }

    #[test]
    fn a_plan_can_be_meant_and_moves_its_share_in_a_minute() {
        let two = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
        let plan = wanted(200).plan(7, two.into());
        assert_eq!(plan.check(), Ok(()));
        let first = plan.scenario.steps.iter().take_while(|step| step.at_ms <= 60_000);
        assert!((first.map(|step| step.share).sum::<f64>() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn more_devices_than_descriptors_are_refused_and_many_have_a_process_of_their_own() {
        let most = descriptors() - DESCRIPTORS_KEPT;
        assert!(wanted(most).check().is_ok());
        let refused = wanted(most + 1).check().unwrap_err().to_string();
        assert!(refused.contains("open files") && refused.contains(&most.to_string()), "{refused}");
        assert_eq!((wanted(10).workers(), wanted(most).workers()), (None, Some(1)));
    }
}
