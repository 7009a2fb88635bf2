//! What became of the messages of a demo.

use std::fmt;

use super::commands::Tally;

/// What was lost and what came twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Events that a gateway acknowledged.
    pub(crate) acknowledged: u64,
    /// Of those, the ones that the service did not hear.
    pub(crate) events_lost: u64,
    /// Of those, the ones that it has not heard yet. At an end that is not early there are none: they are lost.
    pub(crate) events_late: u64,
    /// Events that came again.
    pub(super) events: Duplicates,
    /// Different commands that devices have.
    pub(crate) received: u64,
    /// Commands that a receipt says are delivered, and their devices do not have.
    pub(crate) commands_lost: u64,
    /// Commands that came again.
    pub(super) commands: Duplicates,
    /// Commands that came for the first time behind a later one of their device.
    pub(crate) reordered: u64,
    /// Commands that the mesh answers for and that have no final receipt. Only judged at the end.
    pub(crate) unfinished: u64,
    /// The same, at an end that came early.
    pub(crate) commands_on_their_way: u64,
    /// Devices that did not tell what they have. Only judged at the end.
    pub(crate) devices_missing: u64,
    pub(crate) tally: Tally,
    /// Some of the lost.
    pub(crate) examples: Vec<String>,
}

/// What came again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Duplicates {
    /// On its way when a connection or a link broke.
    pub(super) allowed: u64,
    /// Nothing had broken: an event between two hearings of it, a command on one and the same connection.
    pub(super) forbidden: u64,
}

impl Verdict {
    /// Lost, of both kinds.
    pub(crate) fn lost(&self) -> u64 {
        self.events_lost + self.commands_lost
    }

    /// Came twice though nothing had broken.
    pub(crate) fn duplicated(&self) -> u64 {
        self.events.forbidden + self.commands.forbidden
    }

    /// Came twice since something had broken.
    pub(crate) fn repeated(&self) -> u64 {
        self.events.allowed + self.commands.allowed
    }

    /// Whether every promise was kept.
    pub(crate) fn is_good(&self) -> bool {
        let broken = [
            self.lost(),
            self.duplicated(),
            self.reordered,
            self.unfinished,
            self.devices_missing,
            self.tally.at_once,
            self.tally.ended_twice,
        ];
        broken.iter().all(|count| *count == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        writeln!(
            f,
            "events    {} acknowledged: lost {}, duplicated {} (allowed {})",
            self.acknowledged, self.events_lost, self.events.forbidden, self.events.allowed
        )?;
        writeln!(
            f,
            "commands  {} confirmed: lost {}, duplicated {} (allowed {}), out of order {}",
            tally.confirmed,
            self.commands_lost,
            self.commands.forbidden,
            self.commands.allowed,
            self.reordered
        )?;
        writeln!(
            f,
            "gateways  reached one {}, one after the other {}, two at once {}; asked all first {}, reached none {}",
            tally.one_gateway, tally.in_turn, tally.at_once, tally.asked, tally.no_gateway
        )?;
        write!(
            f,
            "receipts  delivered {}, otherwise {}, without an end {}, with two {}",
            tally.delivered, tally.told, self.unfinished, tally.ended_twice
        )?;
        if tally.refused > 0 {
            write!(f, "\nrefused   {} commands by the broker: their sender knows", tally.refused)?;
        }
        if self.devices_missing > 0 {
            write!(f, "\nmissing   {} devices did not tell what they have", self.devices_missing)?;
        }
        if self.events_late + self.commands_on_their_way > 0 {
            let Self { events_late, commands_on_their_way, .. } = self;
            write!(
                f,
                "\non way    {events_late} events, {commands_on_their_way} commands: nobody waited for them"
            )?;
        }
        match self.examples.is_empty() {
            true => Ok(()),
            false => write!(f, "\nlost      {} (device/number)", self.examples.join(", ")),
        }
    }
}
