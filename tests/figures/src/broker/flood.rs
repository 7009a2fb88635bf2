//! Many messages through one broker, each counted: what was acknowledged and never came is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use roost_gateway::packet::Packet;
use roost_gateway::{Placement, ShardIndex};
use roost_wire::Device;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::client::Client;
use crate::cpu::Meter;

/// Bytes of each payload.
pub(super) const BYTES: usize = 256;
/// A subscriber that has heard nothing for so long hears nothing any more.
const SILENT: Duration = Duration::from_secs(5);
/// Of each subscriber at most so many times are kept, the last ones.
const TIMES_MAX: usize = 100_000;

/// Who publishes what to whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flood {
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    pub(super) to: To,
    pub(super) pace: Pace,
    pub(super) time: Duration,
    /// So many shards: every second publisher has its device in another one than the subscriber of its number, and the others in the same.
    pub(super) shards: u16,
}

/// Who has subscribed to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// Each to the publisher of its number.
    Own,
    /// Each to all of them.
    All,
}

/// How fast each publisher goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// As fast as it may, with so many publishes that are not acknowledged.
    FlatOut { window: u32 },
    /// So many in a second.
    Rate(u32),
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub(super) acknowledged: u64,
    /// Deliveries that are owed for what was acknowledged.
    pub(super) owed: u64,
    pub(super) arrived: u64,
    pub(super) twice: u64,
    /// Until the publishers had stopped and the subscribers had everything, or nothing more came.
    pub(super) took: Duration,
    /// CPU of the broker's process in that time.
    pub(super) cpu: Duration,
    /// From the publisher's write to the subscriber's read, in microseconds, sorted.
    pub(super) times: Vec<u32>,
}

impl Outcome {
    pub(super) fn lost(&self) -> u64 {
        self.owed.saturating_sub(self.arrived)
    }

    pub(super) fn a_second(&self) -> f64 {
        self.arrived as f64 / self.took.as_secs_f64()
    }

    pub(super) fn a_cpu_second(&self) -> f64 {
        self.arrived as f64 / self.cpu.as_secs_f64().max(f64::EPSILON)
    }

    /// In milliseconds.
    pub(super) fn percentile(&self, hundredth: usize) -> f64 {
        let at = (self.times.len() * hundredth / 100).min(self.times.len().saturating_sub(1));
        self.times.get(at).map_or(0.0, |micros| f64::from(*micros) / 1e3)
    }
}

/// What the clients of a run share.
struct Run {
    began: Instant,
    stop: watch::Receiver<bool>,
    /// The publishers have ended.
    over: watch::Receiver<bool>,
}

impl Flood {
    /// Runs it against the broker that listens there.
    ///
    /// # Errors
    /// A connection is refused or breaks, or a publish is not acknowledged.
    pub(super) async fn run(self, port: u16, pid: u32) -> anyhow::Result<Outcome> {
        let (stop, stopped) = watch::channel(false);
        let (over, is_over) = watch::channel(false);
        let run = Arc::new(Run { began: Instant::now(), stop: stopped, over: is_over });
        let mut subscribers = JoinSet::new();
        for number in 0..self.subscribers {
            let mut client = Client::connect(port, &self.names(number).1).await?;
            client.subscribe(&self.filter(number)).await?;
            subscribers.spawn(subscriber(client, Arc::clone(&run), self.heard(number)));
        }
        let mut clients = Vec::new();
        for number in 0..self.publishers {
            clients.push((number, Client::connect(port, &self.names(number).0).await?));
        }
        let (meter, began) = (Meter::start(pid)?, Instant::now());
        let mut publishers = JoinSet::new();
        for (number, client) in clients {
            let publisher = Publisher { client, number, sent: 0, acknowledged: 0, run: Arc::clone(&run) };
            publishers.spawn(publisher.publish(self.pace));
        }
        tokio::time::sleep(self.time).await;
        let _ = stop.send(true);
        let mut acknowledged = vec![0; self.publishers as usize];
        while let Some(ended) = publishers.join_next().await {
            let (number, many) = ended?.context("a publisher")?;
            acknowledged[number as usize] = many;
        }
        let _ = over.send(true);
        let mut outcome = Outcome { acknowledged: acknowledged.iter().sum(), ..Outcome::default() };
        outcome.owed = match self.to {
            To::Own => outcome.acknowledged,
            To::All => outcome.acknowledged * u64::from(self.subscribers),
        };
        let mut last = began;
        while let Some(ended) = subscribers.join_next().await {
            let heard = ended?.context("a subscriber")?;
            outcome.arrived += heard.arrived;
            outcome.twice += heard.twice;
            outcome.times.extend(heard.times);
            last = last.max(heard.last);
        }
        outcome.cpu = meter.used()?;
        outcome.took = last - began;
        outcome.times.sort_unstable();
        Ok(outcome)
    }

    /// The client ids of the publisher and the subscriber of a number.
    fn names(&self, number: u32) -> (String, String) {
        let placement = Placement::new(ShardIndex(0), self.shards);
        let shard = |name: &str| name.parse::<Device>().map(|device| placement.shard_of(&device)).ok();
        let subscriber = format!("sub-{number}");
        let crosses = self.shards > 1 && number % 2 == 1;
        let mut publishers = (0..).map(|attempt| format!("pub-{number}-{attempt}"));
        let publisher = publishers.find(|name| (shard(name) != shard(&subscriber)) == crosses);
        (publisher.unwrap_or_default(), subscriber)
    }

    fn filter(&self, number: u32) -> String {
        match self.to {
            To::Own => topic(number),
            To::All => "local/flood/#".to_owned(),
        }
    }

    fn heard(&self, number: u32) -> Heard {
        let (first, many) = match self.to {
            To::Own => (number, 1),
            To::All => (0, self.publishers),
        };
        let next = vec![Numbers::default(); many as usize];
        Heard { first, numbers: next, arrived: 0, twice: 0, times: Vec::new(), last: Instant::now() }
    }
}

/// The gateway keeps what is below `local/` to itself.
fn topic(publisher: u32) -> String {
    format!("local/flood/{publisher}")
}

struct Publisher {
    client: Client,
    number: u32,
    sent: u32,
    acknowledged: u32,
    run: Arc<Run>,
}

impl Publisher {
    /// Its number, and how many of its publishes were acknowledged: all.
    async fn publish(mut self, pace: Pace) -> anyhow::Result<(u32, u64)> {
        match pace {
            Pace::FlatOut { window } => self.flat_out(window).await?,
            Pace::Rate(a_second) => self.at_a_rate(a_second).await?,
        }
        while self.acknowledged < self.sent {
            self.hear().await?;
        }
        Ok((self.number, u64::from(self.acknowledged)))
    }

    async fn flat_out(&mut self, window: u32) -> anyhow::Result<()> {
        let topic = topic(self.number);
        while !*self.run.stop.borrow() {
            while self.sent - self.acknowledged < window {
                self.put(&topic)?;
            }
            self.client.flush().await?;
            self.hear().await?;
        }
        Ok(())
    }

    async fn at_a_rate(&mut self, a_second: u32) -> anyhow::Result<()> {
        let topic = topic(self.number);
        let mut due = interval(Duration::from_secs(1) / a_second);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut stop = self.run.stop.clone();
        loop {
            tokio::select! {
                _ = due.tick() => {
                    self.put(&topic)?;
                    self.client.flush().await?;
                }
                heard = self.hear() => heard?,
                _ = stop.changed() => return Ok(()),
            }
        }
    }

    fn put(&mut self, topic: &str) -> anyhow::Result<()> {
        let mut payload = BytesMut::zeroed(BYTES);
        let mut head = &mut payload[..];
        head.put_u32(self.number);
        head.put_u32(self.sent);
        head.put_u64(micros(self.run.began));
        self.client.publish(topic, payload.freeze())?;
        self.sent += 1;
        Ok(())
    }

    /// Cancelled, it has lost nothing: what was read stays with the client.
    async fn hear(&mut self) -> anyhow::Result<()> {
        let mut packets = Vec::new();
        self.client.read(&mut packets).await?;
        let acknowledged = packets.iter().filter(|packet| matches!(packet, Packet::Puback(_))).count();
        self.acknowledged += acknowledged as u32;
        Ok(())
    }
}

/// Which numbers of a publisher came.
#[derive(Debug, Clone, Default)]
struct Numbers {
    words: Vec<u64>,
}

impl Numbers {
    /// Whether it is new.
    fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }
}

/// What one subscriber has heard.
struct Heard {
    /// The first publisher that it listens to.
    first: u32,
    numbers: Vec<Numbers>,
    arrived: u64,
    twice: u64,
    times: Vec<u32>,
    last: Instant,
}

impl Heard {
    fn take(&mut self, payload: &Bytes, now: u64) -> anyhow::Result<()> {
        ensure!(payload.len() == BYTES, "{} bytes", payload.len());
        let (publisher, number, sent) = read(payload);
        let numbers = publisher.checked_sub(self.first).and_then(|at| self.numbers.get_mut(at as usize));
        match numbers.context("a publisher that it does not listen to")?.insert(number) {
            true => self.arrived += 1,
            false => self.twice += 1,
        }
        let took = u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX);
        match self.times.len() < TIMES_MAX {
            true => self.times.push(took),
            false => self.times[(self.arrived % TIMES_MAX as u64) as usize] = took,
        }
        Ok(())
    }
}

/// Publisher, number, and when it was written.
fn read(payload: &[u8]) -> (u32, u32, u64) {
    let field =
        |at: usize, len: usize| payload[at..at + len].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    (field(0, 4) as u32, field(4, 4) as u32, field(8, 8))
}

async fn subscriber(mut client: Client, run: Arc<Run>, mut heard: Heard) -> anyhow::Result<Heard> {
    let mut packets = Vec::new();
    loop {
        let read = timeout(SILENT, client.read(&mut packets)).await;
        match read {
            Ok(read) => read?,
            // Nothing is on its way any more.
            Err(_) if *run.over.borrow() => return Ok(heard),
            Err(_) => continue,
        }
        let now = micros(run.began);
        for packet in packets.drain(..) {
            let Packet::Publish(publish) = packet else { continue };
            heard.take(&publish.payload, now)?;
            if let Some(packet_id) = publish.delivery.packet_id() {
                client.acknowledge(packet_id)?;
            }
        }
        heard.last = Instant::now();
        client.flush().await?;
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_counts_once() {
        let (to, pace, time) = (To::Own, Pace::Rate(1), Duration::ZERO);
        let flood = Flood { publishers: 3, subscribers: 2, to, pace, time, shards: 1 };
        let mut heard = flood.heard(1);
        let payload = |publisher: u32, number: u32| {
            let mut payload = BytesMut::zeroed(BYTES);
            let mut head = &mut payload[..];
            head.put_u32(publisher);
            head.put_u32(number);
            head.put_u64(70);
            payload.freeze()
        };
        for number in [0, 64, 64, 3] {
            heard.take(&payload(1, number), 100).unwrap();
        }
        assert_eq!((heard.arrived, heard.twice, &heard.times[..]), (3, 1, &[30; 4][..]));
        assert!(heard.take(&payload(2, 0), 100).is_err());
    }

    #[test]
    fn half_of_the_pairs_are_of_two_shards() {
        let (to, pace, time) = (To::Own, Pace::Rate(1), Duration::ZERO);
        let flood = Flood { publishers: 40, subscribers: 40, to, pace, time, shards: 4 };
        let shard =
            |name: String| Placement::new(ShardIndex(0), 4).shard_of(&name.parse::<Device>().unwrap());
        let crosses = |number| {
            let (publisher, subscriber) = flood.names(number);
            shard(publisher) != shard(subscriber)
        };
        assert_eq!((0..40).filter(|number| crosses(*number)).count(), 20);
    }
}
