//! The durable log without files: its records, their bytes, and which of them still count.
//!
//! The log is a row of segments. Records are only ever appended; a segment is removed when it is the oldest and what
//! still counts in it has been appended again. Because only the oldest goes, the record of a removal always outlives
//! the record of what it removed.

mod codec;
mod framing;
mod liveness;
mod record;

pub(in crate::embedded) use framing::{Frames, SEGMENT_HEAD, append_frame};
pub(in crate::embedded) use liveness::Liveness;
pub(in crate::embedded) use record::BindingKey;
pub use record::{DurableBinding, Record};
