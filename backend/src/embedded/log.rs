//! The durable log without files: its records.

mod record;

pub use record::{DurableBinding, Record};
