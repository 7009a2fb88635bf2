//! The commands of one device that are in custody: in order, each once, with the hold through which they go to a gateway.

mod hold;
mod mailbox;

pub(crate) use hold::Hold;
pub(crate) use mailbox::{Entry, LastGiven, Mailbox};
