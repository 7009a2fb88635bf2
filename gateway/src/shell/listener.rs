//! Takes connections in, one after another, and never waits for one of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::serve;
use super::socket::Socket;
use super::world::World;

/// After an accept that failed (most likely: no descriptor is free), how long until the next try. The connection waits in
/// the kernel's backlog meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// How long connections that were closed may take to say goodbye.
const FAREWELLS: Duration = Duration::from_secs(7);

/// The tasks of all connections, joined at the end.
pub(super) struct Connections {
    listener: TcpListener,
    /// Connections that other shards have accepted.
    others: mpsc::Receiver<Rc<Socket>>,
    tasks: JoinSet<()>,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, others: mpsc::Receiver<Rc<Socket>>) -> Self {
        Self { listener, others, tasks: JoinSet::new() }
    }

    /// Accepts for ever; stop it by dropping the future.
    pub(super) async fn accept(&mut self, world: &Rc<RefCell<World>>) {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let socket = world.borrow_mut().open(stream);
                        self.tasks.spawn_local(serve(Rc::clone(world), socket));
                    }
                    Err(error) => {
                        world.borrow_mut().accept_failed(&error);
                        sleep(RETRY).await;
                    }
                },
                Some(socket) = self.others.recv() => {
                    self.tasks.spawn_local(serve(Rc::clone(world), socket));
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Goes on serving those that there are, and those that other shards have accepted, for ever.
    pub(super) async fn serve(&mut self, world: &Rc<RefCell<World>>) {
        loop {
            tokio::select! {
                Some(socket) = self.others.recv() => {
                    self.tasks.spawn_local(serve(Rc::clone(world), socket));
                }
                Some(_) = self.tasks.join_next() => {}
                else => return std::future::pending().await,
            }
        }
    }

    /// Waits, within a bound and not beyond the deadline, until every connection has been closed; returns how many were cut.
    pub(super) async fn join(mut self, world: &Rc<RefCell<World>>, deadline: Instant) -> usize {
        let all = async {
            loop {
                tokio::select! {
                    biased;
                    Some(socket) = self.others.recv() => {
                        self.tasks.spawn_local(serve(Rc::clone(world), socket));
                    }
                    ended = self.tasks.join_next() => if ended.is_none() { break },
                }
            }
        };
        let _ = timeout_at(deadline.min(Instant::now() + FAREWELLS), all).await;
        let cut = self.tasks.len();
        self.tasks.shutdown().await;
        cut
    }
}
