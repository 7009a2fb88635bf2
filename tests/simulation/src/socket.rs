//! A device's TCP connection to a gateway.

use std::collections::VecDeque;

use bytes::BytesMut;
use roost_gateway::packet::{DecodeLimits, Decoder, Packet, ProtocolVersion};

use crate::time::Micros;

/// One TCP connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SocketId(pub(crate) u64);

/// What a witness wants to know of bytes when a gateway reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// They acknowledge this command.
    Acknowledges { command: String, is_success: bool },
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) device: usize,
    pub(crate) gateway: usize,
    /// In which life of the gateway.
    pub(crate) life: u32,
    /// Nothing passes any more, and neither end needs to know.
    pub(crate) is_cut: bool,
    /// What the device writes is lost: a connection that is about to break.
    pub(crate) loses_to_gateway: bool,
    /// What the gateway writes is lost: a connection that is about to break.
    pub(crate) loses_to_device: bool,
    /// Until when the device does not read.
    pub(crate) deaf_until: Micros,
    /// What the kernel has taken for it meanwhile.
    pub(crate) unread_bytes: usize,
    /// Whether the gateway believes in it.
    pub(crate) at_gateway: bool,
    /// Whether the device believes in it.
    pub(crate) at_device: bool,
    /// Whether the gateway has accepted the device's CONNECT.
    pub(crate) is_accepted: bool,
    /// The gateway does not read.
    pub(crate) is_paused: bool,
    pub(crate) unread: VecDeque<(BytesMut, Option<Note>)>,
    /// What is written arrives in order.
    pub(crate) to_gateway_free: Micros,
    pub(crate) to_device_free: Micros,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Socket {
    pub(crate) fn new(device: usize, gateway: usize, life: u32, version: ProtocolVersion) -> Self {
        Self {
            device,
            gateway,
            life,
            is_cut: false,
            loses_to_gateway: false,
            loses_to_device: false,
            deaf_until: 0,
            unread_bytes: 0,
            at_gateway: true,
            at_device: true,
            is_accepted: false,
            is_paused: false,
            unread: VecDeque::new(),
            to_gateway_free: 0,
            to_device_free: 0,
            decoder: Decoder::for_client(version, DecodeLimits::default()),
            buffer: BytesMut::new(),
        }
    }

    /// The packets that are whole with these bytes, as the gateway writes them.
    pub(crate) fn written(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.buffer.extend_from_slice(bytes);
        let mut packets = Vec::new();
        while let Some(packet) =
            self.decoder.decode(&mut self.buffer).expect("a gateway writes what the specification allows")
        {
            packets.push(packet);
        }
        packets
    }
}
