//! Conformance: what MQTT 3.1.1 and 5.0 demand of a server, one behaviour a case, over raw sockets to a real gateway.
//!
//! A case says which normative statements it shows; [`docs/conformance.md`](../../docs/conformance.md) lists all of
//! them, and a house test holds the two together. The cases of one file run side by side against one gateway, each with
//! client ids and topics of its own, once in each version that they name a statement of.

mod case;
mod client;
mod connecting;
mod flow;
mod leaving;
mod malformed;
mod packets;
mod publishing;
mod retained;
mod sessions;
mod subscribing;
mod topics;
mod wills;

use case::hold;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting() {
    hold(connecting::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flow() {
    hold(flow::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving() {
    hold(leaving::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed() {
    hold(malformed::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing() {
    hold(publishing::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retained() {
    hold(retained::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions() {
    hold(sessions::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribing() {
    hold(subscribing::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics() {
    hold(topics::CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wills() {
    hold(wills::CASES).await;
}
