//! A broker that acknowledges a message and swallows it is found out.

#![allow(clippy::unwrap_used, reason = "a broker that cannot serve fails loudly")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use roost_fleet::shell::{Crews, Options, Order, Report, now, run};
use roost_fleet::{
    Check, Count, Mqtt, Plan, Reconnect, Records, Scenario, Stamp, TopicPattern, Traffic, Transport, Verdict,
};
use roost_gateway::packet::{
    Ack, Connack, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion, ReasonCode, Suback,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const RUN: u32 = 99;

/// Acknowledges every message and sends it back to its device, but for the one with this serial number of the first device.
async fn broker(swallowed: u32) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lies = Arc::new(AtomicU32::new(0));
    let told = Arc::clone(&lies);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, swallowed, Arc::clone(&told)));
        }
    });
    (address, lies)
}

async fn serve(mut socket: TcpStream, swallowed: u32, lies: Arc<AtomicU32>) {
    let mut decoder = Decoder::for_server(DecodeLimits::default());
    let encoder = Encoder::new(ProtocolVersion::V311);
    let (mut read, mut written) = (BytesMut::new(), BytesMut::new());
    while socket.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
        while let Some(packet) = decoder.decode(&mut read).unwrap() {
            let answers = match packet {
                Packet::Connect(_) => vec![Packet::Connack(Connack::default())],
                Packet::Subscribe(subscribe) => vec![Packet::Suback(Suback {
                    packet_id: subscribe.packet_id,
                    reasons: vec![ReasonCode::GrantedQos1; subscribe.filters.len()],
                    properties: None,
                })],
                Packet::Publish(publish) => {
                    let id = publish.delivery.packet_id().unwrap();
                    let stamp = Stamp::read(&publish.payload, RUN).unwrap();
                    let is_lie = (stamp.device, stamp.sequence) == (0, swallowed);
                    lies.fetch_add(u32::from(is_lie), Ordering::Relaxed);
                    let back = (!is_lie).then_some(Packet::Publish(publish));
                    std::iter::once(Packet::Puback(Ack::success(id))).chain(back).collect()
                }
                Packet::Pingreq => vec![Packet::Pingresp],
                _ => Vec::new(),
            };
            for answer in answers {
                encoder.encode(&answer, &mut written).unwrap();
            }
        }
        if socket.write_all(&written.split()).await.is_err() {
            return;
        }
    }
}

fn options(broker: SocketAddr) -> Options {
    let plan = Plan {
        run: RUN,
        seed: 3,
        brokers: vec![broker],
        sources: Vec::new(),
        devices: 5,
        prefix: "d".to_owned(),
        connect_rate: 1_000.0,
        duration_ms: 1_000,
        drain_ms: 2_000,
        transport: Transport::default(),
        mqtt: Mqtt {
            v5: false,
            persistent: false,
            keep_alive_s: 60,
            connect_timeout_ms: 30_000,
            user_name: None,
            password: None,
        },
        traffic: Traffic {
            rate: 10.0,
            size: 40,
            qos: 1,
            topic: TopicPattern::default(),
            jitter: 0.0,
            zipf: 0.0,
            in_flight_max: 8,
            backlog_max: 100,
        },
        echo: true,
        pairs: false,
        commands: false,
        reconnect: Reconnect::default(),
        scenario: Scenario::default(),
    };
    Options {
        plan,
        amqp: None,
        command_rate: 0.0,
        workers: None,
        worker_program: ("".into(), Vec::new()),
        watch: Vec::new(),
        checks: Check::parse_list("lost=0").unwrap(),
    }
}

async fn judged(swallowed: u32) -> (Verdict, bool, u32) {
    let (address, lies) = broker(swallowed).await;
    let summary = run(&options(address), std::future::pending(), |_| {}).await.unwrap();
    assert_eq!(summary.online_max, 5);
    assert_eq!(summary.counts["acknowledged"], 50);
    let passed = summary.passed();
    (summary.verdict, passed, lies.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_swallowed_message_of_fifty_is_named() {
    let (verdict, passed, lies) = judged(6).await;
    let echo = verdict.echo.unwrap();
    assert_eq!((echo.expected, echo.arrived, echo.lost, lies), (50, 49, 1, 1));
    assert_eq!(echo.lost_examples, ["d000000/6"]);
    assert!(!passed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_broker_has_lost_nothing() {
    let (verdict, passed, lies) = judged(u32::MAX).await;
    assert_eq!((verdict.echo.unwrap().lost, lies), (0, 0));
    assert!(passed);
}

/// What the crews were asked last.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    ToBegin,
    ToTell,
    ToFinish,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_tell_what_they_know_while_they_run_and_once_more_at_the_end() {
    let (address, _) = broker(u32::MAX).await;
    let plan = options(address).plan;
    let mut crews = Crews::start(&plan, None, (Path::new(""), &[]), now()).await.unwrap();
    let mut asked = Asked::Nothing;
    let mut told: BTreeMap<u32, Vec<Records>> = BTreeMap::new();
    let (mut online, mut acknowledged) = (0, 0);
    while let Some(report) = crews.next().await {
        match report {
            Report::Figures(figures) => {
                online += figures.online;
                acknowledged += figures.of(Count::Acknowledged);
                if asked == Asked::Nothing && online == 5 {
                    asked = Asked::ToBegin;
                    crews.order(&Order::Begin { at: now() }).await;
                }
                if asked == Asked::ToBegin && acknowledged > 0 {
                    asked = Asked::ToTell;
                    crews.order(&Order::Tell).await;
                }
            }
            Report::Records(records) => {
                for records in records {
                    told.entry(records.device).or_default().push(records);
                }
                if asked == Asked::ToTell && told.len() == 5 {
                    asked = Asked::ToFinish;
                    crews.order(&Order::Finish).await;
                }
            }
            Report::Failures(failures) => panic!("{failures:?}"),
            Report::Ended => break,
        }
    }
    assert_eq!(told.len(), 5);
    for (device, told) in told {
        let [so_far, end] = &told[..] else { panic!("device {device} told {} times", told.len()) };
        assert_eq!(so_far.acknowledged.count_without(&end.acknowledged), 0, "device {device}");
    }
}
