//! One connection's socket, and what is to be done with it.

use std::cell::{Cell, RefCell};
use std::io;
use std::task::Waker;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

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
    /// The client has said goodbye.
    is_goodbye: Cell<bool>,
    /// The shard that the connection belongs to, if it is another one; set once, when this one has forgotten it.
    goes_to: RefCell<Option<(ShardIndex, Box<HandOver>)>>,
    /// The connection's task, which is woken when [`Socket::wants`] may have changed.
    task: RefCell<Option<Waker>>,
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
            is_goodbye: Cell::new(false),
            goes_to: RefCell::new(None),
            task: RefCell::new(None),
        }
    }

    pub(super) fn wants(&self) -> Wants {
        let end = self.last.borrow().is_some() || self.goes_to.borrow().is_some();
        Wants { read: !self.paused.get() && !end, write: !self.unwritten.borrow().is_empty(), end }
    }

    /// Has this task woken when [`Socket::wants`] may have changed.
    pub(super) fn wakes(&self, task: &Waker) {
        let mut kept = self.task.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(task)) {
            *kept = Some(task.clone());
        }
    }

    fn changed(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Reads what there is, as far as the buffer has room. A read that is shorter than that has emptied the socket, which epoll(7) says anew
    /// when there is more: so there is no need to ask it for nothing.
    pub(super) fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let mut read = None;
        let emptied = self.stream.try_io(Interest::READABLE, || {
            let bytes = self.stream.try_read_buf(buffer)?;
            read = Some(bytes);
            if (1..room).contains(&bytes) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(bytes) }
        });
        read.map_or(emptied, Ok)
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.changed();
    }

    /// The shard's next write; it gives one only when the one before is taken.
    pub(super) fn write(&self, bytes: Bytes) {
        debug_assert!(self.unwritten.borrow().is_empty(), "one write at a time");
        *self.unwritten.borrow_mut() = bytes;
    }

    pub(super) fn close(&self, last: Bytes, is_goodbye: bool) {
        *self.last.borrow_mut() = Some(last);
        self.is_goodbye.set(is_goodbye);
        self.changed();
    }

    /// Another shard goes on with it. What this one has written its client has: it has answered all of it.
    pub(super) fn hand_over(&self, to: ShardIndex, hand_over: Box<HandOver>) {
        debug_assert!(
            self.unwritten.borrow().is_empty(),
            "a client that waits for bytes has sent no CONNECT"
        );
        *self.goes_to.borrow_mut() = Some((to, hand_over));
        self.changed();
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
                    self.changed();
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

    /// Whether there is nothing to be written before the connection is closed, and nothing of the client on its way.
    pub(super) fn is_done(&self) -> bool {
        self.is_goodbye.get() && self.unwritten.borrow().is_empty()
    }

    /// What is still to be written before the connection is closed.
    pub(super) fn last_words(&self) -> [Bytes; 2] {
        [self.unwritten.take(), self.last.take().unwrap_or_default()]
    }
}
