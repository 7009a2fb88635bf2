//! What a process wants done.

use bytes::Bytes;
use roost_wire::Receipt;

use crate::amqp::ToBroker;
use crate::event::End;
use crate::socket::SocketId;
use crate::time::Micros;

#[derive(Debug)]
pub(crate) enum Effect {
    /// Write this to AMQP.
    Write { end: End, frames: Vec<ToBroker> },
    /// The connection is over for this end: close it, and make another if it is to come again.
    HangUp { end: End, again: bool },
    /// Make this connection now.
    Connect { end: End },
    /// Come back soon for the acknowledgements that wait.
    FlushSoon { end: End },
    /// Come back then with a tick.
    Tick { at: Micros },
    /// Write this to a device.
    SocketWrite { socket: SocketId, bytes: Bytes },
    /// Write this and close.
    SocketClose { socket: SocketId, last: Bytes },
    /// Do not read from it, or read again.
    SocketPause { socket: SocketId, paused: bool },
    /// The router's disk begins to sync up to this record.
    Sync { lsn: u64 },
    /// A gateway's disk begins to sync so many records of its spool.
    SpoolSync { many: usize },
    /// The router answers an HTTP request; without a receipt, it has no room.
    Answer { number: usize, receipt: Option<Box<Receipt>> },
    /// The router published a command of this device to this gateway's inbox.
    Forwarded { device: roost_wire::Device, gateway: roost_wire::GatewayId, epoch: roost_wire::Epoch },
    /// The router asks a gateway whether it holds this device.
    Asks { device: roost_wire::Device },
    /// The router has a session closed, by the gateway with this control queue.
    Closes { queue: String, device: roost_wire::Device, session: roost_wire::SessionId },
    /// A gateway has accepted a CONNECT of this device.
    Accepted {
        device: roost_wire::Device,
        incarnation: roost_wire::Incarnation,
        session: roost_wire::SessionId,
        /// At this moment, and not when its CONNECT came.
        is_now: bool,
    },
    /// The router says, in that run, that a device has come or gone.
    Says { run: roost_wire::RouterRun, presence: Box<roost_wire::Presence> },
    /// The router tells a sender, in that run. Whether it has taken that command itself, in this life.
    Told { run: roost_wire::RouterRun, is_its_own: bool, receipt: Box<Receipt> },
    /// The router does, or believes, what contradicts what it has read.
    Broken { what: String },
    /// A lease lapsed: the gateway's own (on a gateway), or some gateway's (on the router).
    Lapsed,
    /// A message was delivered that had been delivered before.
    Redelivered,
}
