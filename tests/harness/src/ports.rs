//! Ports that belong to one test.
//!
//! Binding port 0 and closing it again would let another test take the port before the program under test does. So a
//! port is reserved by a lock on a file of its number, as `tests/harness/bin/rabbitmq` does too; the kernel drops the
//! lock with the process. The range lies below the one from which it takes the ports of outgoing connections.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rand::RngExt as _;

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// More misses than this in a row mean that something is wrong with the machine.
const TRIES: usize = 500;

/// A port on which nobody listens, reserved until this is dropped.
#[derive(Debug)]
pub struct ReservedPort {
    number: u16,
    _lock: File,
}

impl ReservedPort {
    /// Reserves any port.
    ///
    /// # Panics
    /// When none can be found.
    pub fn any() -> Self {
        (0..TRIES)
            .find_map(|_| Self::exactly(rand::rng().random_range(FIRST..=LAST)))
            .unwrap_or_else(|| panic!("no free port among {TRIES} tried in {FIRST}..={LAST}"))
    }

    /// Reserves `number`, unless somebody has it.
    pub fn exactly(number: u16) -> Option<Self> {
        let path = reservations().join(number.to_string());
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock = lock.unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()));
        lock.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _lock: lock })
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The ports of one `roost dev`: its standard ones, all moved by the same offset.
#[derive(Debug)]
pub struct PortOffset {
    offset: u16,
    _ports: Vec<ReservedPort>,
}

impl PortOffset {
    /// The embedded AMQP broker, with offset 0.
    pub const AMQP: u16 = 5672;
    /// The router's HTTP API.
    pub const API: u16 = 8080;
    /// MQTT of gateway `eu-1`.
    pub const MQTT_EU: u16 = 1883;
    /// MQTT of gateway `us-1`.
    pub const MQTT_US: u16 = 1884;
    /// Admin of gateway `eu-1`.
    pub const ADMIN_EU: u16 = 8081;
    /// Admin of gateway `us-1`.
    pub const ADMIN_US: u16 = 8082;
    /// Admin of the embedded backend.
    pub const ADMIN_BACKEND: u16 = 8083;

    const ALL: [u16; 7] = [
        Self::AMQP,
        Self::API,
        Self::MQTT_EU,
        Self::MQTT_US,
        Self::ADMIN_EU,
        Self::ADMIN_US,
        Self::ADMIN_BACKEND,
    ];

    /// Reserves all of them under a free offset.
    ///
    /// # Panics
    /// When no offset can be found.
    pub fn reserve() -> Self {
        let lowest = FIRST - Self::MQTT_EU;
        let highest = LAST - Self::ADMIN_BACKEND;
        (0..TRIES)
            .find_map(|_| {
                let offset = rand::rng().random_range(lowest..=highest);
                let ports = Self::ALL.iter().map(|port| ReservedPort::exactly(port + offset));
                let _ports = ports.collect::<Option<Vec<_>>>()?;
                Some(Self { offset, _ports })
            })
            .unwrap_or_else(|| panic!("no free offset among {TRIES} tried"))
    }

    /// What to give to `--port-offset`.
    pub fn offset(&self) -> u16 {
        self.offset
    }

    /// The port that stands for `standard`, one of the constants of this type.
    pub fn of(&self, standard: u16) -> u16 {
        standard + self.offset
    }
}

fn reservations() -> PathBuf {
    let user = std::fs::metadata("/proc/self").map_or(0, |of_self| of_self.uid());
    let directory = std::env::temp_dir().join(format!("roost-test-ports-{user}"));
    std::fs::create_dir_all(&directory)
        .unwrap_or_else(|error| panic!("cannot create {}: {error}", directory.display()));
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_nobody_elses_until_it_is_dropped() {
        let port = ReservedPort::any();
        let number = port.number();
        assert!(ReservedPort::exactly(number).is_none());
        drop(port);
        assert!(ReservedPort::exactly(number).is_some());
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_not_reserved() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(ReservedPort::exactly(listener.local_addr().unwrap().port()).is_none());
    }

    #[test]
    fn an_offset_reserves_every_port_of_the_mesh() {
        let offset = PortOffset::reserve();
        for standard in PortOffset::ALL {
            assert!(ReservedPort::exactly(offset.of(standard)).is_none(), "{standard} is not reserved");
        }
    }
}
