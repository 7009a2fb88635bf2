//! A small run, and what it has shown.

use roost_fleet::shell::{FleetError, Options, Progress, run};
use roost_fleet::{
    Check, Credentials, Mqtt, Plan, Reconnect, Scenario, Summary, TopicPattern, Traffic, Transport,
};

/// Ten devices that publish five messages each, of 64 bytes at QoS 1, and hear them again.
pub(crate) fn plan(port: u16) -> Plan {
    Plan {
        run: 5,
        seed: 5,
        brokers: vec![([127, 0, 0, 1], port).into()],
        sources: Vec::new(),
        devices: 10,
        prefix: "d".to_owned(),
        connect_rate: 1_000.0,
        duration_ms: 1_000,
        drain_ms: 5_000,
        transport: Transport::default(),
        mqtt: Mqtt {
            v5: true,
            persistent: false,
            clean_up: true,
            keep_alive_s: 60,
            connect_timeout_ms: 30_000,
        },
        traffic: Traffic {
            rate: 5.0,
            size: 64,
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
        command_qos: 1,
        durable_queues: false,
        answer: None,
        reconnect: Reconnect::default(),
        scenario: Scenario::default(),
    }
}

/// A run of this plan in this process, held against bounds.
pub(crate) fn options(plan: Plan, checks: &str) -> Options {
    Options {
        plan,
        amqp: None,
        command_rate: 0.0,
        credentials: Credentials::Nothing,
        workers: None,
        worker_program: ("".into(), Vec::new()),
        watch: Vec::new(),
        checks: Check::parse_list(checks).unwrap(),
    }
}

pub(crate) async fn measure(plan: Plan, checks: &str) -> Result<Summary, FleetError> {
    run(&options(plan, checks), std::future::pending(), |_| {}).await
}

/// Every message came back.
pub(crate) async fn loses_nothing(plan: Plan) {
    let said = format!("{plan:?}");
    let summary = measure(plan, "lost=0,duplicates=0,echo.rate=50,online_max=10").await.unwrap();
    assert!(summary.passed(), "{said}\n{summary}");
}

/// A run that is stopped as soon as one such thing was counted.
pub(crate) async fn until_counted(options: &Options, count: &str) -> Summary {
    let counted = tokio::sync::Notify::new();
    let progress = |progress: &Progress| {
        if progress.moment.counts.get(count).is_some_and(|many| *many > 0) {
            counted.notify_one();
        }
    };
    run(options, counted.notified(), progress).await.unwrap()
}
