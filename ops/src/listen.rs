//! Binding a port, with an error that a person can act on.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// How many connections may wait in the kernel until they are accepted: a fleet that comes back at once fills a small
/// backlog in a blink. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Why a port is not there. The operator is to act: the same call fails until something has changed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error(
        "{what} cannot listen on {address}: the port is in use; stop the process that has it, or choose another port"
    )]
    InUse {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// Only loopback is allowed.
    #[error(
        "{what} may not listen on {address}: it asks for no token yet, so only loopback addresses are allowed; use 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// Anything else, for example an address that this machine does not have.
    #[error("{what} cannot listen on {address}: {source}")]
    Io {
        /// What wanted to listen.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on `address`; port 0 takes a free one. `what` names the listener in the error.
///
/// # Errors
/// [`ListenError`], which tells the operator what to do.
pub fn listen(what: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse { what, address },
        _ => ListenError::Io { what, address, source },
    })
}

/// As [`listen`], for what is not safe to show to others.
///
/// # Errors
/// [`ListenError::NotLoopback`] for any address but 127.0.0.0/8 and ::1.
pub fn listen_on_loopback(what: &'static str, address: SocketAddr) -> Result<TcpListener, ListenError> {
    match address.ip().is_loopback() {
        true => listen(what, address),
        false => Err(ListenError::NotLoopback { what, address }),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last run to leave TIME_WAIT. It does not share a port in use.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Small packets must not wait for each other's acknowledgements. What is accepted has it from its listener (tcp(7)), without a call
    // for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let first = listen("the test", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen("gateway eu-1", address).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }));
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("gateway eu-1"), "{text}");
    }

    #[tokio::test]
    async fn what_is_accepted_sends_small_packets_at_once() {
        let listener = listen("the test", "127.0.0.1:0".parse().unwrap()).unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        assert!(accepted.unwrap().0.nodelay().unwrap());
        drop(client);
    }

    #[tokio::test]
    async fn what_asks_for_no_token_stays_on_loopback() {
        let error = listen_on_loopback("HTTP API", "0.0.0.0:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, ListenError::NotLoopback { .. }), "{error}");
        assert!(listen_on_loopback("HTTP API", "127.0.0.1:0".parse().unwrap()).is_ok());
    }
}
