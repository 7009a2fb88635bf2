//! SIGINT and SIGTERM: the first asks for a drain, the second ends at once.

use std::io::Write;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell gives to a program that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Listens from its making on, so that no signal is lost between two waits.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one of the two, and names it.
    pub(crate) async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Waits for `drain`; a signal meanwhile ends the process where it stands.
    pub(crate) async fn or_abandon<T>(mut self, drain: impl Future<Output = T>) -> T {
        tokio::select! {
            drained = drain => drained,
            name = self.asked() => {
                let _ = writeln!(std::io::stderr(), "roost: {name} again: ending at once, nothing is drained");
                std::process::exit(EXIT_INTERRUPTED)
            }
        }
    }
}
