//! How often the API answered, by status.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use roost_ops::{Exposition, MetricKind};

/// Answers by status. Bounded: the API knows a dozen.
#[derive(Debug, Clone, Default)]
pub(super) struct Responses {
    by_status: Arc<Mutex<BTreeMap<u16, u64>>>,
}

impl Responses {
    pub(super) fn write(&self, page: &mut Exposition) {
        page.family(
            "roost_router_http_responses_total",
            MetricKind::Counter,
            "Answers of the HTTP API, by status.",
        );
        for (status, count) in &*self.by_status.lock().unwrap_or_else(PoisonError::into_inner) {
            page.sample(&[("status", &status.to_string())], count);
        }
    }
}

/// Counts an answer on its way out.
pub(super) async fn count(State(responses): State<Responses>, response: Response) -> Response {
    let status = response.status().as_u16();
    *responses.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    response
}
