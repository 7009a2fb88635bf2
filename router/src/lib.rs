//! The router: where each device is, and custody of every command until it is settled.
//!
//! The story, from the outside in. Everything here is a plain state machine without socket, clock or chance; `shell/` runs it.
//!
//! - [`RouterCore`] is the whole: it takes an [`Input`] with the time, and gives [`Output`]s to be performed in order. What it
//!   may use is in [`Limits`], what it did is in [`Counters`].
//! - [`journal`] is what survives a crash: [`journal::Record`]s, and the index that they build when they are replayed.
//! - [`location`] says where each device is, by the interval rule over [`clock`] bounds, and `contest`
//!   who is asked where that does not tell; [`gateway`] says which run of each gateway
//!   counts, whether its lease runs, and whether it has synced.
//! - [`decide`](mod@decide) is the one place that says what happens to a command: forward, ask, park or reject.
//! - `custody` keeps the commands of each device in order, with the hold through which they go to one gateway.
//! - [`explain`] answers "where is this device, how sure is that, and what would a send do right now", [`TimelineView`] "what
//!   happened to this command, and why".

pub mod clock;
mod contest;
mod counters;
mod custody;
pub mod decide;
pub mod explain;
pub mod gateway;
mod input;
pub mod journal;
mod limits;
pub mod location;
mod output;
mod question;
mod router;
pub mod shell;
mod timeline;
mod timers;
mod trace;
mod transfer;

pub use counters::{Counters, DropReason};
pub use input::{Input, PublishOutcome, PublishToken, Queue, RequestId, SourceToken};
pub use limits::{GatewayUsers, Limits};
pub use output::{Output, Publication, ReceiptAddress};
pub use roost_log::Lsn;
pub use router::{GatewayGauges, Gauges, RouterCore};
pub use timeline::{StepView, TimelineView};
pub use trace::{CommandTrace, TraceStep};
pub use transfer::TransferOutcome;
