//! Accepting connections, and owning their tasks.

use super::assembling::Assembling;
use super::clock::Clock;
use super::connection::ConnectionTask;
use super::engine::Call;
use crate::embedded::core::{ConnectionId, Limits};
use crate::embedded::protocol::{Session, Users};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// How long to wait when the system has no descriptor left for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listening socket and what its connections need.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) engine: mpsc::Sender<Call>,
    pub(super) users: Arc<Users>,
    pub(super) limits: Arc<Limits>,
    pub(super) assembling: Assembling,
    pub(super) clock: Clock,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Listener {
    /// Accepts until it is told to stop; then waits for its connections' tasks.
    pub(super) async fn run(mut self) {
        let handshakes = Arc::new(Semaphore::new(self.limits.handshakes_max));
        let mut tasks = JoinSet::new();
        let mut accepted = 0;
        loop {
            let handshake = tokio::select! {
                permit = Arc::clone(&handshakes).acquire_owned() => permit.ok(),
                _ = self.stopping.changed() => break,
            };
            let stream = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = self.stopping.changed() => break,
            };
            match stream {
                Ok((stream, _)) => {
                    accepted += 1;
                    if let Some(mut task) = self.task(ConnectionId(accepted), stream) {
                        task.handshake = handshake;
                        tasks.spawn(task.run());
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        drop(self.socket);
        while tasks.join_next().await.is_some() {}
    }

    fn task(&self, id: ConnectionId, stream: TcpStream) -> Option<ConnectionTask> {
        // A client that is gone already has no address.
        let peer = stream.peer_addr().ok()?.ip();
        // Frames are batched here; the kernel's waiting for more would only delay them.
        stream.set_nodelay(true).ok()?;
        let (users, limits) = (Arc::clone(&self.users), Arc::clone(&self.limits));
        let session = Session::new(id, peer, users, limits, self.clock.now());
        let assembling = self.assembling.another();
        let (engine, clock, stopping) = (self.engine.clone(), self.clock, self.stopping.clone());
        Some(ConnectionTask { id, stream, session, engine, clock, stopping, assembling, handshake: None })
    }
}
