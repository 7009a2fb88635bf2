//! The link to the cluster over lapin.

mod consumer;
mod convert;
mod declare;
mod link;
mod publisher;
mod retry;

pub use consumer::{ConsumePlan, ConsumeQueue, Consumer, ConsumerEvent, Delivered, DeliveryToken, consumer};
pub use link::LinkConfig;
pub use publisher::{
    Closed, Publisher, PublisherConfig, PublisherEvent, TryPublishError, Unconfirmed, publisher,
};

pub use crate::window::{OnLoss, Publish, Published};
