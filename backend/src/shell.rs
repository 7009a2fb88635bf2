//! The link to the cluster over lapin.
//!
//! [`publisher()`] and [`consumer()`] start one end each: a task that owns its connection and is joined by `close`. Both begin
//! with nothing but an address, say when they are up and why they are down, and never give up.
//!
//! lapin logs every returned message whole, as a warning, and every broken socket as an error; the link says both in its
//! events. Whoever sets up logging lowers the target `lapin` to `off`, so that payloads stay out of the logs.

mod consumer;
mod declare;
mod down_reason;
mod figures;
mod link;
mod publisher;
mod race;
mod retry;

pub use consumer::{ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, Delivered, DeliveryToken, consumer};
pub use declare::arguments as queue_arguments;
pub use down_reason::{DownKind, DownReason};
pub use figures::{ConsumerFigures, PublisherFigures};
pub use link::LinkConfig;
pub use publisher::{
    Closed, Publisher, PublisherConfig, PublisherEvent, TryPublishError, Unconfirmed, publisher,
};

pub use crate::window::{OnLoss, Publish, Published};
