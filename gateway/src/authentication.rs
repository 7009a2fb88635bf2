//! Who a client is: what a listener asks of who connects, and the methods of enhanced authentication [MQTT5 §4.12] that it takes.
//!
//! [`Authentication`] is a chain of methods: a CONNECT names one, and the first that has this name decides. Each method is a state machine
//! of its own, `handle(message) -> Step`, that knows nothing of packets: `shard::authenticate` carries its messages in CONNECT, AUTH and
//! CONNACK. Today there is one, [`scram`]; passwords, tokens and certificates get their place in [`Authentication`] and in `Exchange`.
//!
//! Nothing here prints a key, a proof or a password, also not by `Debug`.

pub mod scram;
mod user_name;

use std::sync::Arc;

pub use scram::{Scram, ServerSecret};
pub use user_name::{UserName, UserNameError};

/// What is asked of who connects.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// Whether a client that names no method is let in, whatever its user name and password: they are not read.
    pub anonymous: bool,
    /// SCRAM-SHA-256, if there are users for it.
    pub scram: Option<Arc<Scram>>,
}

impl Default for Authentication {
    /// Everybody is let in, and no method is known.
    fn default() -> Self {
        Self { anonymous: true, scram: None }
    }
}

/// What makes a server's nonce differ from all others of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NonceSeed {
    /// No other exchange of the process has it.
    pub(crate) exchange: u64,
    /// Random, the connection's.
    pub(crate) entropy: u64,
}

/// An exchange that has begun, or is to.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// SCRAM-SHA-256.
    Scram(scram::Exchange),
}

/// What is to be done after a message of the client.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask it for more with this.
    Continue(Vec<u8>),
    /// It has shown to be this user. It gets this as the last word, which shows in turn that the server is the right one.
    Done {
        /// Who.
        user: UserName,
        /// The last word.
        last: Vec<u8>,
    },
    /// It has not, and the exchange is over.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Who it said to be, as far as that could be read. Not for the client: it would tell which names there are.
        user: Option<UserName>,
    },
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A message that is not what the method has there, and what is wrong with it.
    Malformed(&'static str),
    /// It asks for channel binding, which is not offered.
    ChannelBinding,
    /// It asks to act as another user.
    OtherIdentity,
    /// There is no such user. The client is told the same as for [`Refusal::WrongPassword`].
    UnknownUser,
    /// What it says does not fit the user's password.
    WrongPassword,
}

impl Authentication {
    /// Whether a method of this name is known here.
    pub(crate) fn offers(&self, method: &str) -> bool {
        method == scram::NAME && self.scram.is_some()
    }

    /// The exchange of the method with this name; `None` if it is not known here. The names are compared byte for byte.
    pub(crate) fn begin(&self, method: &str, seed: NonceSeed) -> Option<Exchange> {
        let scram = self.scram.as_ref().filter(|_| method == scram::NAME)?;
        Some(Exchange::Scram(scram::Exchange::new(Arc::clone(scram), scram.server_nonce(seed))))
    }
}

impl Exchange {
    /// As many bytes as [`Step::Done`] has in its last word, at most.
    pub(crate) const LAST_BYTES_MAX: usize = scram::SERVER_FINAL_BYTES;

    /// Takes in what the client says.
    pub(crate) fn handle(&mut self, message: &[u8]) -> Step {
        match self {
            Self::Scram(exchange) => exchange.handle(message),
        }
    }
}

impl Refusal {
    /// What the client is told: no more than it may know.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::ChannelBinding => "channel binding is not supported",
            Self::OtherIdentity => "the authorization identity is not the user's own",
            Self::UnknownUser | Self::WrongPassword => "the user name or the password is wrong",
        }
    }
}
