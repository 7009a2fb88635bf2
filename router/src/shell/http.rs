//! The HTTP API: commands in, where devices are, and what the person paged at night asks.

mod body;
mod responses;
mod send;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::map_response_with_state;
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use bytes::Bytes;
use roost_ops::{Exposition, Problem, Readiness, endpoints_asking};
use roost_wire::{Device, DeviceId, MessageId, Tenant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::responses::Responses;
use self::send::send;
use super::engine::Ask;

/// The largest body: a payload of 240 KiB in base64, and the rest.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// What the API says of itself (OpenAPI 3.1). Kept by hand, and compared with every answer that a test gets.
const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");

/// How long the engine may take for anything: a slow disk holds up its questions for a moment, a hanging one for ever.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Api {
    asks: mpsc::Sender<Ask>,
    waiting: Arc<Semaphore>,
}

/// Serves until the sender is used or dropped.
pub(super) fn serve(
    listener: TcpListener,
    asks: mpsc::Sender<Ask>,
    readiness: Readiness,
    waiting_max: usize,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (figures, responses) = (asks.clone(), Responses::default());
    let counted = responses.clone();
    let page = move || page(figures.clone(), counted.clone());
    let api = Api { asks, waiting: Arc::new(Semaphore::new(waiting_max)) };
    let routes = Routes::new()
        .route("/v1/tenants/{tenant}/devices/{device}/commands", post(send))
        .route("/v1/tenants/{tenant}/devices/{device}", get(explain))
        .route("/v1/commands/{message_id}", get(why))
        .route("/v1/gateways", get(gateways))
        .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], DESCRIPTION)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
        .merge(endpoints_asking("router", readiness, page))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no such page; the API begins at /v1/"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method")
        })
        .layer(map_response_with_state(responses, responses::count));
    let (stop, stopped) = oneshot::channel::<()>();
    let served = async move {
        let until = async {
            let _ = stopped.await;
        };
        if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
            tracing::error!(%error, "the HTTP API has ended");
        }
    };
    (stop, tokio::spawn(served))
}

/// `GET …/devices/{device}`: where it is, how sure that is, and what a send would do.
async fn explain(State(api): State<Api>, At(device): At) -> Result<Json<serde_json::Value>, Problem> {
    let (reply, answer) = oneshot::channel();
    api.ask(Ask::Explain { device, reply }).await?;
    in_time(answer).await?.map(Json).map_err(|_| gone())
}

/// `GET /v1/commands/{message_id}?device=[TENANT/]DEVICE`: what happened to the commands with that id, step by step.
async fn why(
    State(api): State<Api>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<WhichDevice>, QueryRejection>,
) -> Result<Json<serde_json::Value>, Problem> {
    let Path(id) = path.map_err(|error| bad(error.body_text(), "path"))?;
    let id = MessageId::parse(&id).map_err(|error| bad(error.to_string(), "message_id"))?;
    let Query(WhichDevice { device }) = query.map_err(|error| bad(error.body_text(), "query"))?;
    let device = device.map(|text| text.parse::<Device>()).transpose();
    let device = device.map_err(|error| bad(error.to_string(), "device"))?;
    let (reply, answer) = oneshot::channel();
    api.ask(Ask::Why { id, device, reply }).await?;
    let commands = in_time(answer).await?.map_err(|_| gone())?;
    if commands.as_array().is_some_and(Vec::is_empty) {
        let detail = "no command with that message id is remembered: the router keeps the steps of those that it took last, \
                      since it started";
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    Ok(Json(serde_json::json!({ "commands": commands })))
}

/// The query of `GET /v1/commands/{message_id}`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichDevice {
    device: Option<String>,
}

/// `GET /v1/gateways`: those the router knows, and how they fare.
async fn gateways(State(api): State<Api>) -> Result<Json<serde_json::Value>, Problem> {
    let (reply, answer) = oneshot::channel();
    api.ask(Ask::Gateways { reply }).await?;
    in_time(answer).await?.map(Json).map_err(|_| gone())
}

/// The figures as they are now; without those of the engine if it does not answer or the router is going away.
async fn page(asks: mpsc::Sender<Ask>, responses: Responses) -> String {
    let (reply, figures) = oneshot::channel();
    let mut page = Exposition::default();
    let asked = async { asks.send(Ask::Figures { reply }).await.ok().map(|()| figures)?.await.ok() };
    if let Ok(Some(figures)) = in_time(asked).await {
        figures.write(&mut page);
    }
    responses.write(&mut page);
    page.finish()
}

impl Api {
    async fn ask(&self, ask: Ask) -> Result<(), Problem> {
        in_time(self.asks.send(ask)).await?.map_err(|_| gone())
    }
}

/// What the engine says, if it says anything: it takes in no questions while its records wait for a disk, which may hang.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Problem> {
    timeout(ENGINE_TIMEOUT, answer).await.map_err(|_| {
        let detail =
            "the router did not take this in: its journal waits for the disk; see /readyz and try again";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after_s(5)
    })
}

/// The device in the path.
struct At(Device);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<(String, String)>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path((tenant, device)) = path.map_err(|error| bad(error.body_text(), "path"))?;
        let tenant = Tenant::parse(&tenant).map_err(|error| bad(error.to_string(), "tenant"))?;
        let id = DeviceId::parse(&device).map_err(|error| bad(error.to_string(), "device"))?;
        Ok(Self(Device::new(tenant, id)))
    }
}

/// A body within its bound.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|error: BytesRejection| {
            match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the body is longer than {BODY_BYTES_MAX} bytes; send a shorter payload"),
                ),
                status => Problem::new(status, error.body_text()),
            }
        })
    }
}

fn bad(detail: impl Into<String>, field: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail).with("field", field)
}

fn gone() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the router is going away; try again").retry_after_s(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API before an engine that takes nothing in: its disk hangs in a write, and says nothing of it.
    #[tokio::test]
    async fn an_engine_that_does_not_answer_keeps_nobody_waiting_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asks, unread) = mpsc::channel(1);
        let (stop, served) = serve(listener, asks, Readiness::default(), 10);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = |path: &str| format!("http://{address}{path}");
        let device = "/v1/tenants/main/devices/d";
        // The first fills the queue and gets no answer; the others find no room in it.
        let requests = [
            client.get(url("/v1/gateways")),
            client.get(url(device)),
            client.post(url(&format!("{device}/commands"))).body("{}"),
            client.get(url("/metrics")),
        ];
        let answers = requests.map(|request| tokio::spawn(request.send()));
        let mut statuses = Vec::new();
        for answer in answers {
            let answer = timeout(Duration::from_secs(60), answer).await;
            statuses.push(
                answer.expect("an answer, if only that there is none").unwrap().unwrap().status().as_u16(),
            );
        }
        assert_eq!(statuses, [503, 503, 503, 200]);
        drop((unread, stop));
        served.await.unwrap();
    }
}
