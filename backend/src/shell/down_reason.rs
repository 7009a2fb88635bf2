//! Why a link is down.

use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};

use crate::window::Loss;

/// Why a link ended, or was not made. Its text is for a person: what was being done, what the broker said, AMQP's code. What
/// depends on it matches the variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// No connection came about: nobody listens there, the name means nothing, or whoever is there speaks no AMQP.
    #[error("{what}: {text}")]
    Unreachable {
        /// What was being done.
        what: String,
        /// What went wrong.
        text: String,
    },
    /// The broker took longer for an answer than it may. Whether it did what it was asked is not known.
    #[error("{what}: no answer within {after:?}")]
    TimedOut {
        /// What was being done.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The queue is exclusive to another connection (AMQP 405 RESOURCE_LOCKED): whoever has it must go first.
    #[error("{what}: {text} (405)")]
    ResourceLocked {
        /// What was being done, with the queue's name.
        what: String,
        /// What the broker said.
        text: String,
    },
    /// The broker said no: to the user, to an object of the topology, to a message. The same attempt fails again until
    /// something has changed.
    #[error("{what}: {text} ({code})")]
    Refused {
        /// What was being done.
        what: String,
        /// AMQP's reply code.
        code: u16,
        /// What the broker said.
        text: String,
    },
    /// The broker ended it, and nothing that was said is to blame: an operator closed it, the broker is going away
    /// (AMQP 320, 541), or the queue that was consumed is gone.
    #[error("{what}: {text}")]
    Closed {
        /// What was being done.
        what: String,
        /// What the broker said.
        text: String,
    },
    /// The connection broke without a word of the broker, or its heartbeats stayed away.
    #[error("{what}: {text}")]
    Broken {
        /// What was being done.
        what: String,
        /// What the system says.
        text: String,
    },
}

/// A [`DownReason`] without its words: one of a few, so that it can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DownKind {
    /// [`DownReason::Unreachable`]
    Unreachable,
    /// [`DownReason::TimedOut`]
    TimedOut,
    /// [`DownReason::ResourceLocked`]
    ResourceLocked,
    /// [`DownReason::Refused`]
    Refused,
    /// [`DownReason::Closed`]
    Closed,
    /// [`DownReason::Broken`]
    Broken,
}

impl DownKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::TimedOut, Self::ResourceLocked, Self::Refused, Self::Closed, Self::Broken];

    /// The kind as metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::ResourceLocked => "resource_locked",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Broken => "broken",
        }
    }
}

impl DownReason {
    /// Which of the few it is.
    #[must_use]
    pub const fn kind(&self) -> DownKind {
        match self {
            Self::Unreachable { .. } => DownKind::Unreachable,
            Self::TimedOut { .. } => DownKind::TimedOut,
            Self::ResourceLocked { .. } => DownKind::ResourceLocked,
            Self::Refused { .. } => DownKind::Refused,
            Self::Closed { .. } => DownKind::Closed,
            Self::Broken { .. } => DownKind::Broken,
        }
    }

    /// An error on a link that is there.
    pub(super) fn of(what: &str, error: &Error) -> Self {
        let what = what.to_owned();
        let ErrorKind::ProtocolError(amqp) = error.kind() else {
            return Self::Broken { what, text: error.to_string() };
        };
        let (code, text) = (amqp.get_id(), amqp.get_message().to_string());
        match amqp.kind() {
            AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED | AMQPHardError::INTERNALERROR) => {
                Self::Closed { what, text }
            }
            AMQPErrorKind::Soft(AMQPSoftError::RESOURCELOCKED) => Self::ResourceLocked { what, text },
            _ => Self::Refused { what, code, text },
        }
    }

    /// While there was no link yet, what would be a broken one is one that was never reached.
    pub(super) fn before_the_link(self) -> Self {
        match self {
            Self::Broken { what, text } => Self::Unreachable { what, text },
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::ResourceLocked { .. }
            | Self::Refused { .. }
            | Self::Closed { .. } => self,
        }
    }

    /// What it means for the messages that were in flight.
    pub(super) fn loss(&self) -> Loss {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Closed { .. } | Self::Broken { .. } => {
                Loss::Broken
            }
            Self::ResourceLocked { .. } | Self::Refused { .. } => Loss::Refused { reason: self.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use lapin::protocol::AMQPError;

    use super::*;

    fn amqp(kind: impl Into<AMQPErrorKind>, text: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::new(kind.into(), text.into())).into()
    }

    #[test]
    fn what_the_broker_says_decides_the_kind_and_the_text_has_its_code() {
        let reset = || Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        for (error, kind, end) in [
            (amqp(AMQPSoftError::RESOURCELOCKED, "locked"), DownKind::ResourceLocked, "x: locked (405)"),
            (amqp(AMQPSoftError::ACCESSREFUSED, "no"), DownKind::Refused, "x: no (403)"),
            (amqp(AMQPHardError::NOTALLOWED, "no vhost"), DownKind::Refused, "x: no vhost (530)"),
            (amqp(AMQPHardError::CONNECTIONFORCED, "closed by an operator"), DownKind::Closed, "operator"),
            (amqp(AMQPHardError::INTERNALERROR, "oh"), DownKind::Closed, "x: oh"),
            (reset(), DownKind::Broken, "reset"),
        ] {
            let reason = DownReason::of("x", &error);
            assert_eq!(reason.kind(), kind, "{reason}");
            assert!(reason.to_string().ends_with(end), "{reason}");
        }
        assert_eq!(DownReason::of("x", &reset()).before_the_link().kind(), DownKind::Unreachable);
    }

    #[test]
    fn only_a_refusal_can_be_a_messages_fault() {
        let (what, text) = (|| "x".to_owned(), || "y".to_owned());
        let refused = [
            DownReason::ResourceLocked { what: what(), text: text() },
            DownReason::Refused { what: what(), code: 404, text: text() },
        ];
        let broken = [
            DownReason::Unreachable { what: what(), text: text() },
            DownReason::TimedOut { what: what(), after: Duration::from_secs(1) },
            DownReason::Closed { what: what(), text: text() },
            DownReason::Broken { what: what(), text: text() },
        ];
        assert!(refused.iter().all(|reason| matches!(reason.loss(), Loss::Refused { .. })));
        assert!(broken.iter().all(|reason| reason.loss() == Loss::Broken));
        let mut kinds: Vec<DownKind> = refused.iter().chain(&broken).map(DownReason::kind).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, DownKind::ALL, "every kind has a reason, and every reason a kind");
    }
}
