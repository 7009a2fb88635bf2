//! The HTTP API: commands in, where devices are, and what the person paged at night asks.

mod body;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router as Routes};
use bytes::Bytes;
use roost_ops::{Problem, Readiness, endpoints_asking};
use roost_wire::{Device, DeviceId, Receipt, Tenant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::body::CommandBody;
use self::wait::Wait;
use super::engine::Ask;

/// The largest body: a payload of 240 KiB in base64, and the rest.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// Requests that wait for their command at once. Beyond: 503, come back in a second.
const WAITING_MAX: usize = 10_000;

/// How long the journal may take before the sender is told that it does not answer.
const CUSTODY_TIMEOUT: Duration = Duration::from_secs(5);

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
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let figures = asks.clone();
    let page = move || page(figures.clone());
    let api = Api { asks, waiting: Arc::new(Semaphore::new(WAITING_MAX)) };
    let routes = Routes::new()
        .route("/v1/tenants/{tenant}/devices/{device}/commands", post(send))
        .route("/v1/tenants/{tenant}/devices/{device}", get(explain))
        .route("/v1/gateways", get(gateways))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
        .merge(endpoints_asking(readiness, page))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no such page; the API begins at /v1/"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method")
        });
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

/// `POST …/commands`: 202 with the receipt once the mesh has custody; with `?wait=` 200 with the final one, or 202 with the
/// latest if there is none in time.
async fn send(
    State(api): State<Api>,
    At(device): At,
    query: Result<Query<Wait>, QueryRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let Query(wait) = query.map_err(|error| bad(error.body_text(), "wait"))?;
    let wait = wait.parse()?;
    let command = CommandBody::parse(&body.0)?.into_command(device)?;
    let Ok(_permit) = api.waiting.try_acquire() else {
        let detail =
            "too many requests wait for their commands; come back in a second, with the same message_id";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after_s(1));
    };
    let message_id = command.message_id.clone();
    let (answers, mut answered) = watch::channel(None);
    api.ask(Ask::Command { command: Box::new(command), answers }).await?;
    // Custody first: until the journal has it there is nothing to tell.
    let taken =
        timeout(CUSTODY_TIMEOUT, answered.wait_for(Option::is_some)).await.is_ok_and(|taken| taken.is_ok());
    if !taken {
        let detail = "the journal does not answer, so the mesh may or may not have the command; see /readyz, and send it \
            again with the same message_id";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after_s(5);
        return Err(problem.with("message_id", message_id.as_str()));
    }
    if let Some(wait) = wait {
        let is_final = |latest: &Option<Receipt>| latest.as_ref().is_some_and(|r| r.state.is_final());
        // In vain is fine: the latest state is told.
        let _ = timeout(wait, answered.wait_for(is_final)).await.is_ok();
    }
    let latest = answered.borrow().clone();
    let receipt = latest.ok_or_else(gone)?;
    let status = if receipt.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(receipt)).into_response())
}

/// `GET …/devices/{device}`: where it is, how sure that is, and what a send would do.
async fn explain(State(api): State<Api>, At(device): At) -> Result<Json<serde_json::Value>, Problem> {
    let (reply, answer) = oneshot::channel();
    api.ask(Ask::Explain { device, reply }).await?;
    answer.await.map(Json).map_err(|_| gone())
}

/// `GET /v1/gateways`: those the router knows, and how they fare.
async fn gateways(State(api): State<Api>) -> Result<Json<serde_json::Value>, Problem> {
    let (reply, answer) = oneshot::channel();
    api.ask(Ask::Gateways { reply }).await?;
    answer.await.map(Json).map_err(|_| gone())
}

/// The figures as they are now; an empty page if the router is going away.
async fn page(asks: mpsc::Sender<Ask>) -> String {
    let (reply, figures) = oneshot::channel();
    if asks.send(Ask::Figures { reply }).await.is_err() {
        return String::new();
    }
    figures.await.map(|figures| figures.page()).unwrap_or_default()
}

impl Api {
    async fn ask(&self, ask: Ask) -> Result<(), Problem> {
        self.asks.send(ask).await.map_err(|_| gone())
    }
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
