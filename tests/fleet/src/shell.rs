//! What touches sockets, tasks, processes and clocks.

mod backend_side;
mod clock;
mod conductor;
mod crew;
mod crews;
mod device_task;
mod logins;
mod orders;
mod process;
mod run;
mod signer;
mod socket;
mod wan;
mod websocket;
mod worker;

pub use clock::{instant, now};
pub use conductor::{FleetError, Options, Progress};
pub use crew::Crew;
pub use crews::{Crews, descriptors};
pub use orders::{Order, Report};
pub use run::run;
pub use wan::{Wan, WanState};
pub use worker::serve as serve_worker;
