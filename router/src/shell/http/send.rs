//! `POST …/commands`: a command in, a receipt out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use roost_ops::Problem;
use roost_wire::{MessageId, Receipt, TraceContext, envelope::header};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::body::CommandBody;
use super::wait::Wait;
use super::{Api, At, Body, bad, gone};
use crate::shell::engine::Ask;
use crate::shell::waiters::{NotTaken, Progress};

/// How long the journal may take before the sender is told that it does not answer.
const CUSTODY_TIMEOUT: Duration = Duration::from_secs(5);

/// 202 with the receipt once the mesh has custody; with `?wait=` 200 with the final one, or 202 with the latest if there is
/// none in time. A command that ends at once (a repeat, a refusal) is 200.
pub(super) async fn send(
    State(api): State<Api>,
    _turn: Turn,
    At(device): At,
    query: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Query(wait) = query.map_err(|error| bad(error.body_text(), "wait"))?;
    let wait = wait.parse()?;
    let mut command = CommandBody::parse(&body.0)?.into_command(device)?;
    command.trace = said(&headers);
    let id = command.message_id.clone();
    let (sender, mut progress) = watch::channel(Progress::Unknown);
    api.ask(Ask::Command { command: Box::new(command), progress: sender }).await?;
    in_custody(&mut progress, &id).await?;
    if let Some(wait) = wait {
        let is_final = |progress: &Progress| progress.receipt().is_some_and(|r| r.state.is_final());
        // In vain is fine: the latest state is told.
        let _ = timeout(wait, progress.wait_for(is_final)).await.is_ok();
    }
    let latest: Option<Receipt> = progress.borrow().receipt().cloned();
    let receipt = latest.ok_or_else(gone)?;
    let status = if receipt.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(receipt)).into_response())
}

/// Where the sender is in a trace. A malformed header, and a second one, count as none (W3C Trace Context 3.2).
fn said(headers: &HeaderMap) -> Option<TraceContext> {
    let mut said = headers.get_all(header::TRACEPARENT).iter();
    let (first, second) = (said.next()?, said.next());
    TraceContext::parse(first.to_str().ok().filter(|_| second.is_none())?).ok()
}

/// A request's place among those that wait for their commands, taken before its body is read.
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl FromRequestParts<Api> for Turn {
    type Rejection = Problem;

    async fn from_request_parts(_parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        Arc::clone(&api.waiting).try_acquire_owned().map(Self).map_err(|_| {
            let detail =
                "too many requests wait for their commands; come back in a second, with the same message_id";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after_s(1)
        })
    }
}

/// Waits until the command is on disk: before that there is nothing to tell.
async fn in_custody(progress: &mut watch::Receiver<Progress>, id: &MessageId) -> Result<(), Problem> {
    let known = timeout(CUSTODY_TIMEOUT, progress.wait_for(|progress| *progress != Progress::Unknown)).await;
    let detail = match known {
        Ok(Ok(progress)) => match *progress {
            Progress::NotTaken(reason) => not_taken(reason),
            Progress::At(_) | Progress::Unknown => return Ok(()),
        },
        Ok(Err(_)) | Err(_) => {
            "the journal does not answer, so the mesh may or may not have the command; see /readyz, and send it again \
             with the same message_id"
        }
    };
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after_s(5);
    Err(problem.with("message_id", id.as_str()))
}

fn not_taken(reason: NotTaken) -> &'static str {
    match reason {
        NotTaken::Standby => {
            "the command was not taken: this router stands by while another one serves its devices; send it to that one"
        }
        NotTaken::JournalStuck => {
            "the command was not taken: the journal cannot be written, see /readyz for the reason; send it again when \
             there is space"
        }
        NotTaken::Draining => {
            "the command was not taken: the router is going away; send it again in a moment"
        }
        NotTaken::Full => {
            "the command was not taken: the router holds as many commands as it may; send it again when some have ended"
        }
    }
}
