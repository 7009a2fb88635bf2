//! One transport connection: its bytes in both directions, and what its client has been promised.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use roost_wire::{BootTime, SessionRequest};

use super::authenticate::{Authenticating, Login};
use super::buffers::Buffers;
use crate::ShardIndex;
use crate::aliases::Aliases;
use crate::message::Message;
use crate::packet::{DecodeLimits, Decoder, Delivery, Encoder, Packet, ProtocolVersion, PublishRef};
use crate::session::{Pending, Publisher, SessionKey, Will};
use crate::share::GroupKey;
use crate::store::StoreNumber;

/// A transport connection. An idle one owns no buffer.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) opened_at: BootTime,
    pub(super) entropy: u64,
    pub(super) decoder: Decoder,
    /// Bytes that are not a whole packet yet, or have to wait.
    pub(super) unread: BytesMut,
    /// Whether the shell was told to stop reading.
    pub(super) paused: bool,
    pub(super) outgoing: Outgoing,
    /// Its CONNECT has come, and waits until its client has shown who it is.
    pub(super) authenticating: Option<Box<Authenticating>>,
    /// Its client has shown that, and its CONNECT is not answered yet.
    pub(super) login: Option<Box<Login>>,
    /// From an accepted CONNECT on.
    pub(super) client: Option<Box<Client>>,
    /// Its CONNECT has come, and waits for the session that its device had elsewhere.
    pub(super) fetches: Option<SessionRequest>,
    /// Its CONNECT has come, and waits until its session is read from the store.
    pub(super) is_read_for: bool,
}

/// Bytes on their way to the socket, counted from the beginning of the connection.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: BytesMut,
    /// How many bytes were in it at once.
    used: usize,
    encoded: u64,
    handed: u64,
    taken: u64,
    /// When the socket last took anything, or began to have something to take.
    moved_at: BootTime,
    /// How many packets were added since somebody asked.
    packets: u32,
    /// Whether the connection stands in the shard's list of those that have something to hand over.
    pub(super) is_listed: bool,
    /// What was added last that promises anything does so on what is durable with that batch.
    pub(super) waits_for: StoreNumber,
}

/// What is known of a client from its CONNECT on.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: SessionKey,
    pub(super) encoder: Encoder,
    /// Who it has shown to be; none if it was let in without that.
    pub(super) login: Option<Box<Login>>,
    /// One and a half times the keep alive [MQTT-3.1.2-22]; none if it is 0.
    pub(super) silence_max: Option<Duration>,
    pub(super) heard_at: BootTime,
    /// How many unacknowledged publishes it takes.
    pub(super) window: u16,
    /// The highest alias that is used towards it.
    pub(super) topic_alias_max: u16,
    /// From the first alias on.
    pub(super) aliases: Option<Box<Aliases>>,
    /// What it wants published if its connection ends without its goodbye.
    pub(super) will: Option<Box<Will>>,
    /// Whether its CONNECT asked for a session that outlives the connection [MQTT-3.1.2-23].
    pub(super) asked_for_expiry: bool,
    pub(super) pending: Pending,
    /// Publishes that wait for a subscriber or the uplink; they are in `pending` too.
    pub(super) parked: VecDeque<Parked>,
    pub(super) parked_bytes: usize,
    /// The bytes of its publishes that other shards have not answered.
    pub(super) crossing_bytes: usize,
    /// For whom its first parked publish waits; it stands in that list.
    pub(super) waits_for: Option<HeldBy>,
    /// Who let it have another try; the next one's turn comes behind it.
    pub(super) woken_by: Option<HeldBy>,
}

/// Who makes a publish wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// The queue of this session is full.
    Subscriber(SessionKey),
    /// The queues of all connected members of this group are full.
    Group(GroupKey),
    /// The uplink's window is full.
    Uplink,
    /// The spool is full, or as much as may be is on its way there.
    Spool,
    /// An event of the same device was refused and is tried again.
    Refusal,
    /// Sessions are not all read from the store, or as much as may be is on its way there.
    Store,
    /// As much as may be is on its way to this shard of the process.
    Shard(ShardIndex),
}

/// A publish that waits for its turn.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) publisher: Publisher,
    pub(super) message: Arc<Message>,
    pub(super) delivery: Delivery,
    pub(super) read_at: BootTime,
}

impl Connection {
    pub(super) fn new(opened_at: BootTime, entropy: u64, limits: DecodeLimits) -> Self {
        Self {
            opened_at,
            entropy,
            decoder: Decoder::for_server(limits),
            unread: BytesMut::new(),
            paused: false,
            outgoing: Outgoing::default(),
            authenticating: None,
            login: None,
            client: None,
            fetches: None,
            is_read_for: false,
        }
    }

    /// Adds received bytes to those that wait.
    pub(super) fn receive(&mut self, bytes: BytesMut) {
        if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            self.unread.extend_from_slice(&bytes);
        }
    }

    /// Gives the read buffer back: what is left moves into memory of its own, with room for its packet if that is known
    /// and not over the limit.
    pub(super) fn keep_leftovers(&mut self) {
        let packet_bytes = self.decoder.packet_len(&self.unread).ok().flatten().unwrap_or(0);
        let mut kept = BytesMut::new();
        if !self.unread.is_empty() {
            kept.reserve(self.unread.len().max(packet_bytes));
            kept.extend_from_slice(&self.unread);
        }
        self.unread = kept;
    }

    /// Whether the next packet is a PUBLISH that wants an acknowledgement.
    pub(super) fn next_is_acknowledged_publish(&self) -> bool {
        const PUBLISH: u8 = 3;
        self.unread.first().is_some_and(|first| first >> 4 == PUBLISH && first & 0b0110 != 0)
    }
}

impl Client {
    pub(super) fn version(&self) -> ProtocolVersion {
        self.encoder.version
    }
}

impl Outgoing {
    /// Adds a packet; false if it is too large for its client [MQTT-3.1.2-24].
    pub(super) fn packet(
        &mut self,
        buffers: &mut Buffers,
        now: BootTime,
        encoder: Encoder,
        packet: &Packet,
    ) -> bool {
        let before = self.begin(buffers);
        let is_encoded = encoder.encode(packet, &mut self.buffer).is_ok();
        if is_encoded {
            self.grew(now, before);
        }
        is_encoded
    }

    /// Adds a PUBLISH; false if it is too large for its client [MQTT-3.1.2-24].
    pub(super) fn publish(
        &mut self,
        buffers: &mut Buffers,
        now: BootTime,
        client: &mut Client,
        publish: &PublishRef<'_>,
    ) -> bool {
        let before = self.begin(buffers);
        let is_encoded = client.encode_publish(publish, &mut self.buffer);
        if is_encoded {
            self.grew(now, before);
        }
        is_encoded
    }

    /// Sees to it that there is a buffer; gives how much is in it.
    fn begin(&mut self, buffers: &mut Buffers) -> usize {
        if self.buffer.capacity() == 0 {
            self.buffer = buffers.take();
        }
        self.buffer.len()
    }

    /// Lets go of the buffer if nothing waits.
    pub(super) fn rest(&mut self, buffers: &mut Buffers) {
        if self.buffer.is_empty() && !self.is_stuck() {
            buffers.give_back(std::mem::take(&mut self.buffer), self.used);
            self.used = 0;
        }
    }

    fn grew(&mut self, now: BootTime, before: usize) {
        if !self.is_stuck() {
            self.moved_at = now;
        }
        self.encoded += (self.buffer.len() - before) as u64;
        self.packets = self.packets.saturating_add(1);
    }

    /// How many packets were added since the last call.
    pub(super) fn take_packets(&mut self) -> u32 {
        std::mem::take(&mut self.packets)
    }

    /// Everything that the shell has not had yet, if it holds nothing: one write at a time.
    pub(super) fn hand_over(&mut self) -> Option<Bytes> {
        if self.buffer.is_empty() || self.handed > self.taken {
            return None;
        }
        Some(self.take_rest())
    }

    /// Everything that the shell has not had yet, for the last write.
    pub(super) fn take_rest(&mut self) -> Bytes {
        self.handed = self.encoded;
        self.used = self.used.max(self.buffer.len());
        self.waits_for = StoreNumber::default();
        self.buffer.split().freeze()
    }

    /// The socket has taken that much more.
    pub(super) fn take(&mut self, now: BootTime, bytes: usize) {
        self.taken = (self.taken + bytes as u64).min(self.handed);
        self.moved_at = now;
    }

    /// How many bytes were encoded since the beginning: the place of what comes next.
    pub(super) fn encoded(&self) -> u64 {
        self.encoded
    }

    /// How many bytes the socket has taken since the beginning.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the bytes up to there were given to the shell, so that the client may have them.
    pub(super) fn was_handed(&self, ends_at: u64) -> bool {
        ends_at <= self.handed
    }

    /// How many bytes the socket has not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        usize::try_from(self.encoded - self.taken).unwrap_or(usize::MAX)
    }

    /// Since when the socket has taken nothing although it could; `None` if it has taken all.
    pub(super) fn stuck_since(&self) -> Option<BootTime> {
        self.is_stuck().then_some(self.moved_at)
    }

    fn is_stuck(&self) -> bool {
        self.encoded > self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Packet;

    #[test]
    fn bytes_are_handed_over_one_write_at_a_time() {
        let at = BootTime::from_micros;
        let encoder = Encoder::new(ProtocolVersion::V311);
        let (mut outgoing, mut buffers) = (Outgoing::default(), Buffers::default());
        outgoing.packet(&mut buffers, at(1), encoder, &Packet::Pingresp);
        assert_eq!(outgoing.hand_over().unwrap().len(), 2);
        outgoing.packet(&mut buffers, at(2), encoder, &Packet::Pingresp);
        assert_eq!(outgoing.hand_over(), None, "the first is not taken yet");
        assert!(outgoing.was_handed(2) && !outgoing.was_handed(4));
        assert_eq!(outgoing.stuck_since(), Some(at(1)));
        outgoing.take(at(3), 1);
        assert_eq!((outgoing.hand_over(), outgoing.waiting_bytes()), (None, 3));
        outgoing.take(at(4), 1);
        assert_eq!(outgoing.hand_over().unwrap().len(), 2);
        outgoing.rest(&mut buffers);
        assert_ne!(outgoing.buffer.capacity(), 0, "the socket has not taken all");
        outgoing.take(at(5), 2);
        outgoing.rest(&mut buffers);
        assert_eq!(outgoing.buffer.capacity(), 0);
        let again = outgoing.packet(&mut buffers, at(6), encoder, &Packet::Pingresp);
        assert!(again && outgoing.hand_over().is_some_and(|bytes| bytes.len() == 2));
        outgoing.take(at(7), 2);
        assert_eq!((outgoing.stuck_since(), outgoing.taken()), (None, 6));
    }

    #[test]
    fn an_idle_connection_owns_no_buffer() {
        let mut connection = Connection::new(BootTime::default(), 1, DecodeLimits::default());
        connection.receive(BytesMut::from(&[0x10_u8][..]));
        connection.keep_leftovers();
        assert_eq!(&connection.unread[..], [0x10]);
        connection.unread.clear();
        connection.keep_leftovers();
        assert_eq!((connection.unread.capacity(), connection.outgoing.buffer.capacity()), (0, 0));
    }
}
