//! At which node of a cluster a link comes up.
//!
//! A node that is cut off from the others, or that starts, takes connections and then leaves a declaration without an answer: RabbitMQ asks
//! the other nodes for it, and waits. Such an attempt ends only with its time-out, and by then the cluster may have been whole again for as
//! long. So a node that says nothing for a while is not waited for alone.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use tokio::time::Instant;

use super::link::LinkConfig;
use super::retry::sleep_until;
use crate::AmqpNode;

/// A node that has answered nothing for so long is not waited for alone. Many round trips between continents; an answer that needs the
/// nodes' agreement takes some of theirs.
const SILENT: Duration = Duration::from_secs(3);

/// What becomes of an attempt at a node that says nothing, when there is another node to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// It goes on beside the next: the first that is ready is taken, and the others are cut.
    Allowed,
    /// It is cut: what it may have declared is exclusive to its connection, and locks the next one out. The last node is waited for as long
    /// as each answer may take.
    Excluded,
}

/// When a node last said something. Shared by an attempt and whoever watches it.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

/// Attempts at the nodes of a cluster until one is ready; those that are left when it is dropped are cut.
pub(super) struct Race<'a, T, E> {
    nodes: &'a [AmqpNode],
    overlap: Overlap,
    /// Makes an attempt at a node.
    attempt: Box<dyn FnMut(&'a AmqpNode, Heard) -> Attempt<'a, T, E> + Send + 'a>,
    /// Which node is tried next.
    next: usize,
    running: FuturesUnordered<Running<'a, T, E>>,
    /// By node.
    heard: Vec<Option<Heard>>,
}

/// What becomes of an attempt.
pub(super) type Attempt<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

type Running<'a, T, E> = Pin<Box<dyn Future<Output = (usize, Result<T, E>)> + Send + 'a>>;

impl Heard {
    pub(super) fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// The node has said something.
    pub(super) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a, T: 'a, E: 'a> Race<'a, T, E> {
    /// The first node is any: a fleet of gateways spreads over them.
    pub(super) fn new(
        config: &'a LinkConfig,
        overlap: Overlap,
        attempt: impl FnMut(&'a AmqpNode, Heard) -> Attempt<'a, T, E> + Send + 'a,
    ) -> Self {
        let nodes = config.address.nodes();
        Self {
            nodes,
            overlap,
            attempt: Box::new(attempt),
            next: rand::rng().random_range(0..nodes.len()),
            running: FuturesUnordered::new(),
            heard: vec![None; nodes.len()],
        }
    }

    /// What the first node that is ready has given; or, when each node has failed or still says nothing, how the last one failed. Then the
    /// caller may wait, and go on by calling again: attempts that still run are not lost.
    pub(super) async fn ready(&mut self) -> Result<T, E> {
        let mut tried = vec![false; self.nodes.len()];
        loop {
            let candidate = self.candidate(&tried);
            let silent_at = self.silent_at();
            if let (Some(node), None) = (candidate, silent_at) {
                self.start(node, &mut tried);
                continue;
            }
            tokio::select! {
                Some((node, ended)) = self.running.next() => {
                    self.heard[node] = None;
                    match (ended, self.candidate(&tried)) {
                        (Ok(ready), _) => return Ok(ready),
                        (Err(_), Some(other)) => self.start(other, &mut tried),
                        (Err(error), None) => return Err(error),
                    }
                }
                () = sleep_until(silent_at.map(Instant::into_std)), if candidate.is_some() => {
                    // It may have said something since.
                    if let (Some(node), true) = (candidate, self.silent_at() == silent_at) {
                        if self.overlap == Overlap::Excluded {
                            self.cut();
                        }
                        self.start(node, &mut tried);
                    }
                }
            }
        }
    }

    /// From when on every node that is being tried is silent; none if none is.
    fn silent_at(&self) -> Option<Instant> {
        self.heard.iter().flatten().map(|heard| heard.last() + SILENT).max()
    }

    /// The next node, in turn, that was not tried and is not being tried.
    fn candidate(&self, tried: &[bool]) -> Option<usize> {
        let all = (self.next..self.nodes.len()).chain(0..self.next);
        all.into_iter().find(|&node| !tried[node] && self.heard[node].is_none())
    }

    fn start(&mut self, node: usize, tried: &mut [bool]) {
        let heard = Heard::now();
        let attempt = (self.attempt)(&self.nodes[node], heard.clone());
        self.running.push(Box::pin(async move { (node, attempt.await) }));
        self.heard[node] = Some(heard);
        tried[node] = true;
        self.next = (node + 1) % self.nodes.len();
    }

    fn cut(&mut self) {
        self.running.clear();
        self.heard.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// How nodes behave, in their order; each attempt is noted with its time.
    #[derive(Clone, Copy)]
    enum Node {
        Refuses,
        IsReady,
        /// It says nothing for so long, and is ready then.
        Sleeps(u64),
        /// It answers every second, and is ready after so many.
        Dawdles(u64),
    }

    struct Log(Mutex<Vec<(usize, u64)>>, Instant);

    fn config(nodes: usize) -> LinkConfig {
        let list: Vec<String> = (0..nodes).map(|node| format!("127.0.0.1:{}", 10_000 + node)).collect();
        LinkConfig::new(format!("amqp://u:p@{}/v", list.join(",")).parse().unwrap(), "test")
    }

    fn race<'a>(
        config: &'a LinkConfig,
        nodes: &'a [Node],
        overlap: Overlap,
        log: &'a Log,
    ) -> Race<'a, usize, usize> {
        let first = config.address.nodes()[0].port;
        let mut race = Race::new(config, overlap, move |node, heard| {
            let node = usize::from(node.port - first);
            log.0.lock().unwrap().push((node, log.1.elapsed().as_secs()));
            async move {
                match nodes[node] {
                    Node::Refuses => return Err(node),
                    Node::IsReady => {}
                    Node::Sleeps(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    Node::Dawdles(seconds) => {
                        for _ in 0..seconds {
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            heard.note();
                        }
                    }
                }
                Ok(node)
            }
            .boxed()
        });
        race.next = 0;
        race
    }

    fn log() -> Log {
        Log(Mutex::default(), Instant::now())
    }

    impl Log {
        /// Which nodes were tried, and how many seconds after the beginning.
        fn tries(&self) -> Vec<(usize, u64)> {
            self.0.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_ready_is_found_behind_those_that_refuse() {
        let (config, log) = (config(3), log());
        let nodes = [Node::Refuses, Node::Refuses, Node::IsReady];
        assert_eq!(race(&config, &nodes, Overlap::Allowed, &log).ready().await, Ok(2));
        assert_eq!(log.tries(), [(0, 0), (1, 0), (2, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_refuse_the_caller_hears_of_the_last_one() {
        let (config, log) = (config(3), log());
        let mut race = race(&config, &[Node::Refuses; 3], Overlap::Allowed, &log);
        assert_eq!((race.ready().await, race.ready().await), (Err(2), Err(2)));
        assert_eq!(log.tries(), [(0, 0), (1, 0), (2, 0), (0, 0), (1, 0), (2, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_is_not_waited_for_alone() {
        for overlap in [Overlap::Allowed, Overlap::Excluded] {
            let (config, log) = (config(2), log());
            let nodes = [Node::Sleeps(60), Node::IsReady];
            assert_eq!(race(&config, &nodes, overlap, &log).ready().await, Ok(1), "{overlap:?}");
            assert_eq!(log.tries(), [(0, 0), (1, 3)], "{overlap:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_answers_slowly_is_waited_for() {
        let (config, log) = (config(2), log());
        let nodes = [Node::Dawdles(20), Node::IsReady];
        assert_eq!(race(&config, &nodes, Overlap::Allowed, &log).ready().await, Ok(0));
        assert_eq!(log.tries(), [(0, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_goes_on_beside_the_others_where_it_may() {
        let nodes = [Node::Sleeps(8), Node::Sleeps(60)];
        for (overlap, first, after) in [(Overlap::Allowed, 0, 8), (Overlap::Excluded, 1, 63)] {
            let (config, log) = (config(2), log());
            assert_eq!(race(&config, &nodes, overlap, &log).ready().await, Ok(first), "{overlap:?}");
            assert_eq!(log.1.elapsed().as_secs(), after, "{overlap:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_still_runs_goes_on_in_the_next_call() {
        let (config, log) = (config(2), log());
        let mut race = race(&config, &[Node::Sleeps(60), Node::Refuses], Overlap::Allowed, &log);
        assert_eq!((race.ready().await, race.ready().await), (Err(1), Err(1)));
        assert_eq!(log.tries(), [(0, 0), (1, 3), (1, 3)]);
    }
}
