//! One connection to the cluster, made and ended within bounds.
//!
//! **Why not lapin's own recovery** (`enable_auto_recover`). It replays exchanges, queues, bindings and consumers on the old
//! channel objects, but resets the delivery tags and fails the confirms that were open, so publishing again is ours in any
//! case; it sleeps in its I/O thread with a backoff of its own, without jitter; a channel that the broker closed stays
//! in its hands while we must know *why* it was closed; and tags of the old and the new link cannot be told apart by the
//! application. A fresh connection per link has one state less: it is up, or it is gone with a reason.
//!
//! lapin runs one thread per connection. That thread ends when the socket does, so a link keeps a second handle of its
//! socket and shuts it down when the connection does not answer in time: no thread and no descriptor stays behind.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, Error, Event};

use super::down_reason::DownReason;
use super::race::Heard;
use crate::{AmqpAddress, AmqpNode};

/// How a link is made, kept and made again.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Where the cluster is. Of several nodes each attempt tries all, beginning with any: a fleet of gateways spreads over them. One that says
    /// nothing for 3 s is not waited for alone.
    pub address: AmqpAddress,
    /// What operators read in RabbitMQ's list of connections; the publishing and the consuming end add which they are.
    pub connection_name: String,
    /// AMQP heartbeats, in seconds: a peer silent for twice as long is gone. 0 leaves it to the broker.
    pub heartbeat_s: u16,
    /// How long the broker may take for any one answer: the TCP connection, the handshake, a declaration, a confirm.
    pub timeout: Duration,
    /// The most that is waited before the second attempt. Each wait is drawn from zero to a bound that doubles from here
    /// ("full jitter", so that a fleet of gateways does not come back in one wave).
    pub retry_first: Duration,
    /// The bound of that bound.
    pub retry_max: Duration,
}

impl LinkConfig {
    /// A link with the defaults.
    ///
    /// Heartbeat 10 s: a dead peer is noticed within 20 s, and RabbitMQ advises against less than 5 s. Time-out 10 s: a
    /// quorum queue elects a new leader in less. Retries from 100 ms, since most losses are short, up to 1 s: while a
    /// gateway is cut off, its devices' commands wait, and a device that has moved away may have two live sessions. A hundred gateways that
    /// try a cluster that is down are three hundred attempts a second, which are refused.
    #[must_use]
    pub fn new(address: AmqpAddress, connection_name: impl Into<String>) -> Self {
        Self {
            address,
            connection_name: connection_name.into(),
            heartbeat_s: 10,
            timeout: Duration::from_secs(10),
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(1),
        }
    }
}

/// A connection that is up.
pub(super) struct Link {
    connection: Connection,
    socket: Socket,
    timeout: Duration,
    heard: Heard,
}

impl Link {
    /// Connects to a node and shakes hands.
    pub(super) async fn open(
        config: &LinkConfig,
        node: &AmqpNode,
        end: &str,
        heard: Heard,
    ) -> Result<Self, DownReason> {
        let socket = Socket::default();
        let address = config.address.through(&node.host, node.port);
        let what = format!("connecting to {address}");
        let connecting = connect(config, &address, end, Arc::clone(&socket.0));
        let connecting = within(config.timeout, &what, connecting).await;
        let connection = connecting.map_err(DownReason::before_the_link)?;
        heard.note();
        Ok(Self { connection, socket, timeout: config.timeout, heard })
    }

    /// Waits for one answer of the broker, as long as it may take.
    pub(super) async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, DownReason> {
        let answer = within(self.timeout, what, answer).await;
        self.heard.note();
        answer
    }

    pub(super) async fn channel(&self) -> Result<Channel, DownReason> {
        self.ask("opening a channel", self.connection.create_channel()).await
    }

    pub(super) fn events(&self) -> impl Stream<Item = Event> + Send + 'static {
        self.connection.events_listener()
    }

    /// The most bytes in one frame.
    pub(super) fn frame_max(&self) -> usize {
        usize::try_from(self.connection.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// Closes politely if the broker answers in time, else cuts; and waits for lapin's thread either way.
    pub(super) async fn end(self) {
        let Self { connection, socket, timeout, .. } = self;
        let closing = connection.close(200, "OK".into());
        if within(timeout.min(CLOSE_MAX), "closing", closing).await.is_err() {
            socket.cut();
        }
        // Joining is a blocking call; the socket is shut, so it is a short one.
        let joined = tokio::task::spawn_blocking(move || connection.run());
        if tokio::time::timeout(CLOSE_MAX, joined).await.is_err() {
            tracing::warn!("the thread of an AMQP connection did not end in time");
        }
    }
}

/// How long a machine may take to accept a connection where there is another node to try: one that has lost its power or its
/// network says nothing, and a living one answers within some round trips.
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a close may take: whoever does not answer by then will not be missed.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// A second handle of a connection's socket; dropping it ends the connection, and with it lapin's thread.
#[derive(Default)]
struct Socket(Arc<Mutex<SocketState>>);

#[derive(Default)]
enum SocketState {
    #[default]
    Connecting,
    Connected(TcpStream),
    Cut,
}

impl Socket {
    /// What lapin's thread calls when it has connected.
    fn keep(state: &Mutex<SocketState>, stream: TcpStream) {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            SocketState::Cut => shut(&stream),
            SocketState::Connecting | SocketState::Connected(_) => *state = SocketState::Connected(stream),
        }
    }

    fn cut(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SocketState::Connected(stream) = std::mem::replace(&mut *state, SocketState::Cut) {
            shut(&stream);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.cut();
    }
}

fn shut(stream: &TcpStream) {
    // An error means that it is shut already.
    let _ = stream.shutdown(Shutdown::Both);
}

async fn within<T>(
    timeout: Duration,
    what: &str,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, DownReason> {
    match tokio::time::timeout(timeout, answer).await {
        Ok(answer) => answer.map_err(|error| DownReason::of(what, &error)),
        Err(_) => Err(DownReason::TimedOut { what: what.to_owned(), after: timeout }),
    }
}

async fn connect(
    config: &LinkConfig,
    address: &AmqpAddress,
    end: &str,
    socket: Arc<Mutex<SocketState>>,
) -> Result<Connection, Error> {
    let name = format!("{} {end}", config.connection_name);
    let options = ConnectionProperties::default().with_connection_name(name.into());
    let others = config.address.nodes().len() > 1;
    let timeout = if others { config.timeout.min(NODE_TIMEOUT) } else { config.timeout };
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connector(
        uri(address, config.heartbeat_s),
        runtime,
        async move |uri: AMQPUri, runtime| {
            let connecting = uri.connect_async(&runtime);
            let stream = tokio::time::timeout(timeout, connecting).await.map_err(std::io::Error::from)??;
            if let AsyncTcpStream::Plain(plain) = &stream {
                Socket::keep(&socket, plain.get_ref().as_fd().try_clone_to_owned()?.into());
            }
            Ok(stream)
        },
        options,
    )
    .await
}

/// An address of one node.
fn uri(address: &AmqpAddress, heartbeat_s: u16) -> AMQPUri {
    let AmqpNode { host, port } = address.nodes()[0].clone();
    let userinfo =
        AMQPUserInfo { username: address.user().to_owned(), password: address.password().to_owned() };
    let heartbeat = (heartbeat_s > 0).then_some(heartbeat_s);
    AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority { userinfo, host, port },
        vhost: address.vhost().to_owned(),
        query: AMQPQueryString { heartbeat, ..AMQPQueryString::default() },
    }
}
