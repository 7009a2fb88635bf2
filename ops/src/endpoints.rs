//! `/livez`, `/readyz` and `/metrics`.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::{Exposition, Problem, Readiness, process};

/// The three routes that every role has. `metrics` writes the role's page anew at each call; what every process tells about
/// itself is put behind it, with `role` in its build's labels.
///
/// `/livez` says 200 as long as the process answers at all; `/readyz` says 200, or 503 with every reason why not.
pub fn endpoints<M>(role: &'static str, readiness: Readiness, metrics: M) -> Router
where
    M: Fn() -> String + Clone + Send + Sync + 'static,
{
    endpoints_asking(role, readiness, move || std::future::ready(metrics()))
}

/// As [`endpoints`], where the page has to be asked for from somebody.
pub fn endpoints_asking<M, F>(role: &'static str, readiness: Readiness, metrics: M) -> Router
where
    M: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = String> + Send + 'static,
{
    process::first_served();
    let for_metrics = readiness.clone();
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&readiness)))
        .route("/metrics", get(async move || page(metrics().await + &own(role, &for_metrics))))
}

fn own(role: &'static str, readiness: &Readiness) -> String {
    let mut page = Exposition::default();
    process::write(role, readiness, &mut page);
    page.finish()
}

fn ready(readiness: &Readiness) -> Response {
    let waits = readiness.waits();
    match waits.is_empty() {
        true => "ready\n".into_response(),
        false => {
            let detail = format!("not ready: {}", waits.join("; "));
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("waits_for", waits).into_response()
        }
    }
}

fn page(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::listen_on_loopback;

    async fn serve(readiness: Readiness) -> SocketAddr {
        let listener = listen_on_loopback("the test", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let routes = endpoints("router", readiness, || "roost_up 1\n".to_owned());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address
    }

    #[tokio::test]
    async fn readiness_follows_what_is_waited_for() {
        let readiness = Readiness::default();
        readiness.not_ready("amqp", "connection refused");
        let address = serve(readiness.clone()).await;
        let ask = async |path| reqwest::get(format!("http://{address}{path}")).await.unwrap();
        assert_eq!(ask("/livez").await.status(), 200);
        let answer = ask("/readyz").await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["detail"], "not ready: amqp: connection refused");
        readiness.ready("amqp");
        assert_eq!(ask("/readyz").await.status(), 200);
        let page = ask("/metrics").await.text().await.unwrap();
        assert!(page.starts_with("roost_up 1\n# HELP roost_build_info "), "{page}");
    }
}
