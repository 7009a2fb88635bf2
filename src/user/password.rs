//! A password comes in: typed twice where nobody sees it, or the first line of what is piped in. Never an argument, which `ps` would show.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Bound on a line: longer than anything that is a password.
const BYTES_MAX: u64 = 4_096;

/// Reads it.
pub(super) fn read() -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return line();
    }
    let hidden = Hidden::begin().context("the terminal does not hide what is typed")?;
    let (first, second) = (ask("Password: ")?, ask("Again: ")?);
    drop(hidden);
    ensure!(first == second, "the two passwords are not the same");
    Ok(first)
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let mut terminal = io::stderr();
    write!(terminal, "{prompt}")?;
    terminal.flush()?;
    let read = line();
    writeln!(terminal)?;
    read
}

/// A line of the standard input, without its end.
fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().take(BYTES_MAX + 1).read_line(&mut line);
    // What was read so far stands in no error.
    read.ok().context("the password is not UTF-8 text")?;
    ensure!(line.len() as u64 <= BYTES_MAX, "a password has {BYTES_MAX} bytes at most");
    let password = line.strip_suffix('\n').unwrap_or(&line);
    let password = password.strip_suffix('\r').unwrap_or(password);
    ensure!(!password.is_empty(), "there is no password on the standard input");
    Ok(password.to_owned())
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let shown = tcgetattr(io::stdin())?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(shown))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell if it fails.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
