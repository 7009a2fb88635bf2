//! A session: what the gateway keeps for one client id, across its connections for as long as the client asked for.

mod carried;
mod catch_up;
mod disk;
mod outbox;
pub(crate) mod packed;
mod pending;
mod received;
mod will;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use carried::{Carried, CarriedError, CarriedShare};
pub(crate) use catch_up::{CatchUp, Pass};
pub(crate) use disk::{DiskCopy, DiskHead};
pub(crate) use outbox::{Depth, LocalCopy, Outbox, OutboxChange, QueueBounds, SharedCopy};
pub(crate) use pending::{Answer, Pending, Publisher};
pub(crate) use received::{Arrival, Received, Release};
use roost_wire::{BootTime, Device, Present, SessionId};
pub(crate) use will::{DueWill, PendingWill, Will, WillError};

use crate::ConnectionId;
use crate::hold::Hold;
use crate::packet::PacketId;

/// Names a session inside its shard. The mesh's [`SessionId`] changes with every CONNECT; this stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey(pub(crate) u64);

/// The state of one client id.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) device: Device,
    /// The newest CONNECT's.
    pub(crate) id: SessionId,
    /// The one that it began with here: those from that one on were resumed from each other.
    pub(crate) first: Option<SessionId>,
    /// Nobody can say whether it is its device's newest: it ends with its connection.
    pub(crate) is_doubted: bool,
    /// It took the place of one that its client wanted, and nothing has come from the client since: it may not know. Then it ends with its
    /// connection too, so that the client is told the next time.
    pub(crate) is_untold: bool,
    pub(crate) accepted_at: BootTime,
    pub(crate) connection: Option<ConnectionId>,
    /// For how long it outlives its connection.
    pub(crate) expiry: Duration,
    /// Set while it is away.
    pub(crate) expires_at: Option<BootTime>,
    /// The shard's era in which its device came: in another one a connection that looks open says nothing of where the device was since.
    pub(crate) entered_in: u64,
    /// The shard's era in which its device left: in another one the device may have been elsewhere since.
    pub(crate) left_in: u64,
    /// How many there are, shared ones among them.
    pub(crate) subscriptions: usize,
    /// How many groups it is in.
    pub(crate) shared: u32,
    pub(crate) outbox: Outbox,
    /// Retained messages that it is owed.
    pub(crate) catch_up: CatchUp,
    /// What its client has published at QoS 2 and not released.
    pub(crate) received: Received,
    /// Commands; empty while it is away.
    pub(crate) hold: Hold,
    /// What its client wants published if it does not come back in time; none while it is connected.
    pub(crate) will: Option<PendingWill>,
    /// Publishers that wait until it has room, the longest first. At most once each.
    pub(crate) holds_up: VecDeque<ConnectionId>,
    /// Since when others wait for its client, or more waits for it than its bounds, and it has taken nothing.
    pub(crate) stalled_since: Option<BootTime>,
    /// When its client last acknowledged anything, or began to owe an acknowledgement.
    pub(crate) moved_at: BootTime,
    pub(crate) disk: DiskCopy,
    last_packet_id: Option<PacketId>,
}

impl Session {
    pub(crate) fn new(device: Device, id: SessionId, accepted_at: BootTime) -> Self {
        Self {
            device,
            id,
            first: None,
            is_doubted: false,
            is_untold: false,
            accepted_at,
            connection: None,
            expiry: Duration::ZERO,
            expires_at: None,
            entered_in: 0,
            left_in: 0,
            subscriptions: 0,
            shared: 0,
            outbox: Outbox::new(),
            catch_up: CatchUp::default(),
            received: Received::default(),
            hold: Hold::default(),
            will: None,
            holds_up: VecDeque::new(),
            stalled_since: None,
            moved_at: accepted_at,
            disk: DiskCopy::default(),
            last_packet_id: None,
        }
    }

    /// It goes on under the number of a newer CONNECT.
    pub(crate) fn renumber(&mut self, id: SessionId, accepted_at: BootTime) {
        (self.id, self.accepted_at) = (id, accepted_at);
        self.disk.is_of_earlier_boot = false;
        self.first.get_or_insert(id);
    }

    /// Whether it is that session, or was resumed from it here: what is said of the one holds for the other.
    pub(crate) fn continues(&self, id: SessionId) -> bool {
        self.first.is_some_and(|first| (first..=self.id).contains(&id))
    }

    /// Where it is, for the router.
    pub(crate) fn present(&self) -> Present {
        Present { device: self.device.clone(), session: self.id, accepted_at: self.accepted_at }
    }

    /// Whether a message may be written: one that was sent before, or the first that waits, unless retained messages come before it.
    pub(crate) fn has_due(&self) -> bool {
        self.outbox.sends_again() || (self.outbox.has_due() && !self.catch_up.precedes(self.outbox.taken()))
    }

    /// Takes out a copy that goes to another session, or nowhere; the place is [`SharedCopy::at`].
    pub(crate) fn take_shared(&mut self, at: usize) {
        if let Some(place) = self.outbox.take_at(at) {
            self.catch_up.moves_up_behind(place);
        }
    }

    /// How many publishes the client has not acknowledged, commands among them: what its receive maximum bounds
    /// [MQTT-3.3.4-9].
    pub(crate) fn unacknowledged(&self) -> usize {
        self.outbox.unacknowledged() + self.hold.unacknowledged()
    }

    /// A packet id that nothing unacknowledged has [MQTT-2.2.1-3]; the ids of the client's own publishes are others. There is one: far
    /// fewer than 65,535 are in use.
    pub(crate) fn next_packet_id(&mut self) -> PacketId {
        let mut id = self.last_packet_id.map_or(PacketId::FIRST, PacketId::next);
        while self.outbox.uses(id) || self.hold.uses(id) {
            id = id.next();
        }
        self.last_packet_id = Some(id);
        id
    }
}
