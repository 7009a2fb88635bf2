//! One task for each connection: it waits until the socket can do what is wanted, and says so to the world.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::socket::Socket;
use super::world::World;

/// How long the last words may take to be written. A client that does not read is cut off.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long the client's last bytes are awaited and thrown away, and how many. To close with bytes unread would reset the
/// connection, and the client might lose the reason it was just told.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Serves one connection until it is closed by either side, or goes on in another shard.
pub(super) async fn serve(world: Rc<RefCell<World>>, socket: Rc<Socket>) {
    poll_fn(|context| poll(&world, &socket, context)).await;
    // Few say something, and those that do not need no room for it.
    if let Some(farewell) = end(&world, socket) {
        drop(world);
        Box::pin(farewell.say()).await;
    }
}

/// The connection is over here: it goes on in another shard, is closed by that, or has something to be told before.
fn end(world: &Rc<RefCell<World>>, socket: Rc<Socket>) -> Option<Box<Farewell>> {
    let is_ours_to_end = socket.wants().end;
    let goes_to = socket.goes_to();
    // A broken connection is nobody's any more.
    let socket = Rc::into_inner(socket).filter(|_| is_ours_to_end)?;
    match goes_to {
        Some((to, hand_over)) => {
            match socket.stream.into_std() {
                Ok(stream) => world.borrow_mut().send_over(stream, to, hand_over),
                Err(error) => tracing::error!(%error, "a connection could not go to its shard"),
            }
            None
        }
        // To close it is enough, and costs a system call or two less.
        None if socket.is_done() => None,
        None => Some(Box::new(Farewell::from(socket))),
    }
}

/// Does what the socket can do now of what is wanted; ready when the connection is over here. No future waits for one of both: tens of
/// thousands of them are idle.
fn poll(world: &Rc<RefCell<World>>, socket: &Rc<Socket>, context: &mut Context<'_>) -> Poll<()> {
    socket.wakes(context.waker());
    loop {
        let wants = socket.wants();
        if wants.end {
            return Poll::Ready(());
        }
        let mut has_waited = true;
        if wants.read
            && let Poll::Ready(ready) = socket.stream.poll_read_ready(context)
        {
            has_waited = false;
            if ready.is_err() || !world.borrow_mut().receive(socket) {
                return Poll::Ready(());
            }
        }
        if wants.write
            && let Poll::Ready(ready) = socket.stream.poll_write_ready(context)
        {
            has_waited = false;
            world.borrow_mut().writable(socket);
            if ready.is_err() {
                return Poll::Ready(());
            }
        }
        // While it is neither read nor written, a broken connection is noticed only by its keep alive.
        if has_waited {
            return Poll::Pending;
        }
    }
}

/// A connection that the shard has forgotten: what is left to be written, then the end.
struct Farewell {
    stream: tokio::net::TcpStream,
    words: [bytes::Bytes; 2],
}

impl From<Socket> for Farewell {
    fn from(socket: Socket) -> Self {
        let words = socket.last_words();
        Self { stream: socket.stream, words }
    }
}

impl Farewell {
    async fn say(mut self: Box<Self>) {
        // Whoever does not take its last words in time does without them.
        if let Ok(Ok(())) = timeout(LAST_WORDS, self.write()).await {
            let _ = timeout(LINGER, self.drain()).await;
        }
    }

    async fn write(&mut self) -> io::Result<()> {
        for words in &self.words {
            self.stream.write_all(words).await?;
        }
        self.stream.shutdown().await
    }

    async fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 4 * 1024];
        let mut drained = 0;
        while drained < LINGER_BYTES_MAX {
            match self.stream.read(&mut buffer).await? {
                0 => break,
                bytes => drained += bytes,
            }
        }
        Ok(())
    }
}
