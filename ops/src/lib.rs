//! What every role answers to the person paged at night: is it alive, is it ready and if not why, and its metrics.
//!
//! - [`listen()`] binds a port, or says who may be in the way and what to do.
//! - [`Readiness`] is the list of what a role still waits for.
//! - [`Exposition`] writes Prometheus' text format; [`LinkCounts`] is what roles with AMQP links have in common there, and
//!   [`Histogram`] how long something took.
//! - [`endpoints()`] serves `/livez`, `/readyz` and `/metrics`, with what every process tells; a role adds its own routes.
//! - [`Spans`] takes spans and sends them to an OpenTelemetry collector.
//! - [`now`] reads the clocks, for cores that get time as a value.
//! - [`Problem`] is how every HTTP error looks (RFC 9457).

mod clock;
mod endpoints;
mod exposition;
mod histogram;
mod link_counts;
mod listen;
mod problem;
mod process;
mod readiness;
mod spans;

pub use clock::now;
pub use endpoints::{endpoints, endpoints_asking};
pub use exposition::{Exposition, MetricKind};
pub use histogram::Histogram;
pub use link_counts::LinkCounts;
pub use listen::{ListenError, listen, listen_on_loopback};
pub use problem::Problem;
pub use readiness::Readiness;
pub use spans::{
    Attribute, Resource, Span, SpanEvent, SpanExport, SpanFigures, SpanKind, Spans, SpansError, TracingConfig,
};
