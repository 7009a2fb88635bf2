//! A microservice, as one of the AMQP clients that microservices really use.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client_script::ClientScript;
use crate::device::Lost;
use crate::eventually::PATIENCE;
use crate::service_lapin::Lapin;

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// lapin.
    Lapin,
    /// pika in Python.
    Pika,
    /// amqplib in Node.
    Amqplib,
}

/// A message to publish. Empty fields are left out of its properties.
#[derive(Clone, Debug, Default)]
pub struct Publication {
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub key: String,
    /// The body.
    pub body: Vec<u8>,
    /// The `message_id` property.
    pub message_id: Option<String>,
    /// The `expiration` property, in milliseconds.
    pub expiration_ms: Option<u64>,
    /// Whether it asks for QoS 1: `delivery_mode` 2, else 1.
    pub persistent: bool,
    /// The `reply_to` property; only lapin writes it.
    pub reply_to: Option<String>,
    /// The `correlation_id` property; only lapin writes it.
    pub correlation_id: Option<String>,
    /// The header `roost-retain`; only lapin writes it.
    pub retain: Option<bool>,
    /// Other headers, all of them text.
    pub headers: Vec<(String, String)>,
}

impl Publication {
    /// A command for `main/device` on `topic`, QoS 1.
    pub fn command(device: &str, topic: &str, body: &[u8], message_id: &str) -> Self {
        Self {
            exchange: "roost.down".to_owned(),
            key: format!("main.{device}"),
            body: body.to_vec(),
            message_id: Some(message_id.to_owned()),
            persistent: true,
            ..Self::default()
        }
        .header("roost-topic", topic)
    }

    /// The same with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, asking for an answer.
    pub fn answered_to(self, queue: &str, correlation_id: &str) -> Self {
        let (reply_to, correlation_id) = (Some(queue.to_owned()), Some(correlation_id.to_owned()));
        Self { reply_to, correlation_id, ..self }
    }

    /// The same, to expire after `ms` milliseconds.
    pub fn expiring_after_ms(self, ms: u64) -> Self {
        Self { expiration_ms: Some(ms), ..self }
    }
}

/// A message that a service received.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The exchange it was published to.
    pub exchange: String,
    /// Its routing key.
    pub key: String,
    /// Its body.
    pub body: Vec<u8>,
    /// The `message_id` property.
    pub message_id: Option<String>,
    /// The `correlation_id` property.
    pub correlation_id: Option<String>,
    /// Its headers, as far as JSON can tell them.
    pub headers: Map<String, Value>,
}

impl Delivery {
    /// The body as text.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("the body is no text: {:?}", self.body))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is no JSON ({error}): {:?}", self.body))
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }
}

/// A connected microservice. What it consumes it acknowledges at once.
#[derive(Debug)]
pub struct Service {
    client: Client,
    deliveries: mpsc::Receiver<Delivery>,
}

#[derive(Debug)]
enum Client {
    Lapin(Box<Lapin>),
    Script(ClientScript),
}

impl Service {
    /// Connects.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn connect(kind: ServiceKind, uri: &str) -> Self {
        let script = match kind {
            ServiceKind::Lapin => {
                let (client, deliveries) = Lapin::connect(uri).await;
                return Self { client: Client::Lapin(Box::new(client)), deliveries };
            }
            ServiceKind::Pika => "pika_service.py",
            ServiceKind::Amqplib => "amqplib_service.mjs",
        };
        let (mut client, deliveries) = ClientScript::start(script, parse_delivery);
        let connected = client.ask(json!({"op": "connect", "uri": uri})).await;
        connected.unwrap_or_else(|lost| panic!("{kind:?} cannot connect to {uri}: {lost:?}"));
        Self { client: Client::Script(client), deliveries }
    }

    /// Consumes what `exchange` routes by `pattern` from now on, through an exclusive queue.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn consume(&mut self, exchange: &str, pattern: &str) {
        let done = match &mut self.client {
            Client::Lapin(client) => client.consume(exchange, pattern).await,
            Client::Script(script) => {
                script.ask(json!({"op": "consume", "exchange": exchange, "pattern": pattern})).await.map(drop)
            }
        };
        done.unwrap_or_else(|lost| panic!("cannot consume {pattern} from {exchange}: {lost:?}"));
    }

    /// Consumes what `exchange` routes by `pattern` through a durable queue of this name, which takes messages in while nobody
    /// consumes it and outlives the broker.
    ///
    /// # Panics
    /// When the broker refuses, or with another client than lapin.
    pub async fn consume_kept(&mut self, queue: &str, exchange: &str, pattern: &str) {
        match &mut self.client {
            Client::Lapin(client) => {
                let done = client.consume_kept(queue, exchange, pattern).await;
                done.unwrap_or_else(|lost| panic!("cannot consume {queue}: {lost:?}"));
            }
            Client::Script(_) => panic!("this client consumes through exclusive queues only"),
        }
    }

    /// Consumes an exclusive queue of its own from now on; its name.
    ///
    /// # Panics
    /// When the broker refuses, or with another client than lapin.
    pub async fn listen(&mut self) -> String {
        match &mut self.client {
            Client::Lapin(client) => {
                client.listen().await.unwrap_or_else(|lost| panic!("cannot listen: {lost:?}"))
            }
            Client::Script(_) => panic!("this client consumes from exchanges only"),
        }
    }

    /// Binds a queue that takes one message, refuses all others (`x-overflow: reject-publish`) and that nobody reads.
    ///
    /// # Panics
    /// When the broker refuses, or with another client than lapin.
    pub async fn jam(&mut self, exchange: &str, pattern: &str) {
        match &mut self.client {
            Client::Lapin(client) => {
                client.jam(exchange, pattern).await.unwrap_or_else(|error| panic!("cannot jam: {error}"));
            }
            Client::Script(_) => panic!("this client consumes from exchanges only"),
        }
    }

    /// Publishes and awaits the confirm.
    ///
    /// # Errors
    /// When the broker refuses, or the connection ends first.
    pub async fn publish(&mut self, publication: &Publication) -> Result<(), Lost> {
        match &mut self.client {
            Client::Lapin(client) => client.publish(publication).await,
            Client::Script(script) => {
                let headers: Map<String, Value> =
                    publication.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                let request = json!({"op": "publish", "exchange": publication.exchange, "key": publication.key,
                    "body": BASE64.encode(&publication.body), "message_id": publication.message_id,
                    "expiration_ms": publication.expiration_ms, "persistent": publication.persistent,
                    "headers": headers});
                script.ask(request).await.map(drop)
            }
        }
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next(&mut self) -> Delivery {
        self.next_within(PATIENCE).await.unwrap_or_else(|| panic!("no message within {PATIENCE:?}"))
    }

    /// The next message, or nothing when none came in time.
    ///
    /// # Panics
    /// When the connection has ended.
    pub async fn next_within(&mut self, within: Duration) -> Option<Delivery> {
        let next = timeout(within, self.deliveries.recv()).await.ok()?;
        Some(next.unwrap_or_else(|| panic!("the service lost its connection: {:?}", self.why_lost())))
    }

    /// The next message that is `wanted`. Others that come before it are dropped.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next_where(&mut self, wanted: impl Fn(&Delivery) -> bool) -> Delivery {
        loop {
            let delivery = self.next().await;
            if wanted(&delivery) {
                return delivery;
            }
        }
    }

    /// The messages that have already arrived.
    pub fn arrived(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.deliveries.try_recv().ok()).collect()
    }

    /// The receipts of `message_id` up to the final one, in the order in which they came. Others are dropped.
    ///
    /// # Panics
    /// When no final one comes.
    pub async fn receipts_of(&mut self, message_id: &str) -> Vec<Value> {
        let mut receipts = Vec::new();
        loop {
            let delivery =
                self.next_where(|delivery| delivery.correlation_id.as_deref() == Some(message_id)).await;
            let receipt = delivery.json();
            let last = is_final(&receipt);
            receipts.push(receipt);
            if last {
                return receipts;
            }
        }
    }

    fn why_lost(&self) -> Lost {
        match &self.client {
            Client::Lapin(_) => Lost::because("lapin's consumer has ended"),
            Client::Script(script) => script.why_closed(),
        }
    }
}

/// Whether a receipt is the last word on its command.
pub fn is_final(receipt: &Value) -> bool {
    let state = receipt["state"].as_str().unwrap_or_else(|| panic!("a receipt without state: {receipt}"));
    match state {
        "accepted" | "parked" | "forwarded" => false,
        "delivered" | "sent" | "expired" | "rejected" | "superseded" | "unreachable" | "unknown" => true,
        other => panic!("no such state: {other:?} in {receipt}"),
    }
}

fn parse_delivery(event: &Value) -> Delivery {
    let optional = |name: &str| event[name].as_str().map(str::to_owned);
    Delivery {
        exchange: optional("exchange").unwrap_or_default(),
        key: optional("key").unwrap_or_default(),
        body: BASE64.decode(event["body"].as_str().unwrap_or_default()).expect("scripts send base64"),
        message_id: optional("message_id"),
        correlation_id: optional("correlation_id"),
        headers: event["headers"].as_object().cloned().unwrap_or_default(),
    }
}
