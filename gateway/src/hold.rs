//! The gateway's half of custody: what one session holds of the commands that the router gave it.
//!
//! A command waits until the client's receive maximum has room, is written, and ends with an answer. The first answer
//! other than delivered or sent ends the hold: whatever waits or comes later of that or an older epoch goes back. So a
//! later command never overtakes one that could not be delivered.
//!
//! The memory of epochs lives as long as the connection, and that is enough: a command names the session it is for, and
//! for a session that is not the present one the answer is "gone" whatever its epoch. The next connection is another
//! session, for which the router opens another hold.

use std::collections::VecDeque;

use bytes::Bytes;
use roost_wire::{BootTime, CommandId, Delivery, Epoch, InFlight, ReturnReason};

use crate::packet::PacketId;
use crate::trace::Begun;

/// The commands of one connected session.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    newest: Epoch,
    /// Holds up to this one have ended.
    ended: Option<Epoch>,
    waiting: VecDeque<Waiting>,
    written: VecDeque<Written>,
    /// A "no subscription" was answered; the next SUBSCRIBE is to be reported.
    pub(crate) owes_subscribed: bool,
}

/// A command that waits for room in the client's window.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) delivery: Box<Delivery>,
    /// When its lifetime ends.
    pub(crate) deadline: BootTime,
    /// What is told of this attempt when it is answered, if its trace is recorded.
    pub(crate) trace: Option<Box<Begun>>,
}

/// A command that was written to the connection.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) command: CommandId,
    pub(crate) epoch: Epoch,
    /// Under which it is acknowledged; none with QoS 0.
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) written_at: BootTime,
    /// Where it ends in the stream of bytes to this connection.
    pub(crate) ends_at: u64,
    /// Kept for the bound on bytes only.
    pub(crate) payload_bytes: usize,
    pub(crate) trace: Option<Box<Begun>>,
}

impl Hold {
    /// Whether the router's turn for this command is over. Takes note of the epoch if it is new.
    pub(crate) fn judge(&mut self, epoch: Epoch) -> Option<ReturnReason> {
        if epoch < self.newest {
            return Some(ReturnReason::StaleEpoch);
        }
        self.newest = epoch;
        (self.ended >= Some(epoch)).then_some(ReturnReason::HoldEnded)
    }

    /// If the command is in flight here, its answer will count for this epoch.
    pub(crate) fn adopt(&mut self, command: CommandId, epoch: Epoch) -> bool {
        let waiting = self.waiting.iter_mut().find(|w| w.delivery.id == command);
        if let Some(waiting) = waiting {
            waiting.delivery.epoch = waiting.delivery.epoch.max(epoch);
            return true;
        }
        let written = self.written.iter_mut().find(|w| w.command == command);
        written.map(|w| w.epoch = w.epoch.max(epoch)).is_some()
    }

    /// How many commands are here.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.written.len()
    }

    /// Whether any command waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many of the client's window are taken by commands.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.written.iter().filter(|w| w.packet_id.is_some()).count()
    }

    /// Whether a command has this packet id.
    pub(crate) fn uses(&self, packet_id: PacketId) -> bool {
        self.written.iter().any(|w| w.packet_id == Some(packet_id))
    }

    /// Takes a command in, behind those that wait.
    pub(crate) fn wait(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// The command whose turn it is.
    pub(crate) fn first_waiting(&self) -> Option<&Waiting> {
        self.waiting.front()
    }

    /// Takes the command whose turn it is.
    pub(crate) fn pop_waiting(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// Notes that a command was written.
    pub(crate) fn write(&mut self, written: Written) {
        self.written.push_back(written);
    }

    /// Takes the command that this PUBACK acknowledges.
    pub(crate) fn acknowledge(&mut self, packet_id: PacketId) -> Option<Written> {
        let at = self.written.iter().position(|w| w.packet_id == Some(packet_id))?;
        self.written.remove(at)
    }

    /// Takes a QoS 0 command whose last byte the socket has taken.
    pub(crate) fn pop_sent(&mut self, taken: u64) -> Option<Written> {
        let at = self.written.iter().position(|w| w.packet_id.is_none() && w.ends_at <= taken)?;
        self.written.remove(at)
    }

    /// Ends the holds up to `epoch` and takes what waits of them.
    pub(crate) fn end(&mut self, epoch: Epoch) -> Vec<Waiting> {
        self.ended = self.ended.max(Some(epoch));
        if !self.waiting.iter().any(|w| w.delivery.epoch <= epoch) {
            return Vec::new();
        }
        let (ended, kept) = self.waiting.drain(..).partition(|w| w.delivery.epoch <= epoch);
        self.waiting = kept;
        Vec::from_iter::<VecDeque<_>>(ended)
    }

    /// Takes everything, for when the connection closes: what was written first, each in order.
    pub(crate) fn take_all(&mut self) -> (VecDeque<Written>, VecDeque<Waiting>) {
        (std::mem::take(&mut self.written), std::mem::take(&mut self.waiting))
    }

    /// Takes everything that waits, and ends its holds.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<Waiting> {
        let newest = self.waiting.iter().map(|w| w.delivery.epoch).max();
        self.ended = self.ended.max(newest);
        std::mem::take(&mut self.waiting)
    }

    /// Takes a written command.
    pub(crate) fn take_written(&mut self, command: CommandId) -> Option<Written> {
        let at = self.written.iter().position(|w| w.command == command)?;
        self.written.remove(at)
    }

    /// The command that waits longest for its answer: they are written in order.
    pub(crate) fn oldest_written(&self) -> Option<&Written> {
        self.written.front()
    }

    /// Takes the first waiting command whose lifetime has ended.
    pub(crate) fn pop_expired(&mut self, now: BootTime) -> Option<Waiting> {
        let at = self.waiting.iter().position(|w| w.deadline <= now)?;
        self.waiting.remove(at)
    }

    /// When the first lifetime of a waiting command ends.
    pub(crate) fn next_deadline(&self) -> Option<BootTime> {
        self.waiting.iter().map(|w| w.deadline).min()
    }

    /// Every command here with its epoch: written ones first.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (CommandId, Epoch)> + '_ {
        let written = self.written.iter().map(|w| (w.command, w.epoch));
        written.chain(self.waiting.iter().map(|w| (w.delivery.id, w.delivery.epoch)))
    }
}

impl Waiting {
    /// What it counts against the bound on bytes.
    pub(crate) fn payload_bytes(&self) -> usize {
        Bytes::len(&self.delivery.payload)
    }
}

/// One command as a sync lists it.
pub(crate) fn listed(
    device: &roost_wire::Device,
    session: roost_wire::SessionId,
    (command, epoch): (CommandId, Epoch),
) -> InFlight {
    InFlight { command, device: device.clone(), session, epoch }
}

#[cfg(test)]
mod tests {
    use roost_wire::{Qos, RouterRun, SessionId, SyncNumber, Topic};

    use super::*;

    fn epoch(run: u64, counter: u64) -> Epoch {
        Epoch { run: RouterRun(run), counter }
    }

    fn waiting(sequence: u64, epoch: Epoch) -> Waiting {
        let delivery = Delivery {
            id: CommandId { journal: 1, sequence },
            device: "d".parse().unwrap(),
            session: SessionId(1),
            epoch,
            sync: SyncNumber(1),
            attempt: 1,
            expires_in_ms: 1_000,
            topic: Topic::parse("t").unwrap(),
            payload: Bytes::new(),
            qos: Qos::AtLeastOnce,
            content_type: None,
            correlation_id: None,
            user_properties: Vec::new(),
            trace: None,
        };
        Waiting { delivery: Box::new(delivery), deadline: BootTime::from_micros(10 + sequence), trace: None }
    }

    #[test]
    fn an_older_epoch_is_stale_and_an_ended_one_is_over() {
        let mut hold = Hold::default();
        assert_eq!(hold.judge(epoch(1, 5)), None);
        assert_eq!(hold.judge(epoch(1, 4)), Some(ReturnReason::StaleEpoch));
        hold.end(epoch(1, 5));
        assert_eq!(hold.judge(epoch(1, 5)), Some(ReturnReason::HoldEnded));
        assert_eq!(hold.judge(epoch(1, 6)), None, "a new hold has its own turn");
        assert_eq!(hold.judge(epoch(2, 0)), None, "a later run beats any counter (V8)");
        assert_eq!(hold.judge(epoch(1, 7)), Some(ReturnReason::StaleEpoch));
    }

    #[test]
    fn the_end_of_a_hold_takes_what_waits_of_it_and_of_older_ones() {
        let mut hold = Hold::default();
        for (n, counter) in [(1, 1), (2, 2), (3, 1), (4, 3)] {
            hold.wait(waiting(n, epoch(1, counter)));
        }
        let ended: Vec<u64> = hold.end(epoch(1, 2)).iter().map(|w| w.delivery.id.sequence).collect();
        assert_eq!(ended, [1, 2, 3]);
        assert_eq!(hold.first_waiting().unwrap().delivery.id.sequence, 4);
    }

    #[test]
    fn a_repeated_command_is_known_and_its_answer_counts_for_the_newer_hold() {
        let mut hold = Hold::default();
        hold.wait(waiting(1, epoch(1, 1)));
        assert!(hold.adopt(CommandId { journal: 1, sequence: 1 }, epoch(2, 0)));
        assert!(!hold.adopt(CommandId { journal: 1, sequence: 2 }, epoch(2, 0)));
        assert_eq!(hold.in_flight().next().unwrap().1, epoch(2, 0));
    }

    #[test]
    fn lifetimes_end_in_the_queue() {
        let mut hold = Hold::default();
        hold.wait(waiting(5, epoch(1, 1)));
        hold.wait(waiting(2, epoch(1, 1)));
        assert_eq!(hold.next_deadline(), Some(BootTime::from_micros(12)));
        assert!(hold.pop_expired(BootTime::from_micros(11)).is_none());
        assert_eq!(hold.pop_expired(BootTime::from_micros(12)).unwrap().delivery.id.sequence, 2);
    }
}
