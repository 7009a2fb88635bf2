//! What is counted and timed while the fleet runs. Figures of workers and of seconds add up to those of the run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Latency;

macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// What is counted.
    Count {
        /// Connections that were tried.
        ConnectAttempts = "connect_attempts",
        /// CONNACKs that accepted.
        Connected = "connects",
        /// CONNACKs that refused.
        ConnectRefused = "connects_refused",
        /// Connections that TCP, TLS or WebSocket could not make.
        ConnectFailed = "connects_failed",
        /// Connections that were not accepted in time.
        ConnectTimedOut = "connects_timed_out",
        /// Connections that the broker or the network ended.
        ConnectionLost = "connections_lost",
        /// Connections that the scenario ended.
        ConnectionCut = "connections_cut",
        /// CONNACKs that take messages of a lesser quality of service only: the device has ended.
        QosRefused = "qos_refused",
        /// Subscriptions that were refused.
        SubscribeRefused = "subscribes_refused",
        /// Packets that break the protocol, or that the device cannot mean.
        ProtocolError = "protocol_errors",
        /// Messages that devices have published.
        Published = "published",
        /// Messages that they published again, with DUP, or released again.
        PublishedAgain = "published_again",
        /// Messages that were acknowledged; at QoS 0: written.
        Acknowledged = "acknowledged",
        /// Messages that were acknowledged with an error.
        PublishRefused = "publishes_refused",
        /// Messages in flight when a connection without a session ended: nobody promised anything.
        Abandoned = "abandoned",
        /// Messages that were never sent: due while more than the bound was already waiting in the device, or still waiting
        /// at the end.
        Skipped = "skipped",
        /// Own messages that came back to a device that subscribes to them.
        EchoReceived = "echoes_received",
        /// Commands that devices received.
        CommandReceived = "commands_received",
        /// Commands that did not come behind all earlier ones of the same connection: repeated or overtaken without a break.
        CommandOutOfTurn = "commands_out_of_turn",
        /// Answers to commands that devices have published.
        AnswerPublished = "answers_published",
        /// Answers that were acknowledged; at QoS 0: written.
        AnswerAcknowledged = "answers_acknowledged",
        /// Answers that were acknowledged with an error.
        AnswerRefused = "answers_refused",
        /// Answers in flight when a connection without a session ended.
        AnswerAbandoned = "answers_abandoned",
        /// Commands without an answer, since too many answers were in flight.
        AnswerSkipped = "answers_skipped",
        /// Sessions that were removed at the end.
        SessionRemoved = "sessions_removed",
        /// Sessions that may still be at the broker.
        SessionLeft = "sessions_left",
        /// Bytes that devices wrote.
        BytesOut = "bytes_out",
        /// Bytes that devices read.
        BytesIn = "bytes_in",
        /// Events that the backend side consumed.
        EventReceived = "events_received",
        /// Answers that the backend side consumed.
        AnswerReceived = "answers_received",
        /// Commands that were due.
        CommandOffered = "commands_offered",
        /// Commands that the AMQP broker confirmed.
        CommandConfirmed = "commands_confirmed",
        /// Commands that it returned, refused or lost.
        CommandFailed = "commands_failed",
        /// Final receipts that were consumed.
        ReceiptReceived = "receipts_received",
        /// Times that the backend side lost its AMQP link; its own queue is gone with it.
        AmqpLost = "amqp_links_lost",
    }
}

named! {
    /// What is timed, each from the moment when it was meant to happen.
    Span {
        /// From a connection's due time to CONNACK.
        Connect = "connect",
        /// From a message's due time to its PUBACK or PUBCOMP.
        Publish = "publish",
        /// From a message's due time to the return to its own device.
        Echo = "echo",
        /// From a message's due time to its consumption from `roost.up`.
        Up = "up",
        /// From a command's due time to its device.
        Down = "down",
        /// From a command's due time to its final receipt.
        Receipt = "receipt",
        /// From a command's due time to the consumption of its answer, from the queue that the command names or from `roost.up`.
        Answer = "answer",
    }
}

/// A set of counts and distributions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    counts: Vec<u64>,
    latencies: Vec<Latency>,
    /// Devices that came online, less those that went: over a whole run, how many are online.
    pub online: i64,
    /// Messages published and not acknowledged, as the change of it.
    pub in_flight: i64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            counts: vec![0; Count::ALL.len()],
            latencies: vec![Latency::default(); Span::ALL.len()],
            online: 0,
            in_flight: 0,
        }
    }
}

impl Figures {
    /// One more.
    pub fn count(&mut self, count: Count) {
        self.count_many(count, 1);
    }

    /// So many more.
    pub fn count_many(&mut self, count: Count, many: u64) {
        self.counts[count as usize] += many;
    }

    /// How many.
    #[must_use]
    pub fn of(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// It took so long.
    pub fn took(&mut self, span: Span, latency: Duration) {
        self.latencies[span as usize].record(latency);
    }

    /// How long it took.
    #[must_use]
    pub fn latency(&self, span: Span) -> &Latency {
        &self.latencies[span as usize]
    }

    /// Whether it has the shape of this build: figures come from other processes.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.counts.len() == Count::ALL.len() && self.latencies.len() == Span::ALL.len()
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, other)| *mine += other);
        self.latencies.iter_mut().zip(&other.latencies).for_each(|(mine, other)| mine.add(other));
        self.online += other.online;
        self.in_flight += other.in_flight;
    }

    /// Back to nothing.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.latencies.iter_mut().for_each(Latency::clear);
        self.online = 0;
        self.in_flight = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_workers_add_up_to_those_of_one() {
        let (mut one, mut two, mut both) = (Figures::default(), Figures::default(), Figures::default());
        for n in 0..100_u64 {
            let figures = if n % 3 == 0 { &mut one } else { &mut two };
            for figures in [figures, &mut both] {
                figures.count(Count::Published);
                figures.took(Span::Up, Duration::from_millis(n));
                figures.online += 1;
            }
        }
        let sent = serde_json::to_string(&two).unwrap();
        one.add(&serde_json::from_str(&sent).unwrap());
        assert_eq!(one, both);
        assert_eq!((one.of(Count::Published), one.latency(Span::Up).count(), one.online), (100, 100, 100));
        one.clear();
        assert_eq!(one, Figures::default());
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<&str> = Count::ALL.iter().map(|count| count.name()).collect();
        names.extend(Span::ALL.iter().map(|span| span.name()));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
