//! A client in another language: a script that is spoken to in lines of JSON.
//!
//! To the script: `{"op": NAME, …}`, one at a time. From it: `{"reply": {…}}` for each, with `error` in it where the
//! operation failed; `{"event": {…}}` whenever something came; `{"closed": REASON, "code": N}` when its connection ended.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::device::Lost;
use crate::environment::{client_script, required};
use crate::eventually::PATIENCE;
use crate::process::Process;

/// Events not yet looked at. A script that has more to tell waits, and so does the broker behind it.
const EVENTS_MAX: usize = 100_000;

#[derive(Debug)]
pub(crate) struct ClientScript {
    name: &'static str,
    input: ChildStdin,
    replies: mpsc::Receiver<Value>,
    closed: Arc<OnceLock<Lost>>,
    _process: Process,
}

impl ClientScript {
    /// Starts `tests/e2e/clients/NAME`. Events arrive in the receiver, read by `parse`; it ends when the connection does.
    pub(crate) fn start<E: Send + 'static>(
        name: &'static str,
        parse: fn(&Value) -> E,
    ) -> (Self, mpsc::Receiver<E>) {
        let mut process = Process::start_piped(name, interpreter(name));
        let (input, output) = process.pipes();
        let (reply_to, replies) = mpsc::channel(16);
        let (event_to, events) = mpsc::channel(EVENTS_MAX);
        let closed = Arc::new(OnceLock::new());
        let reader = Reader { output, reply_to, event_to, parse, closed: Arc::clone(&closed) };
        // Ends with the process, which the owner of this script kills.
        std::thread::spawn(move || reader.run());
        (Self { name, input, replies, closed, _process: process }, events)
    }

    /// Asks the script for one operation and awaits its reply.
    pub(crate) async fn ask(&mut self, request: Value) -> Result<Value, Lost> {
        let sent = self.input.write_all(format!("{request}\n").as_bytes()).and_then(|()| self.input.flush());
        if sent.is_err() {
            return Err(self.why_closed());
        }
        let Ok(reply) = timeout(PATIENCE, self.replies.recv()).await else {
            return Err(Lost::because(format!("{} does not reply to {request}", self.name)));
        };
        let reply = reply.ok_or_else(|| self.why_closed())?;
        match reply["error"].as_str() {
            Some(error) => Err(Lost { reason: format!("{}: {error}", self.name), code: code(&reply) }),
            None => Ok(reply),
        }
    }

    /// Why the connection ended.
    pub(crate) fn why_closed(&self) -> Lost {
        let closed = self.closed.get().cloned();
        closed.unwrap_or_else(|| Lost::because(format!("{} has ended", self.name)))
    }
}

struct Reader<E> {
    output: ChildStdout,
    reply_to: mpsc::Sender<Value>,
    event_to: mpsc::Sender<E>,
    parse: fn(&Value) -> E,
    closed: Arc<OnceLock<Lost>>,
}

impl<E> Reader<E> {
    fn run(self) {
        for line in BufReader::new(self.output).lines().map_while(Result::ok) {
            let said: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
            let taken = if let Some(reply) = said.get("reply") {
                self.reply_to.blocking_send(reply.clone()).is_ok()
            } else if let Some(event) = said.get("event") {
                self.event_to.blocking_send((self.parse)(event)).is_ok()
            } else {
                let reason = said["closed"].as_str().unwrap_or("no reason given").to_owned();
                self.closed.set(Lost { reason, code: code(&said) }).ok();
                false
            };
            if !taken {
                return; // nobody listens any more
            }
        }
    }
}

fn code(said: &Value) -> Option<u8> {
    said["code"].as_u64().and_then(|code| u8::try_from(code).ok())
}

fn interpreter(name: &str) -> Command {
    let script = client_script(name);
    let python = Path::new(name).extension().is_some_and(|extension| extension == "py");
    let mut command = if python {
        let mut python = Command::new(required("ROOST_TEST_PYTHON"));
        python.arg("-u").env("PYTHONDONTWRITEBYTECODE", "1");
        python
    } else {
        let mut node = Command::new(required("ROOST_TEST_NODE"));
        node.env("NODE_PATH", required("ROOST_TEST_NODE_PATH"));
        node
    };
    command.arg(script);
    command
}
