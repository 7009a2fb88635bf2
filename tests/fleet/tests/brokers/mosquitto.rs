//! mosquitto and what stands before it.

use std::path::Path;
use std::process::Command;

use roost_harness::{PATIENCE, Process, ReservedPort, eventually};

/// A server program that `tests/run` has installed.
pub(crate) fn program(variable: &str) -> Command {
    Command::new(
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: start with tests/run")),
    )
}

pub(crate) async fn listens(port: &ReservedPort) {
    eventually("it listens", PATIENCE, async || {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port.number())).await;
        connected.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// mosquitto with one listener; `more` is the rest of its configuration.
pub(crate) async fn mosquitto(directory: &Path, port: &ReservedPort, more: &str) -> Process {
    let file = directory.join("mosquitto.conf");
    let text = format!("listener {} 127.0.0.1\nuser root\n{more}", port.number());
    std::fs::write(&file, text).unwrap();
    let mut command = program("ROOST_TEST_MOSQUITTO");
    command.arg("-c").arg(file);
    let process = Process::start("mosquitto", command);
    listens(port).await;
    process
}

/// mosquitto with a listener for WebSocket. Debian's starts only if there is another one as well, and
/// such a listener takes the name of an interface for an address.
pub(crate) async fn mosquitto_websockets(directory: &Path, port: &ReservedPort, more: &str) -> Process {
    let plain = ReservedPort::any();
    let lines =
        format!("{OPEN}listener {} lo\nsocket_domain ipv4\nprotocol websockets\n{more}", port.number());
    let process = mosquitto(directory, &plain, &lines).await;
    listens(port).await;
    process
}

/// What lets everybody in.
pub(crate) const OPEN: &str = "allow_anonymous true\n";

/// A certificate for `broker.test`: the lines of a listener that has it, and what a client must trust.
pub(crate) fn tls(directory: &Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["broker.test".to_owned()]).unwrap();
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (format!("certfile {}\nkeyfile {}\n", certificate.display(), key.display()), made.cert.pem())
}
