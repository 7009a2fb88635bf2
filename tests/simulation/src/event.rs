//! What can happen, and how a trace writes it.

use std::fmt;

use bytes::BytesMut;
use roost_backend::embedded::core::{Operation, Reply};
use roost_gateway::packet::Packet;
use roost_wire::Receipt;

use crate::amqp::{FromBroker, ToBroker, WireId};
use crate::device::Act;
use crate::socket::{Note, SocketId};
use crate::trace::digest;

/// A process of the mesh, or the service that uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeId {
    Gateway(usize),
    Router,
    Service,
}

/// One AMQP connection of a process, in each of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A gateway's events.
    Uplink,
    /// A gateway's reports.
    Mesh,
    /// A gateway's commands and control.
    Inbox,
    /// A router's or service's publications.
    Publisher,
    /// A router's sightings, settlements and dead letters, and its lock. A service's queue of events.
    Reports,
    /// A router's commands.
    Commands,
}

/// One thing that happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    BrokerReads {
        wire: WireId,
        frame: ToBroker,
    },
    BrokerLoses {
        wire: WireId,
    },
    BrokerSynced {
        life: u32,
        lsn: u64,
    },
    BrokerTick {
        life: u32,
    },
    BrokerStarts,
    ClientReads {
        wire: WireId,
        frame: FromBroker,
    },
    ClientLoses {
        wire: WireId,
    },
    /// A process makes a connection.
    Connect {
        node: NodeId,
        life: u32,
        end: End,
    },
    /// A consumer sends the acknowledgements that wait.
    Flush {
        node: NodeId,
        life: u32,
        end: End,
    },
    Tick {
        node: NodeId,
        life: u32,
    },
    Starts {
        node: NodeId,
        life: u32,
    },
    RouterSynced {
        life: u32,
        lsn: u64,
    },
    /// A gateway's disk has so many more records of its spool.
    SpoolSynced {
        gateway: usize,
        life: u32,
        many: usize,
    },
    GatewayAccepts {
        socket: SocketId,
    },
    GatewayReads {
        socket: SocketId,
        bytes: BytesMut,
        note: Option<Note>,
    },
    GatewayWrote {
        socket: SocketId,
        bytes: usize,
    },
    GatewayLoses {
        socket: SocketId,
    },
    DeviceReads {
        socket: SocketId,
        packet: Packet,
    },
    DeviceLoses {
        socket: SocketId,
    },
    DeviceActs {
        device: usize,
        act: Act,
    },
    /// The service sends the command with that number, by AMQP or HTTP.
    Send {
        number: usize,
    },
    /// An HTTP request reaches the router.
    HttpArrives {
        number: usize,
    },
    /// The sender was not answered since that attempt: it asks again.
    HttpRetries {
        number: usize,
        attempt: u32,
    },
    /// Its answer reaches the service; without a receipt, the router had no room.
    HttpAnswered {
        number: usize,
        receipt: Option<Box<Receipt>>,
    },
    /// The fault with that number begins.
    Fault {
        number: usize,
    },
    /// Connections of a process that pass in one direction only break.
    ConnectionsBreak {
        node: NodeId,
    },
    /// The same for devices' connections.
    SocketsBreak {
        sockets: Vec<SocketId>,
    },
    /// A service takes again what is in its queue.
    ServiceGoesOn,
    /// A machine that stood still goes on.
    Resume {
        node: NodeId,
    },
    /// Faults are over.
    Heal,
    /// Every second: what production's shells look at from time to time.
    Housekeeping,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(index) => write!(f, "gateway-{index}"),
            Self::Router => f.write_str("router"),
            Self::Service => f.write_str("service"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokerReads { wire, frame } => write!(f, "broker reads wire {}: {frame}", wire.0),
            Self::BrokerLoses { wire } => write!(f, "broker loses wire {}", wire.0),
            Self::BrokerSynced { life, lsn } => write!(f, "broker {life} synced {lsn}"),
            Self::BrokerTick { .. } => f.write_str("broker ticks"),
            Self::BrokerStarts => f.write_str("broker starts"),
            Self::ClientReads { wire, frame } => write!(f, "client reads wire {}: {frame}", wire.0),
            Self::ClientLoses { wire } => write!(f, "client loses wire {}", wire.0),
            Self::Connect { node, end, .. } => write!(f, "{node} connects {end:?}"),
            Self::Flush { node, end, .. } => write!(f, "{node} acknowledges on {end:?}"),
            Self::Tick { node, .. } => write!(f, "{node} ticks"),
            Self::Starts { node, .. } => write!(f, "{node} starts"),
            Self::RouterSynced { life, lsn } => write!(f, "router {life} synced {lsn}"),
            Self::SpoolSynced { gateway, life, many } => write!(f, "gateway {gateway} {life} synced {many}"),
            Self::GatewayAccepts { socket } => write!(f, "gateway accepts socket {}", socket.0),
            Self::GatewayReads { socket, bytes, note } => {
                write!(f, "gateway reads socket {}: {} B {:08x}", socket.0, bytes.len(), digest(bytes))?;
                note.as_ref().map_or(Ok(()), |note| write!(f, " ({note:?})"))
            }
            Self::GatewayWrote { socket, bytes } => write!(f, "gateway wrote socket {}: {bytes} B", socket.0),
            Self::GatewayLoses { socket } => write!(f, "gateway loses socket {}", socket.0),
            Self::DeviceReads { socket, packet } => {
                write!(f, "device reads socket {}: {:?}", socket.0, packet.packet_type())?;
                match packet {
                    Packet::Publish(publish) => {
                        write!(f, " {} {:?}", publish.topic.as_str(), publish.payload)
                    }
                    Packet::Connack(connack) => {
                        write!(f, " {:?}, session present {}", connack.reason, connack.session_present)
                    }
                    Packet::Disconnect(disconnect) => write!(f, " {:?}", disconnect.reason),
                    _ => Ok(()),
                }
            }
            Self::DeviceLoses { socket } => write!(f, "device loses socket {}", socket.0),
            Self::DeviceActs { device, act } => write!(f, "device {device}: {act:?}"),
            Self::Send { number } => write!(f, "service sends {number}"),
            Self::HttpArrives { number } => write!(f, "http request {number}"),
            Self::HttpRetries { number, .. } => write!(f, "service retries {number}"),
            Self::HttpAnswered { number, receipt: Some(receipt) } => {
                write!(f, "http answer {number}: {}", receipt.state)
            }
            Self::HttpAnswered { number, receipt: None } => write!(f, "http answer {number}: no room"),
            Self::Fault { number } => write!(f, "fault {number}"),
            Self::ConnectionsBreak { node } => write!(f, "{node}'s connections break"),
            Self::SocketsBreak { sockets } => write!(f, "{} sockets break", sockets.len()),
            Self::ServiceGoesOn => f.write_str("service goes on"),
            Self::Resume { node } => write!(f, "{node} goes on"),
            Self::Heal => f.write_str("healing"),
            Self::Housekeeping => f.write_str("housekeeping"),
        }
    }
}

impl fmt::Display for ToBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { user } => write!(f, "open as {user}"),
            Self::Close => f.write_str("close"),
            Self::Operation(channel, Operation::Publish(publication)) => {
                let (exchange, key, body) =
                    (&publication.exchange, &publication.routing_key, &publication.body);
                write!(f, "{} publish {exchange:?} {key} {} B {:08x}", channel.0, body.len(), digest(body))
            }
            Self::Operation(channel, Operation::Ack { delivery_tag, multiple }) => {
                write!(f, "{} ack {delivery_tag} {multiple}", channel.0)
            }
            Self::Operation(channel, Operation::Consume(subscription)) => {
                write!(f, "{} consume {}", channel.0, subscription.queue)
            }
            Self::Operation(channel, operation) => {
                let (class, method) = operation.method();
                write!(f, "{} method {class}.{method}", channel.0)
            }
        }
    }
}

impl fmt::Display for FromBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Blocked => f.write_str("blocked"),
            Self::Unblocked => f.write_str("unblocked"),
            Self::Reply(channel, Reply::Deliver { delivery, .. }) => {
                let body = &delivery.message.body;
                let again = if delivery.redelivered { " again" } else { "" };
                let tag = delivery.delivery_tag.0;
                write!(f, "{} delivery {tag}{again} {} B {:08x}", channel.0, body.len(), digest(body))
            }
            Self::Reply(channel, Reply::Confirmed { delivery_tag, multiple }) => {
                write!(f, "{} confirm {} {multiple}", channel.0, delivery_tag.0)
            }
            Self::Reply(channel, Reply::Refused { delivery_tag, .. }) => {
                write!(f, "{} nack {}", channel.0, delivery_tag.0)
            }
            Self::Reply(channel, Reply::Returned { message }) => {
                write!(f, "{} return {}", channel.0, message.routing_key)
            }
            Self::Reply(channel, _) => write!(f, "{} ok", channel.0),
        }
    }
}
