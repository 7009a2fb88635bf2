//! What lies between a device's MQTT and TCP.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The layers below MQTT, from the outside in. The default is TCP alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// A PROXY header goes first, as a load balancer would write it.
    pub proxy_header: Option<ProxyHeader>,
    /// TLS; then a device takes some 20 KiB more.
    pub tls: Option<Tls>,
    /// MQTT goes in WebSocket frames; then a device takes some 5 KiB more.
    pub websocket: Option<WebSocket>,
}

/// MQTT over WebSocket (MQTT 5, section 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocket {
    /// The path of the request, from its `/` on.
    pub path: String,
    /// The host that the request names; the port follows.
    pub host: String,
}

/// How a broker proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The certificates that are trusted, as PEM.
    pub ca_pem: String,
    /// The name that the broker's certificate must have.
    pub server_name: String,
}

/// The PROXY protocol (HAProxy's proxy-protocol.txt), with the device's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// One line of text (section 2.1).
    V1,
    /// Binary (section 2.2).
    V2,
}

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, on behalf of another.
const PROXIED: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

impl ProxyHeader {
    /// The header of a connection from `source` to `destination`.
    #[must_use]
    pub fn bytes(self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let ports = [source.port(), destination.port()];
        match self {
            Self::V1 => {
                let [from, to] = ports;
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip()).into_bytes()
            }
            Self::V2 => {
                let mut addresses = [octets(source.ip()), octets(destination.ip())].concat();
                addresses.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
                let family = if source.is_ipv4() { TCP_OVER_IPV4 } else { TCP_OVER_IPV6 };
                let length =
                    u16::try_from(addresses.len()).expect("two addresses and two ports are few bytes");
                [&SIGNATURE[..], &[PROXIED, family], &length.to_be_bytes(), &addresses].concat()
            }
        }
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_the_specification() {
        let (source, destination) = ("127.0.0.2:4096".parse().unwrap(), "127.0.0.1:1883".parse().unwrap());
        let text = ProxyHeader::V1.bytes(source, destination);
        assert_eq!(text, b"PROXY TCP4 127.0.0.2 127.0.0.1 4096 1883\r\n");
        let binary = ProxyHeader::V2.bytes(source, destination);
        assert_eq!(binary, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\x10\0\x07\x5b");
        let six = ProxyHeader::V2.bytes("[::1]:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!((six.len(), six[13], six[15]), (16 + 36, 0x21, 36));
    }
}
