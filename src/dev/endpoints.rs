//! Where the parts of `roost dev` listen.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;
use roost_backend::AmqpAddress;
use roost_config::backend::USER;

use super::data::Data;

/// The ports, all moved by one offset.
#[derive(Debug, Clone)]
pub(crate) struct Endpoints {
    offset: u16,
    /// A RabbitMQ, instead of the embedded broker.
    external_amqp: Option<AmqpAddress>,
}

/// Something that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Amqp,
    AdminBackend,
    Api,
    MqttEu,
    AdminEu,
    MqttUs,
    AdminUs,
}

/// Offsets that are proposed are multiples of this: easy to type, and far from the standard ports.
const PROPOSAL_STEP: u16 = 1_000;

impl Listener {
    const ALL: [Self; 7] =
        [Self::Amqp, Self::AdminBackend, Self::Api, Self::MqttEu, Self::AdminEu, Self::MqttUs, Self::AdminUs];

    /// The greatest offset with which every port still is one.
    pub(crate) const OFFSET_MAX: u16 = u16::MAX - Self::AdminBackend.port();

    const fn port(self) -> u16 {
        match self {
            Self::Amqp => 5672,
            Self::AdminBackend => 8083,
            Self::Api => 8080,
            Self::MqttEu => 1883,
            Self::AdminEu => 8081,
            Self::MqttUs => 1884,
            Self::AdminUs => 8082,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Amqp => "the backend (AMQP)",
            Self::AdminBackend => "the backend (admin)",
            Self::Api => "the router (HTTP API)",
            Self::MqttEu => "gateway eu-1 (MQTT)",
            Self::AdminEu => "gateway eu-1 (admin)",
            Self::MqttUs => "gateway us-1 (MQTT)",
            Self::AdminUs => "gateway us-1 (admin)",
        }
    }
}

impl Endpoints {
    /// All standard ports plus `offset`, which is at most [`Listener::OFFSET_MAX`].
    pub(crate) fn new(offset: u16, external_amqp: Option<AmqpAddress>) -> Self {
        Self { offset, external_amqp }
    }

    pub(crate) fn of(&self, listener: Listener) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port() + self.offset))
    }

    /// Where the parts find AMQP, and whether it is the embedded broker.
    pub(crate) fn amqp(&self) -> (AmqpAddress, bool) {
        match &self.external_amqp {
            Some(url) => (url.clone(), false),
            None => {
                let at = self.of(Listener::Amqp);
                (AmqpAddress::new(USER, USER, &at.ip().to_string(), at.port(), "/"), true)
            }
        }
    }

    /// Says everything that is in the way at once, before anything is started.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let taken: Vec<Listener> = self.listeners().filter(|listener| !is_free(self.of(*listener))).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for listener in taken {
            let _ =
                writeln!(text, "port {} is in use; {} wants it", self.of(listener).port(), listener.what());
        }
        match self.proposal() {
            Some(offset) => {
                let _ =
                    write!(text, "stop what has it, or move every port: roost dev --port-offset {offset}");
            }
            None => text += "stop what has it, or move every port with --port-offset",
        }
        bail!(text)
    }

    /// An offset with which every port is free right now.
    fn proposal(&self) -> Option<u16> {
        let offsets = (PROPOSAL_STEP..=Listener::OFFSET_MAX).step_by(usize::from(PROPOSAL_STEP));
        let moved = |offset| Self { offset, external_amqp: self.external_amqp.clone() };
        let all_free = |offset: &u16| {
            let moved = moved(*offset);
            moved.listeners().all(|listener| is_free(moved.of(listener)))
        };
        offsets.into_iter().find(all_free)
    }

    fn listeners(&self) -> impl Iterator<Item = Listener> {
        let has_broker = self.external_amqp.is_none();
        let is_broker = |listener| matches!(listener, Listener::Amqp | Listener::AdminBackend);
        Listener::ALL.into_iter().filter(move |listener| has_broker || !is_broker(*listener))
    }

    /// The endpoints, and three commands to try. `roost` is how this program is called.
    pub(crate) fn describe(&self, data: &Data, roost: &str) -> String {
        let at = |listener| self.of(listener);
        let (amqp, is_embedded) = self.amqp();
        let backend = match is_embedded {
            // Everybody knows guest's password, and nobody could connect without it.
            true => format!(
                "amqp://{USER}:{USER}@{}/%2f   admin http://{}",
                at(Listener::Amqp),
                at(Listener::AdminBackend)
            ),
            false => format!("{amqp}  (yours)"),
        };
        let api = match self.offset {
            0 => String::new(),
            _ => format!(" --api http://{}", at(Listener::Api)),
        };
        format!(
            "A whole mesh in one process, on loopback:\n\
             \n  gateway eu-1   mqtt://{}   admin http://{}\
             \n  gateway us-1   mqtt://{}   admin http://{}\
             \n  router         http://{}\
             \n  backend        {backend}\
             \n  data           {data}\n\
             \nThree commands to try, each in a terminal of its own: a device, a command for it, and where it is.\
             \n  mosquitto_sub -p {} -i kettle -q 1 -v -t devices/kettle/cmd\
             \n  {roost} send kettle --topic devices/kettle/cmd --payload boil --wait 5s{api}\
             \n  {roost} locate kettle --explain{api}\n",
            at(Listener::MqttEu),
            at(Listener::AdminEu),
            at(Listener::MqttUs),
            at(Listener::AdminUs),
            at(Listener::Api),
            at(Listener::MqttEu).port(),
        )
    }
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_moves_by_the_offset() {
        let endpoints = Endpoints::new(20_000, None);
        let ports: Vec<u16> = Listener::ALL.iter().map(|listener| endpoints.of(*listener).port()).collect();
        assert_eq!(ports, [25_672, 28_083, 28_080, 21_883, 28_081, 21_884, 28_082]);
        let last = Endpoints::new(Listener::OFFSET_MAX, None);
        assert_eq!(last.of(Listener::AdminBackend).port(), u16::MAX);
    }

    #[test]
    fn another_broker_needs_no_port_of_ours_and_its_password_does_not_print() {
        let external = Some("amqp://me:hunter2@10.0.0.1:5673/vh".parse().unwrap());
        let endpoints = Endpoints::new(0, external);
        assert_eq!(endpoints.listeners().count(), 5);
        assert_eq!((endpoints.amqp().0.nodes()[0].port, endpoints.amqp().1), (5_673, false));
        let data = Data::prepare(None).unwrap();
        let text = endpoints.describe(&data, "roost");
        assert!(text.contains("amqp://me:***@10.0.0.1:5673/vh") && !text.contains("hunter2"), "{text}");
        assert!(!text.contains("--api"), "the default is right: {text}");
    }

    #[test]
    fn the_commands_to_try_have_the_right_ports() {
        let data = Data::prepare(None).unwrap();
        let text = Endpoints::new(1_000, None).describe(&data, "target/release/roost");
        for part in [
            "mosquitto_sub -p 2883 -i kettle",
            "\n  target/release/roost send kettle --topic devices/kettle/cmd --payload boil --wait 5s --api http://127.0.0.1:9080\n",
            "\n  target/release/roost locate kettle --explain --api http://127.0.0.1:9080\n",
            "amqp://guest:guest@127.0.0.1:6672/%2f   admin http://127.0.0.1:9083",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
