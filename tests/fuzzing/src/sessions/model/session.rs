//! What the broker keeps for one client.

use super::Message;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: usize,
    pub(super) serial: u64,
    pub(super) connection: Option<Connection>,
    pub(super) expiry_ms: u64,
    pub(super) expires_at: Option<u64>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Behind what was sent.
    pub(super) queue: Vec<Waiting>,
    /// Not acknowledged, in the order of their first sending; the first `sent_now` on this connection.
    pub(super) sent: Vec<Sent>,
    pub(super) sent_now: usize,
    /// Ids of QoS 2 that wait for PUBCOMP.
    pub(super) released: Vec<u16>,
    /// What its client has published at QoS 2 and not released.
    pub(super) received: Vec<(u16, Received)>,
    /// Left by an earlier connection, and when it is due.
    pub(super) will: Option<(u64, (Message, u8))>,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    pub(super) heard_at: u64,
    pub(super) keep_alive_ms: u64,
    pub(super) window: usize,
    /// With its delay.
    pub(super) will: Option<(u64, (Message, u8))>,
    pub(super) wished_expiry: bool,
    /// Publishes that have no answer yet; those are given in order.
    pub(super) pending: Vec<Pending>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) publish: u64,
    pub(super) id: u16,
    pub(super) qos: u8,
    pub(super) reason: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    OnItsWay,
    Settled(u8),
    /// On this connection.
    Told(u8),
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) filter: usize,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<u32>,
}

/// A copy for one subscriber.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) message: Message,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) subscription_ids: Vec<u32>,
}

#[derive(Debug)]
pub(super) enum Waiting {
    Message(Copied),
    /// A retained message, if that is still kept when its turn comes.
    Kept {
        number: u64,
        subscription: Subscription,
    },
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) serial: u64,
    pub(super) id: Option<u16>,
    pub(super) dup: bool,
    pub(super) copy: Copied,
}

impl Session {
    pub(super) fn new(client: usize, serial: u64) -> Self {
        Self {
            client,
            serial,
            connection: None,
            expiry_ms: 0,
            expires_at: None,
            subscriptions: Vec::new(),
            queue: Vec::new(),
            sent: Vec::new(),
            sent_now: 0,
            released: Vec::new(),
            received: Vec::new(),
            will: None,
        }
    }

    /// Messages that wait; retained ones wait elsewhere.
    pub(super) fn queued(&self) -> usize {
        self.queue.iter().filter(|waiting| matches!(waiting, Waiting::Message(_))).count()
    }

    pub(super) fn received(&mut self, id: u16) -> Option<&mut Received> {
        self.received.iter_mut().find(|(it, _)| *it == id).map(|(_, received)| received)
    }
}

impl Connection {
    /// When its silence is one and a half times what was agreed.
    pub(super) fn silent_at(&self) -> Option<u64> {
        (self.keep_alive_ms > 0).then(|| self.heard_at + self.keep_alive_ms * 3 / 2)
    }
}
