//! What a fleet is to do: the same value for the conductor and every worker, as JSON between their processes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use roost_gateway::packet::{ProtocolVersion, QoS};
use serde::{Deserialize, Serialize};

use crate::{Reconnect, Scenario, Stamp, TopicPattern, Transport};

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Drawn when the fleet starts: tells its messages from those of other runs.
    pub run: u32,
    /// From which everything random in the run is drawn.
    pub seed: u64,
    /// Where devices connect; each begins at the one of its index, modulo how many there are.
    pub brokers: Vec<SocketAddr>,
    /// The addresses that devices connect from, in turn. Empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// How many devices there are.
    pub devices: u32,
    /// What their client ids begin with; the index follows.
    pub prefix: String,
    /// How many connect in each second, at first.
    pub connect_rate: f64,
    /// How long the measured time is, from the moment when all are connected.
    pub duration_ms: u64,
    /// How long to wait after it for what is still on its way.
    pub drain_ms: u64,
    /// What lies between MQTT and TCP.
    pub transport: Transport,
    /// How each device speaks MQTT.
    pub mqtt: Mqtt,
    /// What each device publishes.
    pub traffic: Traffic,
    /// Whether devices subscribe to what they publish themselves.
    pub echo: bool,
    /// Whether each second device subscribes to what the one before it publishes, and publishes nothing itself.
    pub pairs: bool,
    /// Whether devices subscribe to their commands.
    pub commands: bool,
    /// The quality of service of commands, 0 or 1.
    pub command_qos: u8,
    /// Whether the backend side consumes from queues that outlive its links.
    #[serde(default)]
    pub durable_queues: bool,
    /// Where devices answer commands that name no Response Topic.
    pub answer: Option<TopicPattern>,
    /// What a device does when its connection is gone.
    pub reconnect: Reconnect,
    /// What happens to the fleet while it runs.
    pub scenario: Scenario,
}

/// How a device speaks MQTT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mqtt {
    /// MQTT 5 rather than 3.1.1.
    pub v5: bool,
    /// The session outlives the connection.
    pub persistent: bool,
    /// Sessions that outlive connections are removed at the end.
    pub clean_up: bool,
    /// Seconds; 0 is none.
    pub keep_alive_s: u16,
    /// How long a device waits for TCP, CONNACK and SUBACK together.
    pub connect_timeout_ms: u64,
}

/// What devices publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages per device and second, on average over the devices. 0 is none.
    pub rate: f64,
    /// Bytes of each payload, of at least [`Stamp::BYTES`].
    pub size: u32,
    /// 0 to 2.
    pub qos: u8,
    /// Where they are published.
    pub topic: TopicPattern,
    /// By how much of the interval between two messages each is moved at random, 0 to 1.
    pub jitter: f64,
    /// The exponent of Zipf's law by which some devices publish more than others; 0 makes them equal.
    pub zipf: f64,
    /// Messages of one device that may wait for their acknowledgement; the next wait in the device.
    pub in_flight_max: u16,
    /// Messages that may wait in a device; what is due beyond is skipped, and counted.
    pub backlog_max: u32,
}

/// What is wrong with a plan, in the words of the command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

impl Plan {
    /// The most devices of one run: their indices are five digits or less in reports, and one machine has no more ports.
    pub const DEVICES_MAX: u32 = 1_000_000;
    /// The longest run.
    pub const DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);
    /// Whoever cannot remove its session within it leaves it behind.
    pub const CLEAN_UP_MAX: Duration = Duration::from_secs(120);
    /// The largest payload: the default limit of a packet.
    pub const SIZE_MAX: u32 = 256 * 1024;

    /// Looks for what cannot be meant.
    ///
    /// # Errors
    /// [`PlanError`] names the option and what it may be.
    pub fn check(&self) -> Result<(), PlanError> {
        let traffic = &self.traffic;
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let share = |number: f64| (0.0..=1.0).contains(&number);
        let rules = [
            (!self.brokers.is_empty(), "--broker: at least one is needed".to_owned()),
            (
                (1..=Self::DEVICES_MAX).contains(&self.devices),
                format!("--devices is {}; 1 to {} are possible", self.devices, Self::DEVICES_MAX),
            ),
            (
                positive(self.connect_rate),
                format!("--connect-rate is {}; it must be above 0", self.connect_rate),
            ),
            (
                self.duration_ms > 0 && self.duration_ms <= Self::DURATION_MAX.as_millis() as u64,
                "--for must be above 0 and at most 7 days".to_owned(),
            ),
            (
                traffic.rate.is_finite() && traffic.rate >= 0.0,
                format!("--rate is {}; it must be 0 or above", traffic.rate),
            ),
            (
                (Stamp::BYTES as u32..=Self::SIZE_MAX).contains(&traffic.size),
                format!(
                    "--size is {}; {} (the serial number and the time) to {} bytes are possible",
                    traffic.size,
                    Stamp::BYTES,
                    Self::SIZE_MAX
                ),
            ),
            (traffic.qos <= 2, format!("--qos is {}; 0 to 2 are possible", traffic.qos)),
            (self.command_qos <= 1, format!("--command-qos is {}; 0 or 1 is possible", self.command_qos)),
            (
                !self.pairs || (self.devices.is_multiple_of(2) && self.brokers.len() == 1 && !self.echo),
                "--pairs: an even number of --devices at one --broker, without --echo, is possible"
                    .to_owned(),
            ),
            (share(traffic.jitter), format!("--jitter is {}; 0 to 1 is possible", traffic.jitter)),
            (
                (0.0..=10.0).contains(&traffic.zipf),
                format!("--zipf is {}; 0 to 10 is possible", traffic.zipf),
            ),
            (traffic.in_flight_max > 0, "--in-flight is 0; at least 1 is needed".to_owned()),
            (
                !self.prefix.is_empty() && self.prefix.len() <= 40 && self.prefix.chars().all(is_id),
                format!("--prefix is {:?}; 1 to 40 letters, digits, - or _ are possible", self.prefix),
            ),
        ];
        rules.into_iter().find(|(good, _)| !good).map_or(Ok(()), |(_, problem)| Err(PlanError(problem)))?;
        self.scenario.check(self.brokers.len()).map_err(PlanError)
    }

    /// A device's client id.
    #[must_use]
    pub fn client_id(&self, device: u32) -> String {
        format!("{}{device:06}", self.prefix)
    }

    /// Where a device gets its commands.
    #[must_use]
    pub fn command_topic(&self, device: u32) -> String {
        format!("devices/{}/cmd", self.client_id(device))
    }

    /// Where a device answers commands that name no Response Topic.
    #[must_use]
    pub fn answer_topic(&self, device: u32) -> Option<String> {
        self.answer.as_ref().map(|pattern| pattern.of(&self.client_id(device), device))
    }

    /// Whether there may be answers: MQTT 5 can ask for them.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        self.commands && (self.mqtt.v5 || self.answer.is_some())
    }

    /// How long devices may take to remove their sessions at the end.
    #[must_use]
    pub fn cleaning_up(&self) -> Duration {
        match self.mqtt.persistent && self.mqtt.clean_up {
            true => self.connecting().min(Self::CLEAN_UP_MAX),
            false => Duration::ZERO,
        }
    }

    /// Where a device publishes.
    #[must_use]
    pub fn topic(&self, device: u32) -> String {
        self.traffic.topic.of(&self.client_id(device), device)
    }

    /// The key with which a service's queue is bound to get the events of these devices. Where devices answer commands it gets all: an
    /// answer that nobody waits for is an event, wherever it was published.
    #[must_use]
    pub fn binding(&self) -> String {
        let last = self.devices.saturating_sub(1);
        match self.has_answers() {
            true => "#".to_owned(),
            false => self.traffic.topic.binding(&self.client_id(last), last),
        }
    }

    /// Whose messages a device subscribes to, if any device's.
    #[must_use]
    pub fn heard_by(&self, device: u32) -> Option<u32> {
        match () {
            () if self.echo => Some(device),
            () if self.pairs && !self.publishes(device) => Some(device - 1),
            () => None,
        }
    }

    /// Whether a device publishes.
    #[must_use]
    pub fn publishes(&self, device: u32) -> bool {
        !self.pairs || device.is_multiple_of(2)
    }

    /// Whether what devices publish comes back to devices.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.echo || self.pairs
    }

    /// When the last device is due to connect, from the start.
    #[must_use]
    pub fn connecting(&self) -> Duration {
        Duration::from_secs_f64((f64::from(self.devices) / self.connect_rate).min(86_400.0))
    }

    /// The measured time.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }
}

impl Mqtt {
    /// The version on the wire.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        if self.v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 }
    }
}

impl Traffic {
    /// The quality of service on the wire.
    #[must_use]
    pub fn qos(&self) -> QoS {
        QoS::from_byte(self.qos).unwrap_or(QoS::ExactlyOnce)
    }
}

fn is_id(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plan that is good; tests change what they are about.
    pub(crate) fn plan() -> Plan {
        Plan {
            run: 7,
            seed: 11,
            brokers: vec!["127.0.0.1:1883".parse().unwrap()],
            sources: Vec::new(),
            devices: 10,
            prefix: "fleet-".to_owned(),
            connect_rate: 100.0,
            duration_ms: 10_000,
            drain_ms: 10_000,
            transport: Transport::default(),
            mqtt: Mqtt {
                v5: false,
                persistent: false,
                clean_up: true,
                keep_alive_s: 60,
                connect_timeout_ms: 30_000,
            },
            traffic: Traffic {
                rate: 1.0,
                size: 64,
                qos: 1,
                topic: TopicPattern::default(),
                jitter: 0.0,
                zipf: 0.0,
                in_flight_max: 4,
                backlog_max: 100,
            },
            echo: false,
            pairs: false,
            commands: false,
            command_qos: 1,
            durable_queues: false,
            answer: None,
            reconnect: Reconnect::default(),
            scenario: Scenario::default(),
        }
    }

    #[test]
    fn a_plan_says_which_option_is_wrong() {
        assert_eq!(plan().check(), Ok(()));
        type Spoil = fn(&mut Plan);
        let wrong: [(&str, Spoil); 10] = [
            ("--broker", |plan| plan.brokers.clear()),
            ("--devices", |plan| plan.devices = 0),
            ("--connect-rate", |plan| plan.connect_rate = f64::NAN),
            ("--for", |plan| plan.duration_ms = 0),
            ("--rate", |plan| plan.traffic.rate = -1.0),
            ("--size", |plan| plan.traffic.size = 23),
            ("--qos", |plan| plan.traffic.qos = 3),
            ("--jitter", |plan| plan.traffic.jitter = 1.1),
            ("--pairs", |plan| (plan.pairs, plan.devices) = (true, 9)),
            ("--prefix", |plan| plan.prefix = "a/b".to_owned()),
        ];
        for (option, spoil) in wrong {
            let mut plan = plan();
            spoil(&mut plan);
            assert!(plan.check().unwrap_err().to_string().starts_with(option), "{option}");
        }
    }

    #[test]
    fn a_pair_is_one_that_publishes_and_one_that_subscribes_to_it() {
        let alone = plan();
        assert!(!alone.is_heard() && alone.publishes(3) && alone.heard_by(3).is_none());
        let echo = Plan { echo: true, ..plan() };
        assert_eq!((echo.publishes(3), echo.heard_by(3)), (true, Some(3)));
        let pairs = Plan { pairs: true, ..plan() };
        assert_eq!(
            [2, 3].map(|device| (pairs.publishes(device), pairs.heard_by(device))),
            [(true, None), (false, Some(2))]
        );
    }

    #[test]
    fn a_plan_reads_back_in_a_worker() {
        let json = serde_json::to_string(&plan()).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan());
    }
}
