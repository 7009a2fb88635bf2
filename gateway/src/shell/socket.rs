//! One connection's socket, and what is to be done with it.

use std::cell::{Cell, RefCell};
use std::io;

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::shard::HandOver;
use crate::{ConnectionId, ShardIndex};

/// Shared by the world, which decides, and the connection's task, which waits. It owns no buffer of its own: what is to be
/// written is the shard's, what is read goes into the world's.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: ConnectionId,
    pub(super) stream: TcpStream,
    /// What the shard gave to write and the socket has not taken.
    unwritten: RefCell<Bytes>,
    paused: Cell<bool>,
    /// The last words; set once, when the shard has forgotten the connection.
    last: RefCell<Option<Bytes>>,
    /// The shard that the connection belongs to, if it is another one; set once, when this one has forgotten it.
    goes_to: RefCell<Option<(ShardIndex, Box<HandOver>)>>,
    changed: Notify,
}

/// What a connection's task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wants {
    pub(super) read: bool,
    pub(super) write: bool,
    /// It is over here: closed, or another shard's.
    pub(super) end: bool,
}

impl Socket {
    pub(super) fn new(id: ConnectionId, stream: TcpStream) -> Self {
        Self {
            id,
            stream,
            unwritten: RefCell::default(),
            paused: Cell::new(false),
            last: RefCell::new(None),
            goes_to: RefCell::new(None),
            changed: Notify::new(),
        }
    }

    pub(super) fn wants(&self) -> Wants {
        let end = self.last.borrow().is_some() || self.goes_to.borrow().is_some();
        Wants { read: !self.paused.get() && !end, write: !self.unwritten.borrow().is_empty(), end }
    }

    /// Returns when [`Socket::wants`] may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.changed.notify_one();
    }

    /// The shard's next write; it gives one only when the one before is taken.
    pub(super) fn write(&self, bytes: Bytes) {
        debug_assert!(self.unwritten.borrow().is_empty(), "one write at a time");
        *self.unwritten.borrow_mut() = bytes;
    }

    pub(super) fn close(&self, last: Bytes) {
        *self.last.borrow_mut() = Some(last);
        self.changed.notify_one();
    }

    /// Another shard goes on with it. What this one has written its client has: it has answered all of it.
    pub(super) fn hand_over(&self, to: ShardIndex, hand_over: Box<HandOver>) {
        debug_assert!(
            self.unwritten.borrow().is_empty(),
            "a client that waits for bytes has sent no CONNECT"
        );
        *self.goes_to.borrow_mut() = Some((to, hand_over));
        self.changed.notify_one();
    }

    /// Where the connection goes on, if it does.
    pub(super) fn goes_to(&self) -> Option<(ShardIndex, Box<HandOver>)> {
        self.goes_to.take()
    }

    /// Gives the socket what it takes now; returns how much that was. What is left has its task wait until more is taken.
    pub(super) fn flush(&self) -> usize {
        let mut unwritten = self.unwritten.borrow_mut();
        let mut taken = 0;
        while !unwritten.is_empty() {
            match self.stream.try_write(&unwritten) {
                Ok(bytes) => {
                    unwritten.advance(bytes);
                    taken += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.changed.notify_one();
                    break;
                }
                // Broken: the reading side notices and says so; what is left is nobody's.
                Err(_) => {
                    unwritten.clear();
                    break;
                }
            }
        }
        if unwritten.is_empty() {
            // Lets go of the shard's buffer.
            *unwritten = Bytes::new();
        }
        taken
    }

    /// What is still to be written before the connection is closed.
    pub(super) fn last_words(&self) -> [Bytes; 2] {
        [self.unwritten.take(), self.last.take().unwrap_or_default()]
    }
}
