//! Everything that one thread owns: a shard with its clients, the mail to and from the other shards' threads and, on the first one, the hub.

use std::rc::Rc;
use std::time::Duration;

use roost_ops::now;
use roost_wire::BootTime;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::clients::Clients;
use super::hub::Hub;
use super::metrics::{AllFigures, Snapshot};
use super::post::{Mail, MyLetterBox, Post};
use super::socket::Socket;
use crate::ShardIndex;
use crate::shard::{HandOver, Input, Output};

/// What the thread owns. Every method feeds the cores and then performs all they ask for.
pub(super) struct World {
    clients: Clients,
    hub: Option<Hub>,
    post: Post,
    /// Woken when the time to come back may have become earlier.
    pub(super) timer: Rc<Notify>,
    deadline: Option<BootTime>,
    /// Woken when the shard's drain is over.
    pub(super) drained: Rc<Notify>,
    /// How many other shards have not come to a fence, and who waits for them.
    fenced: usize,
    pub(super) fence: Rc<Notify>,
}

impl World {
    pub(super) fn new(clients: Clients, post: Post) -> Self {
        Self {
            clients,
            hub: None,
            post,
            timer: Rc::default(),
            deadline: None,
            drained: Rc::default(),
            fenced: 0,
            fence: Rc::default(),
        }
    }

    /// The hub is here.
    pub(super) fn begin_hub(&mut self, hub: Hub) {
        self.hub = Some(hub);
        self.perform();
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> u16 {
        self.post.shards()
    }

    /// What comes for this thread.
    pub(super) fn letter_box(&self) -> MyLetterBox {
        self.post.letter_box()
    }

    /// Does something with the hub, if it is here, and performs what comes of it.
    pub(super) fn with_hub(&mut self, does: impl FnOnce(&mut Hub)) {
        if let Some(hub) = &mut self.hub {
            does(hub);
            self.perform();
        }
    }

    /// The hub, if it is here: for what asks nothing of anybody.
    pub(super) fn hub(&mut self) -> Option<&mut Hub> {
        self.hub.as_mut()
    }

    /// A connection was accepted.
    pub(super) fn open(&mut self, stream: TcpStream) -> Rc<Socket> {
        let socket = self.clients.open(stream);
        self.perform();
        socket
    }

    /// A connection has come from another shard.
    pub(super) fn take_over(&mut self, stream: TcpStream, hand_over: Box<HandOver>) -> Rc<Socket> {
        let socket = self.clients.take_over(stream, hand_over);
        self.perform();
        socket
    }

    /// A connection goes to the shard that its device belongs to.
    pub(super) fn send_over(
        &mut self,
        stream: std::net::TcpStream,
        to: ShardIndex,
        hand_over: Box<HandOver>,
    ) {
        self.post.connection(to, stream, hand_over);
    }

    pub(super) fn accept_failed(&mut self, error: &std::io::Error) {
        if self.clients.counters.accept_failed() {
            tracing::warn!(%error, "a connection could not be accepted; trying on");
        }
    }

    /// The socket may have bytes; false when the connection is over.
    pub(super) fn receive(&mut self, socket: &Rc<Socket>) -> bool {
        let goes_on = self.clients.receive(socket);
        self.perform();
        goes_on
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, socket: &Rc<Socket>) {
        if self.clients.flush(now(), socket) {
            self.perform();
        }
    }

    /// What other threads have said, in its order. Connections are given back: they need a task each.
    pub(super) fn mail(&mut self, mail: &mut Vec<Mail>) -> Vec<(std::net::TcpStream, Box<HandOver>)> {
        let (now, mut connections) = (now(), Vec::new());
        for letter in mail.drain(..) {
            match letter {
                Mail::Words { from, words } => {
                    self.clients.shard.handle(now, Input::Shard { from, words });
                }
                Mail::Input(input) => self.clients.shard.handle(now, *input),
                Mail::Connection(stream, hand_over) => connections.push((stream, hand_over)),
                Mail::Asked { shard, outputs } => {
                    for output in outputs {
                        self.asked(shard, output);
                    }
                }
                Mail::Fence => {
                    self.perform();
                    self.post.fenced();
                }
                Mail::Fenced => {
                    self.fenced -= 1;
                    if self.fenced == 0 {
                        self.fence.notify_one();
                    }
                }
            }
        }
        self.perform();
        connections
    }

    /// Asks all other shards to say when they have taken in all that they were told; whether there are any.
    pub(super) fn raise_fence(&mut self) -> bool {
        self.fenced = self.post.raise_fences();
        self.fenced > 0
    }

    /// Gives the other threads what this one has for them.
    pub(super) fn deliver(&mut self) {
        self.post.deliver();
    }

    /// Woken when there is something to be delivered.
    pub(super) fn outgoing(&self) -> Rc<Notify> {
        Rc::clone(&self.post.waits)
    }

    pub(super) fn drain(&mut self, grace: Duration) {
        if let Some(hub) = &mut self.hub {
            hub.drain();
        }
        self.feed(Input::Drain { grace });
    }

    /// The time of [`World::deadline`] has come.
    pub(super) fn tick(&mut self) {
        let now = now();
        self.clients.shard.handle(now, Input::Tick);
        if let Some(hub) = &mut self.hub {
            hub.tick(now);
        }
        self.perform();
    }

    /// When to call [`World::tick`] if nothing happens before.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.deadline
    }

    /// What this thread counts.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.hub.as_ref().map(Hub::snapshot).unwrap_or_default();
        snapshot.add(&Snapshot {
            counters: self.clients.shard.counters().clone(),
            gauges: self.clients.shard.gauges(),
            shell: self.clients.counters,
            ..Snapshot::default()
        });
        snapshot.spans = self.clients.telling.figures();
        snapshot
    }

    /// Says what this shard counts, and hears what the others do.
    pub(super) fn exchange_figures(&mut self, figures: &AllFigures) {
        if self.shards() > 1
            && let Some(others) = figures.exchange(self.clients.index(), self.clients.shard.figures())
        {
            self.feed(Input::Others(Box::new(others)));
        }
    }

    pub(super) fn feed(&mut self, input: Input) {
        self.clients.shard.handle(now(), input);
        self.perform();
    }

    /// Performs everything the cores ask for, and what they ask for in turn. It ends, since every queue behind a socket
    /// and every word between the cores is bounded.
    fn perform(&mut self) {
        let now = now();
        let here = self.clients.index();
        loop {
            while let Some(output) = self.clients.poll_output(now.boot) {
                self.asked(here, output);
            }
            let mut is_quiet = true;
            while let Some((shard, input)) = self.hub.as_mut().and_then(Hub::poll_told) {
                if shard == here {
                    is_quiet = false;
                    self.clients.shard.handle(now, input);
                } else {
                    self.post.input(shard, input);
                }
            }
            if !self.clients.flush_all(now) && is_quiet {
                break;
            }
        }
        self.set_timer();
    }

    /// What a shard asks for that does not concern its clients.
    fn asked(&mut self, shard: ShardIndex, output: Output) {
        match output {
            Output::Shard { to, word } => self.post.word(to, *word),
            Output::Drained => self.drained.notify_one(),
            other => match &mut self.hub {
                Some(hub) => hub.asked(now(), shard, other),
                None => self.post.ask_hub(other),
            },
        }
    }

    fn set_timer(&mut self) {
        let hub = self.hub.as_ref().and_then(Hub::poll_timeout);
        let earliest = [self.clients.shard.poll_timeout(), hub].into_iter().flatten().min();
        let sooner = match (earliest, self.deadline) {
            (Some(new), Some(old)) => new < old,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.deadline = earliest;
        if sooner {
            self.timer.notify_one();
        }
    }
}
