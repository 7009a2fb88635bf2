//! A link that can be cut: a TCP proxy on loopback between a process and its server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use roost_backend::AmqpAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Connections at once: a role has a few. One more is closed.
const CONNECTIONS_MAX: usize = 64;
const BUFFER_BYTES: usize = 16 * 1024;
/// Of each direction of a connection, on its way: then the link takes no more.
const CHUNKS_MAX: usize = 64;
/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A link. Gone when dropped.
#[derive(Debug)]
pub struct Wan {
    at: SocketAddr,
    state: watch::Sender<WanState>,
    task: JoinHandle<()>,
}

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WanState {
    /// Everything passes.
    Whole,
    /// Connections are broken, and new ones end at once.
    Cut,
    /// Nothing passes; connections stay.
    Stalled,
    /// Everything passes, so much later.
    Late(Duration),
}

impl Wan {
    /// A link to `to`, host and port, which may begin to listen later.
    ///
    /// # Errors
    /// The system has no port.
    pub async fn start(to: (&str, u16)) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = listener.local_addr()?;
        let (state, seen) = watch::channel(WanState::Whole);
        let task = tokio::spawn(accept(listener, Arc::new((to.0.to_owned(), to.1)), seen));
        Ok(Self { at, state, task })
    }

    /// A link to the first node of a cluster, and the address at which it is reached through the link.
    ///
    /// # Errors
    /// As [`Wan::start`].
    pub async fn before(broker: &AmqpAddress) -> io::Result<(Self, AmqpAddress)> {
        let node = &broker.nodes()[0];
        let link = Self::start((&node.host, node.port)).await?;
        let through = broker.through(&link.at.ip().to_string(), link.at.port());
        Ok((link, through))
    }

    /// Where to connect instead.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on.
    pub fn be(&self, state: WanState) {
        self.state.send_replace(state);
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: Arc<(String, u16)>, state: watch::Receiver<WanState>) {
    let mut carried = JoinSet::new();
    loop {
        // An error is of one connection, whose owner tries again; or there are no descriptors left, and it comes at once again.
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while carried.try_join_next().is_some() {}
        if carried.len() < CONNECTIONS_MAX {
            carried.spawn(carry(near, Arc::clone(&to), state.clone()));
        }
    }
}

/// Carries one connection until an end of it closes, or the link is cut.
async fn carry(near: TcpStream, to: Arc<(String, u16)>, mut state: watch::Receiver<WanState>) {
    let stalls = (state.clone(), state.clone());
    tokio::select! {
        _ = state.wait_for(|state| *state == WanState::Cut) => {}
        () = async {
            let Ok(far) = TcpStream::connect((to.0.as_str(), to.1)).await else { return };
            // An answer that waits for another is late at both.
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = pump(near_out, far_in, stalls.0) => {}
                () = pump(far_out, near_in, stalls.1) => {}
            }
        } => {}
    }
}

/// Copies until an end closes.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut state: watch::Receiver<WanState>,
) {
    let (sent, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let lateness = state.clone();
    let reading = async move {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(many @ 1..) = from.read(&mut buffer).await {
            let late = match *lateness.borrow() {
                WanState::Late(late) => late,
                WanState::Whole | WanState::Cut | WanState::Stalled => Duration::ZERO,
            };
            if sent.send((Instant::now() + late, buffer[..many].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = under_way.recv().await {
            // A timer is late by a millisecond, also one that is over.
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            // An error means that the link is no more, and with it this task.
            if state.wait_for(|state| *state != WanState::Stalled).await.is_err()
                || to.write_all(&bytes).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = writing => {}
        // What was read is written still, and then the other one ends.
        () = async { reading.await; std::future::pending().await } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough for a test that hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut out, mut back) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut out, &mut back).await });
            }
        });
        at
    }

    async fn said(stream: &mut TcpStream, word: u8) -> Option<u8> {
        let _ = stream.write_all(&[word]).await;
        tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("it answers or ends").ok()
    }

    #[tokio::test]
    async fn a_link_carries_stalls_breaks_and_is_whole_again() {
        let far = echo().await;
        let wan = Wan::start(("127.0.0.1", far.port())).await.unwrap();
        let mut stream = TcpStream::connect(wan.at()).await.unwrap();
        assert_eq!(said(&mut stream, 1).await, Some(1));

        wan.be(WanState::Stalled);
        stream.write_all(&[2]).await.unwrap();
        // The other way to see that nothing passes would be to wait for ever.
        assert!(tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await.is_err());
        wan.be(WanState::Whole);
        assert_eq!(tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap(), 2);

        let late = Duration::from_millis(30);
        wan.be(WanState::Late(late));
        let began = Instant::now();
        assert_eq!(said(&mut stream, 6).await, Some(6));
        assert!(began.elapsed() >= 2 * late, "there and back");

        wan.be(WanState::Cut);
        assert_eq!(said(&mut stream, 3).await, None);
        let mut refused = TcpStream::connect(wan.at()).await.unwrap();
        assert_eq!(said(&mut refused, 4).await, None);
        wan.be(WanState::Whole);
        let mut again = TcpStream::connect(wan.at()).await.unwrap();
        assert_eq!(said(&mut again, 5).await, Some(5));
    }
}
