//! What the conductor tells a crew, and what it hears; between processes as one line of JSON each.

use std::collections::BTreeMap;

use roost_wire::BootTime;
use serde::{Deserialize, Serialize};

use crate::{Credentials, Figures, Plan, Records};

/// What a crew is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Be the devices `first` to `first + devices - 1` of a plan, and connect from `at` on. Comes first, and once.
    Start {
        /// What to do.
        plan: Box<Plan>,
        /// What these devices say of themselves.
        credentials: Box<Credentials>,
        /// The first device.
        first: u32,
        /// How many.
        devices: u32,
        /// When.
        at: BootTime,
    },
    /// The measured time begins then.
    Begin {
        /// When.
        at: BootTime,
    },
    /// Tell what each device knows of its messages so far. While an earlier answer is under way it is no order.
    Tell,
    /// Publish nothing more.
    Cease,
    /// Disconnect, tell the records, end. Also meant by the end of the orders.
    Finish,
}

/// What a crew tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// What was counted and timed since the last one.
    Figures(Box<Figures>),
    /// What some devices know of their messages: after [`Order::Tell`], and at the end.
    Records(Vec<Records>),
    /// What went wrong, and how often, at the end.
    Failures(BTreeMap<String, u64>),
    /// There is nothing more to tell.
    Ended,
}
