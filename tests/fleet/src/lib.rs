//! The fleet simulator: thousands of devices over real sockets against any MQTT broker, and what became of each message.
//!
//! # The pure core
//! - [`Plan`] says what a run is to do. All that is random is drawn from its seed, per device, so that a device does the same
//!   in whichever worker it lives.
//! - [`Device`] is one device: its connection, its session, what it publishes and receives. [`Schedule`] says when its messages
//!   are due; [`Reconnect`] when it comes back; [`Scenario`] what happens to it.
//! - [`Stamp`] is what each message carries: serial number and due time. A latency is always counted from the due time, so
//!   that a stall is seen in every message that it held up.
//! - [`Figures`] count and time; those of workers and of seconds add up. [`Arrivals`] and [`NumberSet`] are which messages
//!   there were; [`Verdict`] is the difference of those sets. [`Check`] holds a run against a bound.
//!
//! # The shell
//! [`shell::Crew`] runs devices as tasks of one thread, one task each, all of them reading into one buffer. [`shell::run()`]
//! is the conductor: it starts crews here or in worker processes, is the backend side, and makes the [`Summary`].
//!
//! # What a device costs
//! 1.6 KiB of memory while it is idle, of which the task is less than a half (TCP; 15,000 devices against mosquitto, anonymous
//! memory over that of a fleet of one, an unoptimised build). A WebSocket takes some 5 KiB more: its library keeps a buffer
//! each way. `roost fleet --devices 15000 --connect-rate 2000 --rate 0 --for 6s`, and while it runs
//! `grep Anonymous /proc/PID/smaps_rollup`.
//!
//! When a fleet connects faster than its broker accepts, the broker's listen queue overflows (`ListenOverflows` in
//! `/proc/net/netstat`), and the system tries again after 1, 2, 4 and 8 s: that is what long connect times are made of then.

mod arrivals;
mod chance;
mod check;
mod credentials;
mod device;
mod figures;
mod latency;
mod number_set;
mod page;
mod plan;
mod reconnect;
mod scenario;
mod schedule;
pub mod shell;
mod sources;
mod stamp;
mod summary;
mod table;
mod timeline;
mod topic_pattern;
mod transport;
mod verdict;

pub use arrivals::Arrivals;
pub use check::{Check, CheckError, Comparison};
pub use credentials::{Credentials, Tokens};
pub use device::{Device, Effects, Input, Login, Loss, Records, Trouble};
pub use figures::{Count, Figures, Span};
pub use latency::{Latency, Percentiles};
pub use number_set::NumberSet;
pub use plan::{Mqtt, Plan, PlanError, Traffic};
pub use reconnect::{Backoff, Reconnect};
pub use scenario::{Action, Scenario, Step};
pub use schedule::{Schedule, Weights};
pub use sources::sources;
pub use stamp::{Kind, Stamp};
pub use summary::{CheckResult, Moment, Summary, Usage};
pub use topic_pattern::{TopicPattern, TopicPatternError};
pub use transport::{ProxyHeader, Tls, Transport, WebSocket};
pub use verdict::{Books, DirectionVerdict, Verdict};
