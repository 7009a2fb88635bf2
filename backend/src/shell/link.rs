//! One connection to the cluster, made and ended within bounds.
//!
//! **Why not lapin's own recovery** (`enable_auto_recover`). It replays exchanges, queues, bindings and consumers on the old
//! channel objects, but resets the delivery tags and fails the confirms that were open, so publishing again is ours in any
//! case; it sleeps in its I/O thread with a backoff of its own, without jitter; a channel that the broker closed stays
//! in its hands while we must know *why* it was closed; and tags of the old and the new link cannot be told apart by the
//! application. A fresh connection per link has one state less: it is up, or it is gone with a reason.
//!
//! lapin runs one thread per connection. That thread ends when the socket does, so a link keeps a second handle of its
//! socket and shuts it down when the connection does not answer in time: no thread, no task and no descriptor stays behind.

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
    let uri = uri(address, config.heartbeat_s);
    // Before lapin begins: where it can't connect it leaves a task behind for ever, with some 15 KB (4.12.3), and where a broker stays away
    // that is each second.
    let stream = tokio::time::timeout(timeout, uri.connect_async(&runtime)).await;
    let stream = stream.map_err(std::io::Error::from)??;
    if let AsyncTcpStream::Plain(plain) = &stream {
        Socket::keep(&socket, plain.get_ref().as_fd().try_clone_to_owned()?.into());
    }
    // It asks for it once: by default it does not try again.
    let stream = Mutex::new(Some(stream));
    let take = async move |_: AMQPUri, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(stream.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected))?)
    };
    Connection::connector(uri, runtime, take, options).await
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;
    use tokio::time::timeout;

    use super::*;

    /// Attempts at a node there, some of them at once; then nothing of them is left.
    async fn attempts(port: u16) {
        let address: AmqpAddress = format!("amqp://guest:guest@127.0.0.1:{port}").parse().unwrap();
        let config = LinkConfig { timeout: Duration::from_millis(300), ..LinkConfig::new(address, "test") };
        let before = Handle::current().metrics().num_alive_tasks();
        for _ in 0..3 {
            let attempt = || Link::open(&config, &config.address.nodes()[0], "end", Heard::now());
            let (one, other) = tokio::join!(attempt(), attempt());
            assert!(one.is_err() && other.is_err());
        }
        let all_ended = async {
            while Handle::current().metrics().num_alive_tasks() > before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), all_ended).await.expect("a task stays for ever");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_attempt_where_nobody_listens_leaves_no_task_behind() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        attempts(port).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nor_does_one_that_is_hung_up_on_or_answered_by_nothing() {
        for says_nothing in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let accepting = std::thread::spawn({
                let listener = listener.into_std().unwrap();
                move || {
                    listener.set_nonblocking(false).unwrap();
                    let mut open = Vec::new();
                    // As many as there are attempts.
                    for _ in 0..6 {
                        let (stream, _) = listener.accept().unwrap();
                        if says_nothing {
                            open.push(stream);
                        }
                    }
                    open
                }
            });
            attempts(port).await;
            drop(accepting.join().unwrap());
        }
    }
}
