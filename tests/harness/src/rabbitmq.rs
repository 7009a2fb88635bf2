//! A virtual host in the RabbitMQ that `tests/run` started: each test has one of its own.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::backend::QueueCounts;
use crate::environment::required;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A virtual host of RabbitMQ, deleted with its owner.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    management: Management,
}

impl Vhost {
    /// Creates one in which `guest` may do everything.
    ///
    /// # Panics
    /// When there is no RabbitMQ, or it refuses.
    pub async fn create() -> Self {
        let management = Management { base: required("ROOST_TEST_RABBITMQ_HTTP") };
        let name = format!("roost-{:016x}", rand::random::<u64>());
        management.ask(Method::PUT, &format!("vhosts/{name}"), None).await;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        management.ask(Method::PUT, &format!("permissions/{name}/guest"), Some(all)).await;
        Self { name, management }
    }

    /// Where AMQP clients find it.
    pub fn uri(&self) -> String {
        let whole = required("ROOST_TEST_RABBITMQ");
        let server = whole
            .strip_suffix("%2f")
            .unwrap_or_else(|| panic!("ROOST_TEST_RABBITMQ is to end in /%2f: {whole}"));
        format!("{server}{}", self.name)
    }

    /// Its queues. RabbitMQ counts in intervals of half a second: await a count, do not ask once.
    ///
    /// # Panics
    /// When RabbitMQ does not answer.
    pub async fn queues(&self) -> Vec<QueueCounts> {
        let answer = self.management.ask(Method::GET, &format!("queues/{}", self.name), None).await;
        let queues = answer.as_array().unwrap_or_else(|| panic!("not a list of queues: {answer}"));
        queues
            .iter()
            .map(|queue| QueueCounts {
                name: queue["name"].as_str().unwrap_or_default().to_owned(),
                messages: queue["messages"].as_u64().unwrap_or(0),
                published_total: queue["message_stats"]["publish"].as_u64().unwrap_or(0),
            })
            .collect()
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let (management, path) = (self.management.clone(), format!("vhosts/{}", self.name));
        // Drop cannot await; a thread of its own may block.
        let deleted = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(management.try_ask(Method::DELETE, &path, None))
        })
        .join();
        if let Ok(Err(error)) = deleted {
            eprintln!("virtual host {} stays behind: {error}", self.name);
        }
    }
}

#[derive(Clone, Debug)]
struct Management {
    base: String,
}

impl Management {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.try_ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("RabbitMQ's management at {}: {path}: {error}", self.base))
    }

    async fn try_ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let request = Client::new()
            .request(method, format!("{}/api/{path}", self.base))
            .basic_auth("guest", Some("guest"))
            .timeout(ANSWER_TIMEOUT);
        let request = match body {
            Some(body) => request.json(&body),
            None => request.header("content-type", "application/json"),
        };
        let response = request.send().await.map_err(|error| error.to_string())?;
        match response.status() {
            StatusCode::OK => response.json().await.map_err(|error| error.to_string()),
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Value::Null),
            refused => Err(format!("{refused}: {}", response.text().await.unwrap_or_default())),
        }
    }
}
