//! End to end: the binary as its users run it, real clients at both ends, real sockets between.
//!
//! One file per behaviour. A scenario is an `async fn(Backend)` and runs twice, against the embedded broker and
//! against RabbitMQ; what has no broker in it runs once.

mod answers;
mod away;
mod bad_commands;
mod bad_configuration;
mod bad_packets;
mod broadcasts;
mod busy;
mod chaos;
mod comings_and_goings;
mod command_line;
mod cut_link;
mod delivery_limit;
mod demo;
mod duplicates;
mod exactly_once;
mod expired;
mod fleet;
mod full_queue;
mod http_api;
mod interrupt;
mod json_logs;
mod kills;
mod known_devices;
mod link;
mod logging_in;
mod metrics;
mod mqtt_31;
mod no_amqp;
mod open_api;
mod pairs;
mod presence;
mod prometheus;
mod raw_client;
mod receipts;
mod retained;
mod roaming;
mod roaming_sessions;
mod sessions_on_disk;
mod shared_client_id;
mod sharing;
mod spans;
mod spool;
mod supersede;
mod sys_topics;
mod threads;
mod told_to_devices;
mod topic_aliases;
mod unknown_device;
mod wills;
