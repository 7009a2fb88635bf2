//! A TCP proxy that cuts connections, falls silent, and puts words into the broker's mouth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roost_backend::AmqpAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

/// Stands between a link and its broker. Gone when dropped.
pub(crate) struct Proxy {
    port: u16,
    orders: broadcast::Sender<Order>,
    silence: watch::Sender<Silence>,
    connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

/// A connection that was there when a silence began never speaks again.
#[derive(Default, Clone, Copy, PartialEq)]
struct Silence {
    now: bool,
    count: u32,
}

#[derive(Debug, Clone)]
enum Order {
    Cut,
    Say(Vec<u8>),
}

impl Proxy {
    pub(crate) async fn before(address: &AmqpAddress) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (orders, _) = broadcast::channel(16);
        let (silence, silences) = watch::channel(Silence::default());
        let connections = Arc::new(AtomicU64::new(0));
        let node = address.nodes()[0].clone();
        let upstream = (node.host, node.port);
        let (ordered, counted) = (orders.clone(), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            let mut relays = tokio::task::JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else { return };
                counted.fetch_add(1, Ordering::Relaxed);
                relays.spawn(relay(client, upstream.clone(), ordered.subscribe(), silences.clone()));
            }
        });
        Self { port, orders, silence, connections, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Cuts every connection there is.
    pub(crate) fn cut(&self) {
        // An error means that there is none.
        let _ = self.orders.send(Order::Cut);
    }

    /// From now on nothing of what the broker says arrives, on old connections and new ones.
    pub(crate) fn fall_silent(&self) {
        self.silence.send_modify(|silence| *silence = Silence { now: true, count: silence.count + 1 });
    }

    /// The broker is heard again, on new connections: old ones are cut.
    pub(crate) fn speak_again(&self) {
        self.silence.send_modify(|silence| silence.now = false);
        self.cut();
    }

    /// Lets the broker say `connection.blocked` or `connection.unblocked` (AMQP class 10, RabbitMQ's methods 60 and 61).
    /// Only while the broker itself says nothing, since this goes in between its frames.
    pub(crate) fn say_blocked(&self, blocked: bool) {
        let reason = b"\x08no space";
        let method: &[u8] = if blocked { &[0, 10, 0, 60] } else { &[0, 10, 0, 61] };
        let payload = [method, if blocked { reason } else { b"" }].concat();
        let mut frame = vec![1, 0, 0];
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(0xCE);
        self.orders.send(Order::Say(frame)).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(
    client: TcpStream,
    upstream: (String, u16),
    mut orders: broadcast::Receiver<Order>,
    mut silence: watch::Receiver<Silence>,
) {
    let before = silence.borrow().count;
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let down = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let muted = |silence: Silence| silence.now || silence.count != before;
            let silent = muted(*silence.borrow_and_update());
            tokio::select! {
                read = from_server.read(&mut bytes), if !silent => match read? {
                    0 => return Ok(()),
                    // Silence may have fallen since.
                    _ if muted(*silence.borrow()) => {}
                    read => to_client.write_all(&bytes[..read]).await?,
                },
                order = orders.recv() => match order {
                    Ok(Order::Say(words)) => to_client.write_all(&words).await?,
                    Ok(Order::Cut) | Err(_) => return Ok(()),
                },
                _ = silence.changed() => {}
            }
        }
    };
    let _: std::io::Result<()> = tokio::select! { ended = up => ended, ended = down => ended };
}
