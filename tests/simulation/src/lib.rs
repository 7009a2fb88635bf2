//! The whole mesh in one thread, on one virtual clock, from one seed.
//!
//! Two gateways, a router, the AMQP broker, devices and a service: all of them production's cores, with the frames, records and
//! packets that production writes. What is modelled is what lies between them: connections with latency, that break and
//! are found broken late; disks that lose what was not synced; clocks that differ; machines that stand still.
//!
//! A walk through the rooms:
//! - [`Plan`] says which seed, [`run`] runs it, [`Report`] says what came of it, [`Coverage`] what many runs met together.
//! - `settings` draws how a run is set up, `fault` what goes wrong in it, one by one and, as a [`Burst`], together.
//! - `service` sends commands, `device` has habits.
//! - `world` has the one loop; `agenda` gives it what is next; `event` is what can happen, `effect` what a process wants done.
//! - `gateway`, `router` and `amqp` drive the cores as their shells do.
//! - `witness` notes what was seen, `rules` judges it when all is quiet.
//! - [`Break`] breaks a rule on purpose: the simulation has to find each.

mod agenda;
mod amqp;
mod burst;
mod chance;
mod device;
mod diagram;
mod effect;
mod event;
mod fault;
mod gateway;
mod plant;
mod report;
mod router;
mod rules;
mod service;
mod settings;
mod socket;
mod spool;
mod story;
mod time;
mod trace;
mod witness;
mod world;

pub use burst::Burst;
pub use plant::Break;
pub use report::{Coverage, Report, diagram, run};
pub use settings::Plan;
