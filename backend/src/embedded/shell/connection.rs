//! One connection's task: its socket and its session.

use super::assembling::Assembling;
use super::clock::Clock;
use super::engine::Call;
use super::outbox::Outbox;
use crate::embedded::core::{ConnectionId, Input};
use crate::embedded::protocol::Session;
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Read at most this much before the core has its turn.
const READ_BYTES: usize = 64 << 10;
/// How long a closed connection may go on sending before its socket is dropped; without this the reset that answers
/// unread bytes would overtake our last frames.
const LINGER: Duration = Duration::from_millis(500);

/// What a connection's task needs.
pub(super) struct ConnectionTask {
    pub(super) id: ConnectionId,
    pub(super) stream: TcpStream,
    pub(super) session: Session,
    pub(super) engine: mpsc::Sender<Call>,
    pub(super) clock: Clock,
    pub(super) stopping: watch::Receiver<bool>,
    /// Bytes of unfinished messages of all connections, and the bound.
    pub(super) assembling: Assembling,
    /// Held until the handshake is done.
    pub(super) handshake: Option<OwnedSemaphorePermit>,
}

impl ConnectionTask {
    /// Runs until the connection ends, and tells the engine so.
    pub(super) async fn run(mut self) {
        let outbox = Arc::new(Outbox::default());
        let attach = Call::Attach { connection: self.id, outbox: Arc::clone(&outbox) };
        if self.engine.send(attach).await.is_err() {
            return;
        }
        if let Err(error) = self.serve(&outbox).await {
            tracing::debug!(connection = self.id.0, %error, "connection lost");
        }
        // The engine may be gone already when the broker stops.
        let _ = self.engine.send(Call::Detach { connection: self.id }).await;
    }

    async fn serve(&mut self, outbox: &Outbox) -> io::Result<()> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut outputs = Vec::new();
        let mut stopping = false;
        loop {
            outbox.swap(&mut outputs);
            let now = self.clock.now();
            for output in outputs.drain(..) {
                self.session.handle_output(now, &output);
            }
            self.write()?;
            self.send_inputs().await?;
            if self.session.is_past_handshake() {
                self.handshake = None;
            }
            if self.session.is_finished() && self.session.outgoing().is_empty() {
                return self.close().await;
            }
            let interest = match (self.session.wants_read(), !self.session.outgoing().is_empty()) {
                (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
                (true, false) => Some(Interest::READABLE),
                (false, true) => Some(Interest::WRITABLE),
                (false, false) => None,
            };
            let due = self.clock.instant(self.session.next_timeout());
            tokio::select! {
                () = outbox.filled() => {}
                ready = self.stream.ready(interest.unwrap_or(Interest::WRITABLE)), if interest.is_some() => {
                    if ready?.is_readable() && self.session.wants_read() && !self.read(&mut buffer)? {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(due) => self.session.handle_timeout(self.clock.now()),
                _ = self.stopping.changed(), if !stopping => {
                    stopping = true;
                    self.session.shut_down(self.clock.now());
                }
            }
        }
    }

    /// Reads once; false at the end of the stream.
    fn read(&mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        buffer.reserve(READ_BYTES);
        match self.stream.try_read_buf(buffer) {
            Ok(0) => Ok(false),
            Ok(_) => {
                let now = self.clock.now();
                self.session.handle_bytes(now, buffer);
                if !self.assembling.set(self.session.assembling_bytes()) {
                    self.session.refuse_assembling(now);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what the socket takes.
    fn write(&mut self) -> io::Result<()> {
        while !self.session.outgoing().is_empty() {
            match self.stream.try_write(self.session.outgoing()) {
                Ok(written) => self.session.wrote(self.clock.now(), written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send_inputs(&mut self) -> io::Result<()> {
        let inputs: Vec<Input> = std::iter::from_fn(|| self.session.poll_input()).collect();
        if inputs.is_empty() {
            return Ok(());
        }
        self.engine.send(Call::Inputs(inputs)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut rest = [0; 4096];
        let drained = async {
            while self.stream.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::time::timeout(LINGER, drained).await.unwrap_or(Ok(()))
    }
}
