//! What every scenario starts from: a broker's address, names of its own, and a look behind the scenes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use roost_backend::AmqpAddress;
use roost_backend::shell::{LinkConfig, OnLoss, Publish};
use roost_wire::{DeliveryMode, Message, Properties};

/// Longer than anything here takes; a condition that is not met by then fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker to play on.
pub(crate) struct Stage {
    pub(crate) address: AmqpAddress,
    password: String,
    prefix: String,
}

impl Stage {
    /// The broker at an `amqp://` URI.
    pub(crate) fn at(uri: &str) -> Self {
        let address = uri.parse().unwrap_or_else(|error| panic!("the broker's address: {error}"));
        let theirs: lapin::uri::AMQPUri = uri.parse().unwrap();
        let password = theirs.authority.userinfo.password;
        static SCENARIO: AtomicU32 = AtomicU32::new(0);
        let scenario = SCENARIO.fetch_add(1, Ordering::Relaxed);
        Self { address, password, prefix: format!("link-{}-{scenario}", std::process::id()) }
    }

    /// A name that no other scenario uses.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A link that tries again soon.
    pub(crate) fn link(&self) -> LinkConfig {
        LinkConfig {
            timeout: Duration::from_secs(20),
            retry_first: Duration::from_millis(5),
            retry_max: Duration::from_millis(100),
            ..LinkConfig::new(self.address.clone(), self.name("scenario"))
        }
    }

    /// The same through a proxy.
    pub(crate) fn link_through(&self, proxy: &crate::proxy::Proxy) -> LinkConfig {
        LinkConfig { address: self.address.through("127.0.0.1", proxy.port()), ..self.link() }
    }

    pub(crate) async fn behind(&self) -> Behind {
        Behind::connect(self).await
    }
}

/// A plain client of the broker, beside the link that is tested.
pub(crate) struct Behind {
    connection: Connection,
    channel: Channel,
}

impl Behind {
    async fn connect(stage: &Stage) -> Self {
        let uri = lapin::uri::AMQPUri {
            authority: lapin::uri::AMQPAuthority {
                userinfo: lapin::uri::AMQPUserInfo {
                    username: stage.address.user().to_owned(),
                    password: stage.password.clone(),
                },
                host: stage.address.nodes()[0].host.clone(),
                port: stage.address.nodes()[0].port,
            },
            vhost: stage.address.vhost().to_owned(),
            ..lapin::uri::AMQPUri::default()
        };
        let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { connection, channel }
    }

    /// A queue that lives as long as this client. Only it may read it; everybody may publish to it.
    pub(crate) async fn own_queue(&self, name: &str, arguments: FieldTable) {
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, arguments).await.unwrap();
    }

    /// A durable queue; the scenario deletes it.
    pub(crate) async fn durable_queue(&self, name: &str) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    }

    pub(crate) async fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let options = QueueBindOptions::default();
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            options,
            FieldTable::default(),
        );
        bound.await.unwrap();
    }

    /// How many messages are ready in a queue.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    /// Waits until so many are ready.
    pub(crate) async fn until_ready(&self, queue: &str, count: u32) {
        let until = async {
            while self.ready(queue).await != count {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, until).await;
        assert!(waited.is_ok(), "{queue} has {} ready, not {count}", self.ready(queue).await);
    }

    /// Takes everything out of a queue: message ids, and whether the message says that it is a replay.
    pub(crate) async fn drain(&self, queue: &str) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            let id = got.properties.message_id().as_ref().unwrap().as_str().parse().unwrap();
            let headers = got.properties.headers().clone().unwrap_or_default();
            let replayed = headers.inner().get("roost-replayed").and_then(|value| value.as_bool());
            found.push((id, replayed.unwrap_or_default()));
        }
        found
    }

    pub(crate) async fn delete_queue(&self, name: &str) {
        self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    pub(crate) async fn delete_exchange(&self, name: &str) {
        self.channel
            .exchange_delete(name.into(), lapin::options::ExchangeDeleteOptions::default())
            .await
            .unwrap();
    }

    pub(crate) async fn close(self) {
        self.connection.close(200, "OK".into()).await.unwrap();
    }
}

/// A persistent message to a queue, by its name, that says whether it is a replay.
fn message(queue: &str, token: u64) -> Message {
    let mut properties = Properties {
        message_id: Some(token.to_string()),
        delivery_mode: DeliveryMode::Persistent,
        ..Properties::default()
    };
    properties.set("roost-replayed", false);
    Message {
        exchange: String::new(),
        routing_key: queue.to_owned(),
        properties,
        body: Bytes::from_static(b"payload"),
    }
}

pub(crate) fn publish(queue: &str, token: u64) -> Publish {
    Publish { message: message(queue, token), mandatory: true, on_loss: OnLoss::PublishAgain, token }
}
