//! The HTTP API, as a program without a Roost library uses it.

use std::sync::{Arc, OnceLock};

use reqwest::{Client, Method};
use serde_json::Value;

use crate::eventually::{PATIENCE, eventually};
use crate::open_api::OpenApi;

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
    described: Arc<OnceLock<Option<OpenApi>>>,
}

impl Api {
    /// The server at `port` on loopback.
    pub fn at(port: u16) -> Self {
        let client = Client::builder().timeout(PATIENCE).build().expect("a client without TLS builds");
        Self { base: format!("http://127.0.0.1:{port}"), client, described: Arc::default() }
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
        self.ask(Method::GET, path, None, &[]).await
    }

    /// `POST path` with JSON.
    ///
    /// # Errors
    /// When nobody answers: in words.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.ask(Method::POST, path, Some(body), &[]).await
    }

    /// The same with request headers.
    ///
    /// # Errors
    /// When nobody answers: in words.
    pub async fn post_saying(
        &self,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        self.ask(Method::POST, path, Some(body), headers).await
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
        eventually(&format!("{}{path} says yes", self.base), PATIENCE, async || {
            match self.get(path).await? {
                Answer { status: 200, .. } => Ok(()),
                not_yet => Err(format!("{not_yet:?}")),
            }
        })
        .await;
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let name = method.clone();
        let request = self.client.request(method, format!("{}{path}", self.base));
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let media_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default().to_owned();
        let text = response.text().await.map_err(|error| format!("{error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        self.compare(name, path, status, &media_type, &body).await;
        Ok(Answer { status, body })
    }

    /// Every answer of an API that describes itself is as described, whatever test asked. The roles without an API have no
    /// description, and neither has Prometheus.
    async fn compare(&self, method: Method, path: &str, status: u16, media_type: &str, body: &Value) {
        if self.described.get().is_none() {
            let asked = self.client.get(format!("{}/openapi.json", self.base)).send().await;
            let found = match asked {
                Ok(answer) if answer.status().is_success() => answer.json().await.ok().map(OpenApi::new),
                Ok(_) => None,
                // It is going away, or is not there yet.
                Err(_) => return,
            };
            let _ = self.described.set(found);
        }
        if let Some(Some(described)) = self.described.get() {
            let compared = described.check(method.as_str(), path, status, media_type, body);
            compared.unwrap_or_else(|wrong| panic!("not as described by /openapi.json: {wrong}"));
        }
    }
}
