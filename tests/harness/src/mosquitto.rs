//! `mosquitto_pub` and `mosquitto_sub`: a device of shell scripts.

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Command};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::device::{Connect, Lost, Message};
use crate::environment::required;
use crate::eventually::PATIENCE;
use crate::process::Process;

/// Messages not yet looked at: when they are that many, the subscriber waits.
const MESSAGES_MAX: usize = 100_000;
/// What begins a line that is a message; the others are the client's own remarks.
const MESSAGE: &str = "message ";

#[derive(Debug)]
pub(crate) struct Mosquitto {
    how: Connect,
    messages: Option<mpsc::Sender<Message>>,
    ended: Arc<OnceLock<Lost>>,
    subscriber: Option<Process>,
}

impl Mosquitto {
    pub(crate) fn new(how: &Connect) -> (Self, mpsc::Receiver<Message>) {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let ended = Arc::new(OnceLock::new());
        (Self { how: how.clone(), messages: Some(sender), ended, subscriber: None }, messages)
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), Lost> {
        let messages = self.messages.take().expect("mosquitto_sub subscribes once, when it starts");
        let mut command = self.command("ROOST_TEST_MOSQUITTO_SUB", qos);
        command.args(["-d", "-t", filter, "-F", &format!("{MESSAGE}%q %x %t")]);
        if self.how.persistent {
            command.args(["-c", "-x", "3600"]);
        }
        let mut subscriber = Process::start_piped("mosquitto_sub", command);
        let (_, output) = subscriber.pipes();
        self.subscriber = Some(subscriber);
        let (subscribed, mut is_subscribed) = mpsc::channel(1);
        let ended = Arc::clone(&self.ended);
        // Ends with the process, which the owner of this device kills.
        std::thread::spawn(move || read(output, &subscribed, &messages, &ended));
        match timeout(PATIENCE, is_subscribed.recv()).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(self.why()),
            Err(_) => Err(Lost::because("mosquitto_sub had no SUBACK")),
        }
    }

    /// A process and a connection for each message, as in a shell script.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Result<(), Lost> {
        assert!(self.subscriber.is_none(), "mosquitto_pub would take the session from mosquitto_sub");
        let text = std::str::from_utf8(payload).expect("mosquitto_pub takes text");
        let mut command = self.command("ROOST_TEST_MOSQUITTO_PUB", qos);
        command.args(["-t", topic, "-m", text]);
        let ended = Process::start("mosquitto_pub", command).ended(PATIENCE).await;
        if ended.status.success() {
            Ok(())
        } else {
            Err(Lost::because(format!("mosquitto_pub: {}", ended.output)))
        }
    }

    pub(crate) fn disconnect(&mut self) {
        self.messages = None;
        if let Some(subscriber) = &self.subscriber {
            subscriber.interrupt(); // it sends DISCONNECT and ends
        }
    }

    pub(crate) fn why(&self) -> Lost {
        self.ended.get().cloned().unwrap_or_else(|| Lost::because("mosquitto_sub is not connected"))
    }

    fn command(&self, program: &str, qos: u8) -> Command {
        // Into a pipe it would keep its remarks back until there are enough of them.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", &required(program)]);
        command.args(["-V", "5", "-h", "127.0.0.1", "-i", &self.how.id]);
        command.args([
            "-p",
            &self.how.port.to_string(),
            "-q",
            &qos.to_string(),
            "-k",
            &self.how.keep_alive_s.to_string(),
        ]);
        command
    }
}

fn read(
    output: ChildStdout,
    subscribed: &mpsc::Sender<()>,
    messages: &mpsc::Sender<Message>,
    ended: &OnceLock<Lost>,
) {
    let mut last_remark = String::from("mosquitto_sub has ended");
    let mut connects = 0;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(message) = line.strip_prefix(MESSAGE) {
            if messages.blocking_send(parse(message)).is_err() {
                return; // the device was dropped
            }
        } else if line.contains("received SUBACK") {
            subscribed.try_send(()).ok();
        } else {
            // It would connect again by itself, and fight its successor. Without a reader its next remark ends it.
            connects += usize::from(line.contains("sending CONNECT"));
            last_remark = line;
            if connects == 2 || last_remark.contains("received DISCONNECT") {
                break;
            }
        }
    }
    ended.set(Lost::because(last_remark)).ok();
}

/// `QOS HEX TOPIC`
fn parse(line: &str) -> Message {
    let mut fields = line.splitn(3, ' ');
    let (qos, hex, topic) = (fields.next(), fields.next(), fields.next());
    let (Some(qos), Some(hex), Some(topic)) = (qos, hex, topic) else { panic!("not a message: {line:?}") };
    let byte =
        |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("mosquitto_sub writes hexadecimal");
    Message {
        topic: topic.to_owned(),
        payload: (0..hex.len()).step_by(2).map(byte).collect(),
        qos: qos.parse().expect("mosquitto_sub writes the QoS"),
        duplicate: false,
        user_properties: Vec::new(),
        answer_to: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_message_with_any_payload_and_topic() {
        let message = parse("1 00ff20 a b/c");
        assert_eq!(
            (message.qos, message.payload.as_slice(), message.topic.as_str()),
            (1, &[0, 255, 32][..], "a b/c")
        );
        assert_eq!(parse("0  t").payload, Vec::<u8>::new());
    }
}
