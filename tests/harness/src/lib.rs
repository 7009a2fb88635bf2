//! What the tests share: private servers, real clients, conditions to await.
//!
//! A scenario starts a [`Mesh`] (one process, as `roost dev`) or a [`Federation`] (one process per role, which can be
//! killed and started again), on a [`Backend`]: the embedded broker or a real RabbitMQ. It speaks to it through a
//! [`Device`] (MQTT) and a [`Service`] (AMQP), each of them one of the clients that users really have, and through
//! the HTTP [`Api`]. It awaits what it expects with [`eventually()`]; no scenario sleeps.
//!
//! Nothing here skips: what is missing fails the test and says what to do. Every process is killed by its pid and
//! waited for when its owner is dropped; every port is reserved, so that tests that run at the same time do not meet.

mod api;
mod backend;
mod client_script;
mod collector;
mod device;
mod environment;
mod eventually;
mod exposition;
mod federation;
mod mesh;
mod metrics;
mod mosquitto;
mod mqtt_v4;
mod mqtt_v5;
mod open_api;
mod ports;
mod process;
mod prometheus;
mod rabbitmq;
mod raw_mqtt;
mod role_config;
mod seed;
mod service;
mod service_lapin;

pub use api::{Answer, Api};
pub use backend::{Backend, Broker, QueueCounts};
pub use collector::{CollectedSpan, Collector};
pub use device::{Connect, Device, DeviceKind, Lost, Message};
pub use eventually::{PATIENCE, eventually};
pub use exposition::{Family, Sample};
pub use federation::Federation;
pub use mesh::Mesh;
pub use metrics::Metrics;
pub use open_api::OpenApi;
pub use ports::{PortOffset, ReservedPort};
pub use process::{Ended, Process, roost};
pub use prometheus::{Prometheus, promtool};
pub use rabbitmq::Vhost;
pub use raw_mqtt::RawMqtt;
pub use seed::Seed;
pub use service::{Delivery, Publication, Service, ServiceKind, is_final};
