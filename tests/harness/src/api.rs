//! The HTTP API, as a program without a Roost library uses it.

use reqwest::{Client, Method};
use serde_json::Value;

use crate::eventually::{PATIENCE, eventually};

/// What the API answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body: JSON, or a JSON string of what else it was.
    pub body: Value,
}

/// A client of one HTTP server of the mesh: the router's API, or the admin side of a gateway.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    client: Client,
}

impl Api {
    /// The server at `port` on loopback.
    pub fn at(port: u16) -> Self {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client without TLS builds");
        Self { base: format!("http://127.0.0.1:{port}"), client }
    }

    /// Where it is, as for `--api`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `GET path`.
    ///
    /// # Errors
    /// When nobody answers: in words.
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST path` with JSON.
    ///
    /// # Errors
    /// When nobody answers: in words.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Sends a command to `main/device` and waits for its final receipt for at most `wait_s` seconds.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn command(&self, device: &str, command: &Value, wait_s: u32) -> Answer {
        let path = format!("/v1/tenants/main/devices/{device}/commands?wait={wait_s}s");
        self.post(&path, command).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// What the router knows about `main/device`.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn device(&self, device: &str) -> Answer {
        let path = format!("/v1/tenants/main/devices/{device}");
        self.get(&path).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Awaits that `main/device` is known, online, at `gateway`.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn located(&self, device: &str, gateway: &str) {
        eventually(&format!("{device} is known at {gateway}"), PATIENCE, async || {
            let answer = self.device(device).await;
            let here = answer.body["location"]["gateway"] == gateway && answer.body["online"] == true;
            if here { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }

    /// Awaits that `/readyz` says yes.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ready(&self) {
        self.answers("/readyz").await;
    }

    /// Awaits that `GET path` is answered with 200.
    pub(crate) async fn answers(&self, path: &str) {
        eventually(&format!("{}{path} says yes", self.base), PATIENCE, async || match self.get(path).await? {
            Answer { status: 200, .. } => Ok(()),
            not_yet => Err(format!("{not_yet:?}")),
        })
        .await;
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }
}
