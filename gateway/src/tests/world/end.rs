//! The client's end of a connection.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::aliases;
use crate::packet::{Decoder, Packet, ProtocolVersion};

/// The client's end of a connection.
pub(super) struct End {
    pub(super) version: ProtocolVersion,
    pub(super) decoder: Decoder,
    pub(super) bytes: BytesMut,
    pub(super) packets: VecDeque<Packet>,
    pub(super) is_closed: bool,
    pub(super) is_paused: bool,
    /// Takes no bytes: they are held here.
    pub(super) is_stuck: bool,
    pub(super) held: usize,
    pub(super) aliases: aliases::KnownAliases,
}

impl End {
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(mut packet) = self.decoder.decode(&mut self.bytes).unwrap() {
            self.aliases.resolve(&mut packet);
            self.packets.push_back(packet);
        }
    }
}
