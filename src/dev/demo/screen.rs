//! The lines of a running demo: drawn over themselves on a terminal, written now and then anywhere else.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// On a terminal: often enough to look alive.
const REDRAW: Duration = Duration::from_millis(500);
/// In a file or a pipe: seldom enough not to fill it.
const REPEAT: Duration = Duration::from_secs(5);

/// Shows lines when they are due, and what is said in between.
pub(crate) struct Screen {
    is_terminal: bool,
    ticks: Interval,
    /// How many lines stand there now, to be drawn over.
    drawn: usize,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let period = if is_terminal { REDRAW } else { REPEAT };
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { is_terminal, ticks, drawn: 0 }
    }

    /// Waits until lines are due. Cancel safe.
    pub(crate) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Shows the lines in place of those shown before.
    pub(crate) fn show(&mut self, out: &mut impl Write, lines: &[String]) -> std::io::Result<()> {
        if !self.is_terminal {
            writeln!(out, "{}", lines.join(" · "))?;
            return out.flush();
        }
        self.wipe(out)?;
        // Without wrapping, so that a narrow terminal has as many lines as there are.
        write!(out, "\x1b[?7l{}\x1b[?7h\r", lines.join("\n"))?;
        self.drawn = lines.len();
        out.flush()
    }

    /// Says something that stays.
    pub(crate) fn say(&mut self, out: &mut impl Write, line: &str) -> std::io::Result<()> {
        self.wipe(out)?;
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Leaves the lines, so that what is written next has one of its own.
    pub(crate) fn end(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if std::mem::take(&mut self.drawn) > 0 { writeln!(out) } else { Ok(()) }
    }

    fn wipe(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        match std::mem::take(&mut self.drawn) {
            0 => Ok(()),
            1 => write!(out, "\r\x1b[J"),
            many => write!(out, "\x1b[{}F\x1b[J", many - 1),
        }
    }
}

/// A time of a run, as `02:05`.
pub(crate) fn clock(at: Duration) -> String {
    let s = at.as_secs();
    match s / 3_600 {
        0 => format!("{:02}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_a_clock() {
        assert_eq!([5, 125, 3_725].map(|s| clock(Duration::from_secs(s))), ["00:05", "02:05", "1:02:05"]);
    }

    #[tokio::test]
    async fn what_is_said_stands_above_the_lines() {
        let mut screen = Screen { is_terminal: true, ..Screen::new() };
        let mut out = Vec::new();
        screen.show(&mut out, &["a".to_owned(), "b".to_owned()]).unwrap();
        screen.say(&mut out, "said").unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with("\x1b[1F\x1b[Jsaid\n"), "{out:?}");
    }
}
