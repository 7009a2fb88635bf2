//! A broker that acknowledges a message and swallows it is found out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use roost_fleet::{Stamp, Verdict};
use roost_gateway::packet::{Ack, Packet};

use crate::fake_broker::{broker, politely};
use crate::measured::{measure, plan};

/// Acknowledges every message and sends it back to its device, but for the one with this serial number of the first device.
async fn liar(swallowed: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let lies = Arc::new(AtomicU32::new(0));
    let told = Arc::clone(&lies);
    let answers = move |packet: &Packet| {
        let Packet::Publish(publish) = packet else { return politely(packet) };
        let id = publish.delivery.packet_id().unwrap();
        let stamp = Stamp::read(&publish.payload, plan(0).run).unwrap();
        let is_lie = (stamp.device, stamp.sequence) == (0, swallowed);
        told.fetch_add(u32::from(is_lie), Ordering::Relaxed);
        let back = (!is_lie).then(|| packet.clone());
        std::iter::once(Packet::Puback(Ack::success(id))).chain(back).collect()
    };
    (broker(answers).await, lies)
}

async fn judged(swallowed: u32) -> (Verdict, bool, u32) {
    let (address, lies) = liar(swallowed).await;
    let mut plan = plan(address.port());
    (plan.mqtt.v5, plan.drain_ms) = (false, 2_000);
    let summary = measure(plan, "lost=0").await.unwrap();
    assert_eq!(summary.online_max, 10);
    assert_eq!(summary.counts["acknowledged"], 50);
    let passed = summary.passed();
    (summary.verdict, passed, lies.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_swallowed_message_of_fifty_is_named() {
    let (verdict, passed, lies) = judged(3).await;
    let echo = verdict.echo.unwrap();
    assert_eq!((echo.expected, echo.arrived, echo.lost, lies), (50, 49, 1, 1));
    assert_eq!(echo.lost_examples, ["d000000/3"]);
    assert!(!passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_broker_has_lost_nothing() {
    let (verdict, passed, lies) = judged(u32::MAX).await;
    assert_eq!((verdict.echo.unwrap().lost, lies), (0, 0));
    assert!(passed);
}
