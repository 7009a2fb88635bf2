//! Numbers that say whose turn it is: runs, links, sessions, epochs, syncs.

use serde::{Deserialize, Serialize};

/// Declares a number with a meaning of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One shard of the devices: one router has custody of it. Fixed when a deployment is created.
    ShardId, u16
}
number! {
    /// One AMQP connection of a gateway for its inbox, counted within an incarnation.
    LinkId, u32
}
number! {
    /// One accepted CONNECT, counted within an incarnation: a client that comes back is a new one.
    SessionId, u64
}
number! {
    /// One run of a router, made durable at each start before anything is forwarded: a later run has a greater number.
    RouterRun, u64
}
number! {
    /// The gateway's count of its syncs. Commands carry it; a gateway drops those that carry another.
    SyncNumber, u64
}
number! {
    /// One question "do you hold this device?", or "do you hold its session?", counted within a router run.
    QuestionId, u64
}
number! {
    /// One request of a gateway for the session that a device had elsewhere, counted within its incarnation.
    SessionRequest, u64
}

/// One run of a gateway process: a random number, so no clock and no disk decides which one it is. Written in hex. The
/// router takes one that it has not seen as the newer, and remembers which it has voided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(pub u64);

/// The number of a hold, one gateway's turn to deliver a device's commands: a later run's beats an earlier run's, then
/// the counter decides. Written `run.counter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epoch {
    /// Which run of the router opened the hold.
    pub run: RouterRun,
    /// Counted within that run.
    pub counter: u64,
}

/// The mesh's name for a command in custody: the journal it is in (a random number, made with the journal) and its place
/// there. The place is the order. Written `journal-sequence`, both in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId {
    /// Which journal.
    pub journal: u32,
    /// Its place.
    pub sequence: u64,
}

/// Why a turn could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct TurnParseError {
    text: String,
    expected: &'static str,
}

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for Incarnation {
    type Err = TurnParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || unreadable(text, "an incarnation: 16 hex digits");
        if text.len() != 16 {
            return Err(error());
        }
        hex(text).map(Self).ok_or_else(error)
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.run, self.counter)
    }
}

impl std::str::FromStr for Epoch {
    type Err = TurnParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(run, counter)| Some((decimal(run)?, decimal(counter)?)));
        let (run, counter) = parts.ok_or_else(|| unreadable(text, "an epoch: run.counter"))?;
        Ok(Self { run: RouterRun(run), counter })
    }
}

impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}-{:x}", self.journal, self.sequence)
    }
}

impl std::str::FromStr for CommandId {
    type Err = TurnParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('-').and_then(|(journal, sequence)| {
            let journal = u32::try_from(hex(journal)?).ok()?;
            Some(Self { journal, sequence: hex(sequence)? })
        });
        parts.ok_or_else(|| unreadable(text, "a command id: journal-sequence in hex"))
    }
}

/// Text in JSON: hex and pairs stay readable, and 64 bits stay exact in every language.
macro_rules! json_as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = TurnParseError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(turn: $name) -> String {
                turn.to_string()
            }
        }
    )*};
}
json_as_text!(Incarnation, Epoch, CommandId);

/// Digits only: `from_str_radix` alone would take a leading `+`.
fn hex(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn unreadable(text: &str, expected: &'static str) -> TurnParseError {
    TurnParseError { text: text.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_beats_any_counter() {
        let old = Epoch { run: RouterRun(1), counter: 900 };
        let new = Epoch { run: RouterRun(2), counter: 0 };
        assert!(new > old);
    }

    #[test]
    fn turns_read_back_what_they_print() {
        let epoch = Epoch { run: RouterRun(3), counter: 17 };
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        let id = CommandId { journal: 0xbeef, sequence: u64::MAX };
        assert_eq!(id.to_string(), "0000beef-ffffffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        let incarnation = Incarnation(7);
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
    }

    #[test]
    fn what_is_not_a_turn_is_refused() {
        for text in ["", "1", ".1", "1.", "+1.2", "1.-2", "18446744073709551616.0"] {
            assert!(text.parse::<Epoch>().is_err(), "{text:?}");
        }
        for text in ["", "-", "1-", "123456789-1", "x-1", "+1-1"] {
            assert!(text.parse::<CommandId>().is_err(), "{text:?}");
        }
        assert!("12".parse::<Incarnation>().is_err());
    }
}
