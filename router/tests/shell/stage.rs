//! A router on loopback and a client of its HTTP API.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode};
use roost_backend::AmqpAddress;
use roost_harness::{PATIENCE, eventually};
use roost_router::shell::{Router, RouterConfig};
use roost_wire::ShardId;
use serde_json::{Value, json};

/// A router's HTTP API, seen from outside.
#[derive(Clone)]
pub(crate) struct Api {
    base: String,
    client: Client,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) body: Value,
}

/// A router with its journal in `data`, on a free port; it tries often to connect.
pub(crate) fn config(data: &Path, amqp: &AmqpAddress) -> RouterConfig {
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = RouterConfig::new(ShardId(0), data.to_owned(), http, amqp.clone());
    RouterConfig { retry_max: Duration::from_millis(200), ..config }
}

pub(crate) async fn start(data: &Path, amqp: &AmqpAddress) -> (Router, Api) {
    let router = Router::start(config(data, amqp)).await.unwrap();
    let api = Api::at(router.http_address());
    (router, api)
}

impl Api {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { base: format!("http://{address}"), client: Client::new() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(format!("{}{path}", self.base)).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.client.post(format!("{}{path}", self.base)).body(body).send().await.unwrap()).await
    }

    /// A command to `device`, with `query` behind the path.
    pub(crate) async fn send(&self, device: &str, query: &str, command: Value) -> Answer {
        self.post(&format!("/v1/tenants/main/devices/{device}/commands{query}"), command.to_string()).await
    }

    /// A command with that id, which is to be taken into custody.
    pub(crate) async fn accepted(&self, device: &str, message_id: &str) -> Value {
        let answer = self.send(device, "", json!({"message_id": message_id, "payload": message_id})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.body["message_id"], message_id);
        answer.body
    }

    /// How many commands wait for `device`.
    pub(crate) async fn waiting(&self, device: &str) -> u64 {
        let answer = self.get(&format!("/v1/tenants/main/devices/{device}")).await;
        answer.body["mailbox"]["waiting"].as_u64().unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// Waits until `/readyz` has `status` and speaks of `words`.
    pub(crate) async fn becomes(&self, status: u16, words: &str) {
        eventually(&format!("{status} with {words:?}"), PATIENCE, async || {
            let answer = self.get("/readyz").await;
            let found = answer.status.as_u16() == status && answer.body.to_string().contains(words);
            if found { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }

    /// The value of one metric, with its labels as they are written.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await.body;
        let page = page.as_str().unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        let content_type = header("content-type").unwrap_or_default();
        let retry_after_s = header("retry-after").map(|seconds| seconds.parse().unwrap());
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, content_type, retry_after_s, body }
    }
}
