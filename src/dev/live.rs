//! The live line: drawn over itself on a terminal, written now and then anywhere else.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::counts::Counts;

/// On a terminal: often enough to look alive.
const REDRAW: Duration = Duration::from_millis(500);
/// In a file or a pipe: seldom enough not to fill it.
const REPEAT: Duration = Duration::from_secs(5);

/// Shows counts when they are due.
pub(crate) struct LiveLine {
    is_terminal: bool,
    ticks: Interval,
    earlier: (Instant, Counts),
}

impl LiveLine {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let period = if is_terminal { REDRAW } else { REPEAT };
        let now = Instant::now();
        let mut ticks = interval_at(now + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { is_terminal, ticks, earlier: (now, Counts::default()) }
    }

    /// Waits until the next line is due.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    pub(crate) fn show(&mut self, out: &mut impl Write, counts: Counts) -> std::io::Result<()> {
        let now = Instant::now();
        let (then, earlier) = std::mem::replace(&mut self.earlier, (now, counts));
        let line = counts.line(earlier, now - then);
        match self.is_terminal {
            true => write!(out, "\r\x1b[2K{line}")?,
            false => writeln!(out, "{line}")?,
        }
        out.flush()
    }

    /// Leaves the line, so that what is written next has one of its own.
    pub(crate) fn end(&self, out: &mut impl Write) -> std::io::Result<()> {
        if self.is_terminal { writeln!(out) } else { Ok(()) }
    }
}
