//! A device's connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;

/// Something that bytes go through both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Stream for T {}

/// A connection, whatever it is made of.
pub(super) type Connection = Pin<Box<dyn Stream>>;

/// Connects from `source` if there is one.
pub(super) async fn connect(broker: SocketAddr, source: Option<IpAddr>) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(broker), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    let stream = TcpSocket::from_std_stream(socket.into()).connect(broker).await?;
    // A device's packets are small, and their delay is what is measured.
    stream.set_nodelay(true)?;
    Ok(Box::pin(stream))
}
