//! The router: where each device is, and custody of every command until it is settled.
//!
//! The story, from the outside in. Everything here is a plain state machine without socket, clock or chance; `shell/` runs it.
//!
//! - [`RouterCore`] is the whole: it takes an [`Input`] with the time, and gives [`Output`]s to be performed in order. What it
//!   may use is in [`Limits`], what it did is in [`Counters`].
//! - [`journal`] is what survives a crash: [`journal::Record`]s, and the index that they build when they are replayed.

mod counters;
mod input;
pub mod journal;
mod limits;
mod lsn;
mod output;
mod router;
pub mod shell;

pub use counters::{Counters, DropReason};
pub use input::{Input, PublishOutcome, PublishToken, Queue, RequestId, SourceToken};
pub use limits::{GatewayUsers, Limits};
pub use lsn::Lsn;
pub use output::{Output, Publication, ReceiptAddress};
pub use router::RouterCore;
