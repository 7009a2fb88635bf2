//! The client of the router's HTTP API.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Client, Response, StatusCode, Url};
use roost_wire::{Device, MessageId};
use serde::{Deserialize, Serialize};

/// How long the API may take beyond what it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks one router.
pub(crate) struct Api {
    base: Url,
    client: Client,
}

/// An error as the API tells it (RFC 9457).
#[derive(Debug, Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Api {
    pub(crate) fn new(base: Url) -> anyhow::Result<Self> {
        // A proxy from the environment would not find this machine's loopback.
        let client = Client::builder().no_proxy().build().context("preparing the HTTP client")?;
        Ok(Self { base, client })
    }

    /// Posts a command; the API answers within `wait`, with a receipt as JSON.
    pub(crate) async fn send(
        &self,
        device: &Device,
        command: &impl Serialize,
        wait: Duration,
    ) -> anyhow::Result<(StatusCode, String)> {
        let mut url = self.device(device, &["commands"])?;
        // Whole seconds are written as such: that is how the API's documentation shows them.
        let wait_text = match wait.subsec_millis() {
            0 => format!("{}s", wait.as_secs()),
            _ => format!("{}ms", wait.as_millis()),
        };
        url.query_pairs_mut().append_pair("wait", &wait_text);
        let request = self.client.post(url).json(command).timeout(wait + ANSWER_TIMEOUT);
        self.answer(request.send().await).await
    }

    /// Asks for what the router knows of a device, as JSON.
    pub(crate) async fn locate(&self, device: &Device) -> anyhow::Result<String> {
        let request = self.client.get(self.device(device, &[])?).timeout(ANSWER_TIMEOUT);
        Ok(self.answer(request.send().await).await?.1)
    }

    /// Asks for what happened to the commands with a message id, as JSON.
    pub(crate) async fn why(&self, id: &MessageId, device: Option<&Device>) -> anyhow::Result<String> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} is no base for paths", self.base))?
            .pop_if_empty()
            .extend(["v1", "commands", id.as_str()]);
        if let Some(device) = device {
            url.query_pairs_mut().append_pair("device", &device.to_string());
        }
        let request = self.client.get(url).timeout(ANSWER_TIMEOUT);
        Ok(self.answer(request.send().await).await?.1)
    }

    fn device(&self, device: &Device, more: &[&str]) -> anyhow::Result<Url> {
        let mut url = self.base.clone();
        let mut path = url.path_segments_mut().map_err(|()| anyhow!("{} is no base for paths", self.base))?;
        // Each is one segment, whatever characters a device id has.
        path.pop_if_empty().extend(["v1", "tenants", device.tenant.as_str(), "devices", device.id.as_str()]);
        path.extend(more);
        drop(path);
        Ok(url)
    }

    async fn answer(&self, response: reqwest::Result<Response>) -> anyhow::Result<(StatusCode, String)> {
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        match status.is_success() {
            true => Ok((status, text)),
            false => Err(refusal(status, &text)),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        match () {
            () if error.is_connect() => anyhow!(
                "nothing answers at {base}; start a router (`roost dev` has one), or name another with --api or ROOST_API"
            ),
            () if error.is_timeout() => {
                anyhow!("{base} did not answer in time; look at its /readyz and its log")
            }
            () => anyhow!("asking {base}: {error}"),
        }
    }
}

/// A refusal as one sentence: the API says what is wrong and what to change.
fn refusal(status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<Problem>(text) {
        Ok(Problem { detail: Some(detail), .. }) => anyhow!("{detail} (HTTP {})", status.as_u16()),
        Ok(Problem { title: Some(title), .. }) => anyhow!("{title} (HTTP {})", status.as_u16()),
        _ => anyhow!("HTTP {status} without an explanation; is this URL a Roost router's?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(base: &str, device: &str, more: &[&str]) -> String {
        let api = Api::new(base.parse().unwrap()).unwrap();
        api.device(&device.parse().unwrap(), more).unwrap().to_string()
    }

    #[test]
    fn a_device_is_one_segment_of_the_path() {
        assert_eq!(url("http://h:1", "d1", &[]), "http://h:1/v1/tenants/main/devices/d1");
        assert_eq!(
            url("http://h:1/mesh/", "acme/a/b ?é%", &["commands"]),
            "http://h:1/mesh/v1/tenants/acme/devices/a%2Fb%20%3F%C3%A9%25/commands"
        );
    }

    #[test]
    fn a_refusal_is_a_sentence() {
        let say = |text| refusal(StatusCode::BAD_REQUEST, text).to_string();
        assert_eq!(
            say(r#"{"title":"Bad Request","detail":"qos is 2; use 0 or 1"}"#),
            "qos is 2; use 0 or 1 (HTTP 400)"
        );
        assert_eq!(say(r#"{"title":"Bad Request"}"#), "Bad Request (HTTP 400)");
        assert!(say("<html>").contains("Roost"), "{}", say("<html>"));
    }
}
