//! AMQP servers that are there, and one that is not.

use std::net::{Ipv4Addr, SocketAddr};

use roost_backend::AmqpAddress;
use roost_backend::embedded::{EmbeddedBroker, EmbeddedConfig};
use socket2::{Domain, Socket, Type};

/// An address where nobody listens, and nobody can as long as this lives.
pub(crate) struct Nobody {
    _socket: Socket,
    address: SocketAddr,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { _socket: socket, address }
    }

    pub(crate) fn address(&self) -> AmqpAddress {
        at(self.address)
    }
}

/// The embedded broker, in memory, on a free port.
pub(crate) async fn embedded() -> EmbeddedBroker {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    EmbeddedBroker::start(EmbeddedConfig { listen, ..EmbeddedConfig::default() }).await.unwrap()
}

pub(crate) fn at(address: SocketAddr) -> AmqpAddress {
    format!("amqp://{address}").parse().unwrap()
}
