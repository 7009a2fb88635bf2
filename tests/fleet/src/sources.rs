//! Which addresses devices connect from, where nobody says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Connections from one address for which a port is found at once. Linux has 28,000 of them by default, looks through one half first,
/// and the search stops a whole process: with 15,000 devices at one address the p99 of connecting was 250 ms, at two and at four of
/// them 4.4 ms. The fleet would measure the kernel.
const PER_SOURCE: u32 = 4_000;

/// Addresses of this machine for a fleet of that size. Empty, which leaves the choice to the system, where one is enough, or where
/// a broker is elsewhere: then `--source` has to name addresses that the broker can answer.
#[must_use]
pub fn sources(devices: u32, brokers: &[SocketAddr]) -> Vec<IpAddr> {
    let near =
        brokers.iter().all(|broker| matches!(broker.ip(), IpAddr::V4(address) if address.is_loopback()));
    // All devices may come to one broker, when a scenario takes the others away.
    let wanted = devices.div_ceil(PER_SOURCE);
    if !near || wanted < 2 {
        return Vec::new();
    }
    let first = u32::from(Ipv4Addr::LOCALHOST);
    (0..wanted).map(|number| IpAddr::from(Ipv4Addr::from(first + number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_on_this_machine_has_several_addresses() {
        let here: SocketAddr = "127.0.0.1:1883".parse().unwrap();
        let elsewhere: SocketAddr = "192.0.2.1:1883".parse().unwrap();
        assert_eq!(sources(4_000, &[here]), Vec::<IpAddr>::new());
        let texts: Vec<String> = sources(12_000, &[here, here]).iter().map(IpAddr::to_string).collect();
        assert_eq!(texts, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
        assert!(sources(25_000, &[here, elsewhere]).is_empty());
        let most = sources(crate::Plan::DEVICES_MAX, &[here]);
        assert!(most.iter().all(IpAddr::is_loopback));
    }
}
