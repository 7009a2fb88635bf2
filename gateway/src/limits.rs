//! Every bound of the gateway's core, with its default and what happens when it is reached.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::packet::DecodeLimits;
use crate::session::QueueBounds;
use crate::spool::WhenFull;

/// The bounds of one shard, or of all of a process together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What the decoder takes. Beyond: the connection ends with the reason code of the broken limit.
    pub decode: DecodeLimits,
    /// Transport connections. Beyond: closed at once, counted.
    pub connections_max: usize,
    /// Sessions, connected or kept. Beyond: CONNACK 0x97 (v3.1.1: 0x03).
    pub sessions_max: usize,
    /// From the transport connection to CONNECT, and to the last AUTH of a client that has to show who it is. Then: closed.
    pub connect_timeout: Duration,
    /// From an AUTH that begins to show again who a client is to its last one. Then: DISCONNECT 0x87.
    pub reauthentication_timeout: Duration,
    /// How long a session is kept that its client wants kept. A longer wish is cut, and CONNACK says so.
    pub session_expiry_max: Duration,
    /// The longest keep alive of a v5 client. Beyond, and where a client wants none: it is told to use this one [MQTT-3.1.2-21]. That of an
    /// older version cannot be told, and its own stands. None: every client's stands.
    pub keep_alive_s_max: Option<NonZeroU16>,
    /// How often in a row a live connection of one client id may be taken over. Beyond: the newcomer's CONNACK is 0x9F (v3.1.1: 0x03),
    /// and the one that is connected stays.
    pub takeovers_burst: u32,
    /// After this time one more takeover of that id is allowed.
    pub takeover_every: Duration,
    /// Subscriptions of one session. Beyond: SUBACK 0x97 (v3.1.1: 0x80).
    pub subscriptions_max: usize,
    /// Retained messages. Beyond: v5's PUBACK or PUBREC is 0x97; else the message is routed and not retained, nor is the one before it any
    /// longer.
    pub retained_messages_max: usize,
    /// Their topics, payloads and properties. Beyond: as above.
    pub retained_bytes_max: usize,
    /// Bytes of wills, of clients that are connected and of those that were, and 256 for each. Beyond: CONNECT with a will is refused, 0x97
    /// (v3.1.1: 0x03).
    pub wills_bytes_max: usize,
    /// What becomes of the will of a device that has connected at another gateway.
    pub will_on_takeover: WillOnTakeover,
    /// Publishes at QoS 1 and 2 that one client may have unanswered: the Receive Maximum of CONNACK. Beyond: v5 is
    /// disconnected with 0x93 [MQTT-3.3.4-7]; from v3.1.1, which knows no such bound, nothing more is read.
    pub receive_maximum: NonZeroU16,
    /// Ids of publishes at QoS 2 that one session remembers until PUBREL; twice the receive maximum if that is more. Beyond: the client
    /// that sends another is disconnected (0x93).
    pub received_ids_max: usize,
    /// Topic aliases of one connection, each way: the Topic Alias Maximum of CONNACK, and as many, or fewer if the client takes fewer, does
    /// the gateway use. Beyond: v5 is disconnected with 0x94 [MQTT-3.2.2-17]; the gateway gives an alias to another topic. 0: none. The
    /// topics that a client gives aliases are 64 KiB at most together; beyond: disconnected (0x97), counted.
    pub topic_alias_maximum: u16,
    /// Messages sent to one client and not acknowledged, or less if the client says so. Beyond: they wait in the queue.
    pub inflight_max: NonZeroU16,
    /// Messages waiting for one session. Beyond: publishers wait for one whose client acknowledges, however slowly. For one that is *stalled*,
    /// whose client has acknowledged nothing for `stalled_after`, more is kept, see `stalled_queue_factor`. For one that is away
    /// `when_away_full` says what becomes of the message. What a member of a group has left behind may fill the queue of another as far as that of one that is stalled, and at least to twice.
    pub queue_messages_max: usize,
    /// Payload and topic bytes waiting for one session. Beyond: as above.
    pub queue_bytes_max: usize,
    /// From when on a client that owes acknowledgements and sends none is stalled.
    pub stalled_after: Duration,
    /// How many times both bounds may wait for a session that is stalled, so that nobody waits for it. Beyond: publishers wait, for
    /// `patience`.
    pub stalled_queue_factor: usize,
    /// Bytes in the queues of all sessions of the shard. Beyond: no session that is stalled is given more than its bounds.
    pub queued_bytes_total_max: usize,
    /// For how long publishers wait at most for a client that acknowledges nothing. Then: disconnected (0x97), counted.
    pub patience: Duration,
    /// What becomes of a message for a session that is away and has no room for it.
    pub when_away_full: WhenAwayFull,
    /// Bytes encoded for one connection and not taken by its socket. Beyond: no PUBLISH is added (QoS 0 is dropped and
    /// counted, QoS 1 and 2 wait in the queue) and nothing more is read from the client.
    pub outgoing_bytes_max: usize,
    /// Bytes of publishes that wait in one connection for their turn. Beyond: nothing more is read from the client.
    pub parked_bytes_max: usize,
    /// The same for the whole shard. Beyond: nothing more is read from a client that would add to it.
    pub parked_bytes_total_max: usize,
    /// For how long a client may take nothing that others wait for, or for which more is kept than its queue's bounds. Then: disconnected
    /// (0x97), counted.
    pub stall_timeout: Duration,
    /// Events published and not answered by the backend. Beyond: publishes wait, their clients are paused and resumed
    /// in turn; QoS 0 stops at three quarters of it and is dropped and counted.
    pub uplink_events_max: usize,
    /// Payload bytes of the same. Beyond: as above.
    pub uplink_bytes_max: usize,
    /// What becomes of an event whose spool is full.
    pub when_spool_full: WhenFull,
    /// Broadcasts that wait for a subscriber that is connected and full. The broker keeps the next ones meanwhile; beyond, as after links
    /// that were lost: dropped and counted.
    pub broadcasts_max: usize,
    /// Topic, payload and property bytes of the same. Beyond: as above.
    pub broadcast_bytes_max: usize,
    /// Commands written or waiting for one device. Beyond: returned as `full`. The router's window is as large.
    pub device_commands_max: usize,
    /// Commands written or waiting in the shard. Beyond: returned as `full`.
    pub commands_max: usize,
    /// Payload bytes of the same. Beyond: returned as `full`.
    pub command_bytes_max: usize,
    /// How long a CONNECT waits for the session that its device had elsewhere. Then: a fresh one, counted. Zero: nobody asks, each
    /// gateway keeps its own sessions, and none is handed over.
    pub session_transfer: Duration,
    /// CONNECTs that wait so at once. Beyond: a fresh session at once, counted.
    pub fetches_max: usize,
    /// Sessions handed over and not confirmed by the broker. Beyond: one more stays here, and its device begins anew elsewhere.
    pub session_moves_max: usize,
    /// Bytes of one session that is handed over. Beyond: its oldest messages stay behind, counted.
    pub session_bytes_max: usize,
    /// From writing a command to its PUBACK. Then: the connection is closed and the command is settled as timed out.
    pub settle_timeout: Duration,
}

/// What becomes of the will of a device whose older connection is closed since it has connected at another gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillOnTakeover {
    /// It is discarded: the device is there, seen from the mesh as a whole.
    Discard,
    /// It is published, as at the same gateway, unless it has a delay and the session goes on there.
    Publish,
}

/// What becomes of a message at QoS 1 or 2 for a session that is away and whose queue is full. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAwayFull {
    /// It is dropped for that session.
    DropNewest,
    /// The oldest that waits is dropped for it.
    DropOldest,
    /// Its publisher is told 0x97 and nobody gets it, if it speaks MQTT 5; for an older one, which cannot be told, and for a will it is
    /// dropped for that session.
    Refuse,
}

impl Limits {
    /// The bounds of one of so many shards that have these bounds together. What is retained each keeps whole; broadcasts come to each.
    #[must_use]
    pub fn of_one_of(&self, shards: u16) -> Self {
        let part = |all: usize| all.div_ceil(usize::from(shards)).max(1);
        Self {
            connections_max: part(self.connections_max),
            sessions_max: part(self.sessions_max),
            wills_bytes_max: part(self.wills_bytes_max),
            queued_bytes_total_max: part(self.queued_bytes_total_max),
            parked_bytes_total_max: part(self.parked_bytes_total_max),
            uplink_events_max: part(self.uplink_events_max),
            uplink_bytes_max: part(self.uplink_bytes_max),
            commands_max: part(self.commands_max),
            command_bytes_max: part(self.command_bytes_max),
            fetches_max: part(self.fetches_max),
            session_moves_max: part(self.session_moves_max),
            ..self.clone()
        }
    }

    /// What may wait for one session.
    pub(crate) const fn queue(&self) -> QueueBounds {
        QueueBounds { messages: self.queue_messages_max, bytes: self.queue_bytes_max }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decode: DecodeLimits::default(),
            // A process has 20,000 descriptors on the machines we know; one shard may have to take them all.
            connections_max: 100_000,
            // Devices that roam leave sessions behind until these expire.
            sessions_max: 200_000,
            connect_timeout: Duration::from_secs(10),
            // As the first time.
            reauthentication_timeout: Duration::from_secs(10),
            // A long weekend and then some: what is away for longer starts anew.
            session_expiry_max: Duration::from_secs(7 * 24 * 3_600),
            // Devices know their radio and their battery best.
            keep_alive_s_max: None,
            // A device that loses its connection with each handover of its radio is not refused; two that share an id and reconnect
            // each second are told apart from it within half a minute.
            takeovers_burst: 20,
            // About the keep alive of an impatient device: who is refused wrongly gets through with its next attempts.
            takeover_every: Duration::from_secs(10),
            // Applications subscribe to a list of devices one by one; devices to a handful of topics.
            subscriptions_max: 1_000,
            // Ten for each of 10,000 devices; with what each costs beside its bytes, some 30 MB more.
            retained_messages_max: 100_000,
            retained_bytes_max: 64 * 1024 * 1024,
            // 600 bytes for each of 100,000 connections.
            wills_bytes_max: 64 * 1024 * 1024,
            will_on_takeover: WillOnTakeover::Discard,
            // 100 publishes of a device on a 200 ms path are 500 a second: more than devices send.
            receive_maximum: NonZeroU16::MIN.saturating_add(99),
            // A device publishes to a handful of topics; a dashboard that follows thousands gains nothing.
            topic_alias_maximum: 16,
            // A v5 client that keeps to the receive maximum never has as many. A 3.1.1 client has no bound, and its PUBRELs stand behind
            // what it published at once: waiting for them would never end. Some 300 KB.
            received_ids_max: 16 * 1024,
            inflight_max: NonZeroU16::MIN.saturating_add(99),
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            // Some round trips on a bad path; what comes meanwhile at the highest rates fits into no queue.
            stalled_after: Duration::from_secs(1),
            // A subscriber of 200 messages a second is closed for its silence before it reaches that.
            stalled_queue_factor: 8,
            // Thirty that are stalled, with all they may have.
            queued_bytes_total_max: 256 * 1024 * 1024,
            // A radio's handover. A subscriber that needs longer does not take such rates.
            patience: Duration::from_secs(5),
            // The order of what it gets has no gap in the middle, and what it missed is the newest, which is said again soonest.
            when_away_full: WhenAwayFull::DropNewest,
            // About what a kernel buffers for a slow reader as well.
            outgoing_bytes_max: 128 * 1024,
            parked_bytes_max: 256 * 1024,
            parked_bytes_total_max: 64 * 1024 * 1024,
            stall_timeout: Duration::from_secs(30),
            // The publisher's window of unconfirmed messages.
            uplink_events_max: 2_000,
            uplink_bytes_max: 32 * 1024 * 1024,
            when_spool_full: WhenFull::Withhold,
            // Five times what the broker sends ahead.
            broadcasts_max: 1_000,
            // As many bytes as the broker may send ahead of the largest packets, and a quarter more.
            broadcast_bytes_max: 64 * 1024 * 1024,
            device_commands_max: 16,
            commands_max: 10_000,
            command_bytes_max: 64 * 1024 * 1024,
            // Some round trips over a bad path between continents; a person who waits for a device begins to doubt.
            session_transfer: Duration::from_secs(2),
            // Their CONNECTs are 16 KiB at most. With a round trip of 20 ms that is 50,000 devices a second.
            fetches_max: 1_000,
            // 128 MiB, if all of them are as large as they may be.
            session_moves_max: 32,
            // A full queue and a full window fit four times; brokers take 16 MiB.
            session_bytes_max: 4 * 1024 * 1024,
            settle_timeout: Duration::from_secs(30),
        }
    }
}
