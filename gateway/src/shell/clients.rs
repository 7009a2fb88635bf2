//! One shard and the sockets of its clients.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use bytes::BytesMut;
use roost_ops::now;
use roost_wire::{BootTime, Now};
use tokio::net::TcpStream;

use super::metrics::ShellCounters;
use super::socket::Socket;
use super::telling::Telling;
use crate::placement::Numbered;
use crate::shard::{HandOver, Input, Output, Shard};
use crate::{ConnectionId, Notice, Placement, ShardIndex};

/// What is read at once, at most. One buffer serves all connections.
const READ_BYTES: usize = 64 * 1024;

/// When the buffer has less room than this, it is made anew (or taken over again, if nobody holds a part of it).
const READ_BYTES_MIN: usize = 4 * 1024;

/// A shard, and what it has in the world outside.
pub(super) struct Clients {
    pub(super) shard: Shard,
    placement: Placement,
    sockets: HashMap<ConnectionId, Rc<Socket>, Numbered>,
    connections: u64,
    /// Sockets that were given something to write since the last flush.
    to_flush: Vec<Rc<Socket>>,
    read_buffer: BytesMut,
    pub(super) counters: ShellCounters,
    pub(super) telling: Telling,
}

impl Clients {
    pub(super) fn new(shard: Shard, placement: Placement, telling: Telling) -> Self {
        Self {
            shard,
            placement,
            sockets: HashMap::default(),
            connections: 0,
            to_flush: Vec::new(),
            read_buffer: BytesMut::new(),
            counters: ShellCounters::default(),
            telling,
        }
    }

    pub(super) fn index(&self) -> ShardIndex {
        self.placement.index()
    }

    /// A connection was accepted.
    pub(super) fn open(&mut self, stream: TcpStream) -> Rc<Socket> {
        let connection = ConnectionId(self.placement.sequence(self.connections));
        self.connections += 1;
        let socket = self.insert(connection, stream);
        self.shard.handle(now(), Input::Opened { connection, entropy: rand::random() });
        socket
    }

    /// A connection has come from another shard.
    pub(super) fn take_over(&mut self, stream: TcpStream, hand_over: Box<HandOver>) -> Rc<Socket> {
        let socket = self.insert(hand_over.connection(), stream);
        self.shard.handle(now(), Input::HandedOver(hand_over));
        socket
    }

    /// The socket may have bytes; false when the connection is over.
    pub(super) fn receive(&mut self, socket: &Rc<Socket>) -> bool {
        if self.read_buffer.capacity() - self.read_buffer.len() < READ_BYTES_MIN {
            self.read_buffer.reserve(READ_BYTES);
        }
        let (goes_on, input) = match socket.read(&mut self.read_buffer) {
            Ok(read @ 1..) => {
                self.counters.received(read);
                (true, Input::Received { connection: socket.id, bytes: self.read_buffer.split() })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Ok(0) | Err(_) => {
                self.sockets.remove(&socket.id);
                (false, Input::Closed { connection: socket.id })
            }
        };
        self.shard.handle(now(), input);
        goes_on
    }

    /// Gives the socket what it takes; whether that was anything.
    pub(super) fn flush(&mut self, now: Now, socket: &Socket) -> bool {
        let bytes = socket.flush();
        self.counters.sent(bytes);
        if bytes > 0 {
            self.shard.handle(now, Input::Written { connection: socket.id, bytes });
        }
        bytes > 0
    }

    /// The same for all that were given something since; whether any has taken something.
    pub(super) fn flush_all(&mut self, now: Now) -> bool {
        let mut has_taken = false;
        for socket in std::mem::take(&mut self.to_flush) {
            has_taken |= self.flush(now, &socket);
        }
        has_taken
    }

    /// Does what the shard asks for that concerns its clients, up to the next thing that does not.
    pub(super) fn poll_output(&mut self, now: BootTime) -> Option<Output> {
        loop {
            match self.shard.poll_output()? {
                Output::Write { connection, bytes } => {
                    if let Some(socket) = self.sockets.get(&connection) {
                        socket.write(bytes);
                        self.to_flush.push(Rc::clone(socket));
                    }
                }
                Output::Close { connection, last, is_goodbye } => {
                    if let Some(socket) = self.sockets.remove(&connection) {
                        socket.close(last, is_goodbye);
                    }
                }
                Output::PauseReading { connection } => self.pause(connection, true),
                Output::ResumeReading { connection } => self.pause(connection, false),
                Output::HandOver { to, hand_over } => {
                    if let Some(socket) = self.sockets.remove(&hand_over.connection()) {
                        socket.hand_over(to, hand_over);
                    }
                }
                Output::Notice(notice) => self.tell(now, &notice),
                Output::Trace(trace) => self.telling.trace(*trace),
                other => return Some(other),
            }
        }
    }

    fn insert(&mut self, connection: ConnectionId, stream: TcpStream) -> Rc<Socket> {
        let socket = Rc::new(Socket::new(connection, stream));
        self.sockets.insert(connection, Rc::clone(&socket));
        socket
    }

    fn pause(&self, connection: ConnectionId, paused: bool) {
        if let Some(socket) = self.sockets.get(&connection) {
            socket.pause(paused);
        }
    }

    fn tell(&mut self, now: BootTime, notice: &Notice) {
        let address =
            |id: &ConnectionId| self.sockets.get(id).and_then(|socket| socket.stream.peer_addr().ok());
        match notice {
            Notice::SharedClientId { device, newcomer, holder } => {
                let addresses = (address(newcomer), holder.as_ref().and_then(address));
                self.telling.shared_client_id(now, device, addresses);
            }
            Notice::LoginRefused { connection, device, user, why } => {
                let address = address(connection);
                self.telling.login_refused(now, (device.as_ref(), user.as_ref()), *why, address);
            }
            Notice::SessionFetched { took: Some(took), .. } => self.counters.fetched(*took),
            _ => {}
        }
        self.telling.notice(now, notice);
    }
}
