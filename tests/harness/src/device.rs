//! A device, as one of the MQTT clients that devices really run.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client_script::ClientScript;
use crate::eventually::PATIENCE;
use crate::mosquitto::Mosquitto;
use crate::mqtt_v4::V4;
use crate::mqtt_v5::V5;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// rumqttc, MQTT 3.1.1.
    RumqttcV4,
    /// rumqttc, MQTT 5.
    RumqttcV5,
    /// `mosquitto_sub` to listen, or `mosquitto_pub` for each publish; not both at a time. MQTT 5.
    Mosquitto,
    /// paho-mqtt in Python, MQTT 5.
    Paho,
    /// mqtt.js, MQTT 5.
    MqttJs,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The client id.
    pub id: String,
    /// The gateway's MQTT port on loopback.
    pub port: u16,
    /// Whether the session outlives the connection: no clean start, and an hour of expiry.
    pub persistent: bool,
    /// Keep alive in seconds.
    pub keep_alive_s: u16,
}

impl Connect {
    /// A clean session of `id` at `port`.
    pub fn to(port: u16, id: &str) -> Self {
        Self { id: id.to_owned(), port, persistent: false, keep_alive_s: 30 }
    }

    /// The same, with a session that outlives the connection.
    pub fn persistent(self) -> Self {
        Self { persistent: true, ..self }
    }
}

/// A message that a device received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its QoS.
    pub qos: u8,
    /// Whether the DUP flag was set.
    pub duplicate: bool,
    /// v5 user properties; empty for 3.1.1 and for mosquitto.
    pub user_properties: Vec<(String, String)>,
    /// v5 Response Topic and Correlation Data, if a [`DeviceKind::RumqttcV5`] got both.
    pub answer_to: Option<(String, Vec<u8>)>,
}

impl Message {
    /// The payload as text.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload)
            .unwrap_or_else(|_| panic!("the payload is no text: {:?}", self.payload))
    }

    /// The value of a v5 user property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.user_properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An operation failed: the connection ended, or the gateway said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// In the client's words.
    pub reason: String,
    /// The MQTT 5 reason code, where the client tells it.
    pub code: Option<u8>,
}

impl Lost {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), code: None }
    }
}

/// A connected device. Dropping it breaks the connection off without a DISCONNECT.
#[derive(Debug)]
pub struct Device {
    client: Client,
    messages: mpsc::Receiver<Message>,
    session_present: bool,
}

#[derive(Debug)]
enum Client {
    V4(V4),
    V5(V5),
    Script(ClientScript),
    Mosquitto(Mosquitto),
}

impl Device {
    /// Connects and awaits the CONNACK.
    ///
    /// # Errors
    /// When the gateway cannot be reached or refuses.
    pub async fn connect(kind: DeviceKind, how: &Connect) -> Result<Self, Lost> {
        let (client, messages, session_present) = match kind {
            DeviceKind::RumqttcV4 => {
                let (client, messages, present) = V4::connect(how).await?;
                (Client::V4(client), messages, present)
            }
            DeviceKind::RumqttcV5 => {
                let (client, messages, present) = V5::connect(how).await?;
                (Client::V5(client), messages, present)
            }
            DeviceKind::Paho => Self::script("paho_device.py", how).await?,
            DeviceKind::MqttJs => Self::script("mqttjs_device.mjs", how).await?,
            DeviceKind::Mosquitto => {
                let (client, messages) = Mosquitto::new(how);
                (Client::Mosquitto(client), messages, false)
            }
        };
        Ok(Self { client, messages, session_present })
    }

    async fn script(
        name: &'static str,
        how: &Connect,
    ) -> Result<(Client, mpsc::Receiver<Message>, bool), Lost> {
        let (mut script, messages) = ClientScript::start(name, parse_message);
        let connect = json!({"op": "connect", "id": how.id, "port": how.port, "persistent": how.persistent,
            "keep_alive_s": how.keep_alive_s});
        let reply = script.ask(connect).await?;
        Ok((Client::Script(script), messages, reply["session_present"].as_bool().unwrap_or(false)))
    }

    /// Connects with a client of its choice that is expected to work.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn connected(kind: DeviceKind, how: &Connect) -> Self {
        Self::connect(kind, how)
            .await
            .unwrap_or_else(|lost| panic!("{kind:?} cannot connect as {}: {lost:?}", how.id))
    }

    /// Whether the CONNACK said that there was a session. Mosquitto does not tell.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Subscribes and awaits the SUBACK.
    ///
    /// # Errors
    /// When the connection ends first, or the gateway refuses.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), Lost> {
        match &mut self.client {
            Client::V4(client) => client.subscribe(filter, qos).await,
            Client::V5(client) => client.subscribe(filter, qos).await,
            Client::Mosquitto(client) => client.subscribe(filter, qos).await,
            Client::Script(script) => {
                script.ask(json!({"op": "subscribe", "filter": filter, "qos": qos})).await.map(drop)
            }
        }
    }

    /// Publishes, and awaits the PUBACK for QoS 1, or the PUBCOMP for QoS 2.
    ///
    /// # Errors
    /// When the connection ends first, or the PUBACK or PUBREC carries an error.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) -> Result<(), Lost> {
        match &mut self.client {
            Client::V4(client) => client.publish(topic, payload, qos).await,
            Client::V5(client) => client.publish(topic, payload, qos).await,
            Client::Mosquitto(client) => client.publish(topic, payload, qos).await,
            Client::Script(script) => {
                let payload = BASE64.encode(payload);
                script
                    .ask(json!({"op": "publish", "topic": topic, "payload": payload, "qos": qos}))
                    .await
                    .map(drop)
            }
        }
    }

    /// Publishes at QoS 1 with v5 user properties, and awaits the PUBACK.
    ///
    /// # Errors
    /// As [`Device::publish`].
    ///
    /// # Panics
    /// With a client that has none: only [`DeviceKind::RumqttcV5`] does.
    pub async fn publish_saying(
        &mut self,
        topic: &str,
        payload: &[u8],
        pairs: &[(&str, &str)],
    ) -> Result<(), Lost> {
        match &mut self.client {
            Client::V5(client) => client.publish_saying(topic, payload, pairs).await,
            Client::V4(_) | Client::Mosquitto(_) | Client::Script(_) => {
                panic!("this client publishes without user properties")
            }
        }
    }

    /// Answers a command as it asks to: at QoS 1, to its Response Topic, with its Correlation Data. Awaits the PUBACK.
    ///
    /// # Errors
    /// As [`Device::publish`].
    ///
    /// # Panics
    /// If the command does not ask for an answer, or this is another client than [`DeviceKind::RumqttcV5`].
    pub async fn answer(&mut self, command: &Message, payload: &[u8]) -> Result<(), Lost> {
        let (topic, data) = command.answer_to.as_ref().expect("the command asks for an answer");
        match &mut self.client {
            Client::V5(client) => client.publish_correlated(topic, payload, data).await,
            Client::V4(_) | Client::Mosquitto(_) | Client::Script(_) => {
                panic!("this client publishes without correlation data")
            }
        }
    }

    /// The next message that was received.
    ///
    /// # Errors
    /// When the connection has ended and no message is left.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&mut self) -> Result<Message, Lost> {
        self.next_within(PATIENCE)
            .await
            .map(|message| message.unwrap_or_else(|| panic!("no message within {PATIENCE:?}")))
    }

    /// The next message, or nothing when none came in time.
    ///
    /// # Errors
    /// When the connection has ended and no message is left.
    pub async fn next_within(&mut self, within: Duration) -> Result<Option<Message>, Lost> {
        match timeout(within, self.messages.recv()).await {
            Ok(Some(message)) => Ok(Some(message)),
            Ok(None) => Err(self.why_lost()),
            Err(_) => Ok(None),
        }
    }

    /// The messages that have already arrived.
    pub fn arrived(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.messages.try_recv().ok()).collect()
    }

    /// Waits until the gateway has closed the connection, and says why; messages that come before are dropped.
    ///
    /// # Panics
    /// When it does not.
    pub async fn lost(&mut self) -> Lost {
        let ended = async { while self.messages.recv().await.is_some() {} };
        timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("still connected after {PATIENCE:?}"));
        self.why_lost()
    }

    /// Sends DISCONNECT and waits until the connection has ended.
    pub async fn disconnect(mut self) {
        match &mut self.client {
            Client::V4(client) => client.disconnect().await,
            Client::V5(client) => client.disconnect().await,
            Client::Mosquitto(client) => client.disconnect(),
            Client::Script(script) => drop(script.ask(json!({"op": "disconnect"})).await),
        }
        self.lost().await;
    }

    fn why_lost(&self) -> Lost {
        match &self.client {
            Client::V4(client) => client.answers.why(),
            Client::V5(client) => client.answers.why(),
            Client::Mosquitto(client) => client.why(),
            Client::Script(script) => script.why_closed(),
        }
    }
}

/// What the driver of a rumqttc connection tells its device.
#[derive(Clone, Debug)]
pub(crate) struct Signals {
    pub(crate) replies: mpsc::Sender<Reply>,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) ended: Arc<OnceLock<Lost>>,
}

/// An answer of the gateway to one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Connected { session_present: bool },
    Done,
    Refused(Lost),
}

/// The other end of [`Signals`].
#[derive(Debug)]
pub(crate) struct Answers {
    replies: mpsc::Receiver<Reply>,
    ended: Arc<OnceLock<Lost>>,
}

impl Signals {
    /// Messages not yet looked at: when they are that many, the device stops reading.
    const MESSAGES_MAX: usize = 100_000;

    pub(crate) fn new() -> (Self, Answers, mpsc::Receiver<Message>) {
        let (reply_to, replies) = mpsc::channel(16);
        let (message_to, messages) = mpsc::channel(Self::MESSAGES_MAX);
        let ended = Arc::new(OnceLock::new());
        let answers = Answers { replies, ended: Arc::clone(&ended) };
        (Self { replies: reply_to, messages: message_to, ended }, answers, messages)
    }
}

impl Answers {
    pub(crate) async fn next(&mut self) -> Result<Reply, Lost> {
        match timeout(PATIENCE, self.replies.recv()).await {
            Ok(Some(Reply::Refused(lost))) => Err(lost),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.why()),
            Err(_) => Err(Lost::because(format!("the gateway does not answer within {PATIENCE:?}"))),
        }
    }

    pub(crate) fn why(&self) -> Lost {
        self.ended.get().cloned().unwrap_or_else(|| Lost::because("the device was dropped"))
    }
}

fn parse_message(event: &Value) -> Message {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let properties = event["user_properties"].as_array().into_iter().flatten();
    Message {
        topic: text("topic").to_owned(),
        payload: BASE64.decode(text("payload")).expect("scripts send base64"),
        qos: event["qos"].as_u64().and_then(|qos| u8::try_from(qos).ok()).expect("scripts send the QoS"),
        duplicate: event["duplicate"].as_bool().unwrap_or(false),
        user_properties: properties
            .map(|pair| {
                (
                    pair[0].as_str().unwrap_or_default().to_owned(),
                    pair[1].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect(),
        answer_to: None,
    }
}
