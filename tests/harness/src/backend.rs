//! The two backends that every scenario runs against.

use reqwest::Client;
use serde_json::Value;

use crate::rabbitmq::Vhost;

/// What stands behind the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The AMQP broker inside `roost`.
    Embedded,
    /// A real RabbitMQ.
    RabbitMq,
}

/// What a broker has counted about one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCounts {
    /// The queue's name.
    pub name: String,
    /// Messages in it now, ready or unacknowledged.
    pub messages: u64,
    /// Messages that were ever put into it.
    pub published_total: u64,
}

/// A running backend, as the tests look at it from outside.
#[derive(Debug)]
pub enum Broker {
    /// The embedded one: its AMQP and admin ports.
    Embedded {
        /// Where AMQP clients connect.
        amqp_port: u16,
        /// Where it tells its counts.
        admin_port: u16,
    },
    /// A virtual host of RabbitMQ.
    RabbitMq(Vhost),
    /// Whatever is there, started by somebody else.
    Elsewhere(String),
}

impl Broker {
    /// Where AMQP clients find it.
    pub fn uri(&self) -> String {
        match self {
            Self::Embedded { amqp_port, .. } => format!("amqp://guest:guest@127.0.0.1:{amqp_port}/%2f"),
            Self::RabbitMq(vhost) => vhost.uri(),
            Self::Elsewhere(uri) => uri.clone(),
        }
    }

    /// The broker's own counts of its queues.
    ///
    /// # Panics
    /// When it does not answer, or is somebody else's.
    pub async fn queues(&self) -> Vec<QueueCounts> {
        match self {
            Self::Embedded { admin_port, .. } => embedded_queues(*admin_port).await,
            Self::RabbitMq(vhost) => vhost.queues().await,
            Self::Elsewhere(uri) => panic!("{uri} tells no counts here"),
        }
    }

    /// The sum of the counts of the queues whose names begin with `prefix`; an inbox has a new name for each link.
    pub async fn published_total(&self, prefix: &str) -> u64 {
        let queues = self.queues().await;
        queues.iter().filter(|queue| queue.name.starts_with(prefix)).map(|queue| queue.published_total).sum()
    }
}

async fn embedded_queues(admin_port: u16) -> Vec<QueueCounts> {
    let url = format!("http://127.0.0.1:{admin_port}/v1/queues");
    let answer =
        async { Client::new().get(&url).send().await?.error_for_status()?.json::<Value>().await }.await;
    let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
    let queues = answer.as_array().unwrap_or_else(|| panic!("{url}: not a list: {answer}"));
    let field = |queue: &Value, name: &str| {
        queue[name].as_u64().unwrap_or_else(|| panic!("{url}: a queue without {name}: {queue}"))
    };
    queues
        .iter()
        .map(|queue| QueueCounts {
            name: queue["name"]
                .as_str()
                .unwrap_or_else(|| panic!("{url}: a queue without name: {queue}"))
                .to_owned(),
            messages: field(queue, "messages"),
            published_total: field(queue, "published_total"),
        })
        .collect()
}

/// Makes two tests of each scenario, an `async fn(Backend)`: `embedded::NAME` and `rabbitmq::NAME`.
#[macro_export]
macro_rules! on_both_backends {
    ($($scenario:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario($crate::Backend::Embedded).await;
                }
            )+
        }
        mod rabbitmq {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario($crate::Backend::RabbitMq).await;
                }
            )+
        }
    };
}
