//! A connection on which anything can be said, also what no client would.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::eventually::PATIENCE;

/// A TCP connection to a gateway.
#[derive(Debug)]
pub struct RawMqtt {
    stream: TcpStream,
}

impl RawMqtt {
    /// Connects; sends nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        Self { stream: stream.unwrap_or_else(|error| panic!("nobody listens on {port}: {error}")) }
    }

    /// Sends bytes as they are. A connection that was closed meanwhile is no error: reading will tell.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Sends a packet: its first byte, its length, its body.
    pub async fn send_packet(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut rest = body.len();
        loop {
            let low = u8::try_from(rest % 128).expect("less than 128");
            rest /= 128;
            packet.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.send(&packet).await;
    }

    /// Sends a CONNECT with a clean start, of protocol level 4 or 5.
    pub async fn send_connect(&mut self, level: u8, client_id: &[u8]) {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, 0x02, 0, 60];
        if level == 5 {
            body.push(0); // no properties
        }
        body.extend_from_slice(&u16::try_from(client_id.len()).expect("fits a length").to_be_bytes());
        body.extend_from_slice(client_id);
        self.send_packet(0x10, &body).await;
    }

    /// The next packet: its first byte and its body; nothing when the gateway closed instead.
    ///
    /// # Panics
    /// When neither comes.
    pub async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = timeout(PATIENCE, self.read_packet()).await;
        read.unwrap_or_else(|_| panic!("neither a packet nor the end within {PATIENCE:?}"))
    }

    /// What is still sent until the gateway closes.
    ///
    /// # Panics
    /// When it does not.
    pub async fn rest(&mut self) -> Vec<u8> {
        self.rest_within(PATIENCE).await.unwrap_or_else(|| panic!("still open after {PATIENCE:?}"))
    }

    /// What is still sent until the gateway closes; nothing when it has not in time.
    pub async fn rest_within(&mut self, within: Duration) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        // A reset is an end as well.
        timeout(within, self.stream.read_to_end(&mut bytes)).await.ok().map(|_| bytes)
    }

    async fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }
}
