//! Whether the spool takes events in.

use super::LogStands;

/// Whether it takes events in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SpoolState {
    /// It does.
    #[default]
    Open,
    /// Its disk cannot be written, and nothing is left in it that the backend does not have: until the disk recovers, events are
    /// acknowledged as if their rule said `confirmed`.
    Bypassed,
    /// It has as many bytes as it may, or its disk cannot be written. Publishers are answered as [`WhenFull`] says, and who connects is
    /// refused (0x88, v3.1.1: 0x03).
    Full,
}

/// What becomes of an event at QoS 1 whose spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// Its publisher waits for the PUBACK; one whose receive maximum is reached is disconnected. The default, since many clients take
    /// any PUBACK for success.
    #[default]
    Withhold,
    /// It is answered 0x97, Quota exceeded, and dropped: its publisher has to know what that means. A v3.1.1 client cannot be told and
    /// waits all the same.
    Refuse,
}

/// Records on their way to disk. A disk that is slower than this for long is as bad as a full one.
const UNDURABLE_MAX: usize = 20_000;

impl SpoolState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Bypassed, Self::Full];

    /// The name that metrics and the log use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Bypassed => "bypassed",
            Self::Full => "full",
        }
    }

    pub(super) fn of(log: &LogStands, undurable: usize, all_done: bool, bytes: u64, bytes_max: u64) -> Self {
        match log.is_stuck {
            true if all_done => Self::Bypassed,
            true => Self::Full,
            false if bytes >= bytes_max || undurable >= UNDURABLE_MAX => Self::Full,
            false => Self::Open,
        }
    }
}
