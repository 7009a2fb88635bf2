//! Whatever a device does with its connections: each of its wills is published when the specification says so, once, or never.

use std::time::Duration;

use proptest::prelude::*;
use roost_wire::BootTime;

use super::world::*;
use crate::packet::{BinaryData, Disconnect, Packet, QoS, ReasonCode, Text, Will, WillProperties};
use crate::{ConnectionId, Limits};

#[derive(Debug, Clone)]
enum Step {
    Connect { clean: bool, delay_s: u32, expiry_s: u32, has_will: bool },
    Cut,
    Goodbye(ReasonCode),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = || prop_oneof![1 => Just(0), 3 => 1..8_u32];
    let connect = (prop_oneof![3 => Just(false), 1 => Just(true)], seconds(), seconds(), any::<bool>());
    prop_oneof![
        5 => connect.prop_map(|(clean, delay_s, expiry_s, has_will)| Step::Connect { clean, delay_s, expiry_s, has_will }),
        4 => Just(Step::Cut),
        1 => Just(Step::Goodbye(ReasonCode::Success)),
        1 => Just(Step::Goodbye(ReasonCode::DisconnectWithWill)),
        5 => (1..5_000_u64).prop_map(Step::Pass),
    ]
}

/// A will that the model has not seen the end of.
#[derive(Debug, Clone)]
struct Kept {
    text: String,
    delay: Duration,
}

/// What the specification says, of one client.
#[derive(Default)]
struct Model {
    /// The will of the connection, if it is open, and how long its session outlives it.
    open: Option<(Option<Kept>, Duration)>,
    /// The will of the session, if it goes on without a connection, with the earlier of its delay's and the session's end.
    away: Option<(Option<Kept>, BootTime)>,
    published: Vec<String>,
}

impl Model {
    fn publish(&mut self, kept: Option<Kept>) {
        self.published.extend(kept.map(|kept| kept.text));
    }

    /// The connection ends, with a goodbye or not.
    fn close(&mut self, now: BootTime, is_goodbye: bool) {
        let Some((kept, expiry)) = self.open.take() else { return };
        let kept = kept.filter(|_| !is_goodbye);
        let ends_at = now + expiry;
        let due_at = kept.as_ref().map_or(ends_at, |kept| (now + kept.delay).min(ends_at));
        self.away = Some((kept, due_at));
        self.pass(now);
    }

    fn pass(&mut self, now: BootTime) {
        if let Some((kept, _)) = self.away.take_if(|(_, due_at)| *due_at <= now) {
            self.publish(kept);
        }
    }

    fn connect(&mut self, now: BootTime, clean: bool, kept: Option<Kept>, expiry: Duration) {
        self.close(now, false);
        // Whoever goes on with the session ends the delay, whoever begins anew ends the session.
        if let Some((kept, _)) = self.away.take().filter(|_| clean) {
            self.publish(kept);
        }
        self.open = Some((kept, expiry));
    }
}

fn seconds(s: u32) -> Duration {
    Duration::from_secs(s.into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn each_will_is_published_when_it_should_be_or_never(
        steps in proptest::collection::vec(step(), 1..60), shards in shards(),
    ) {
        let limits = Limits { takeovers_burst: 1_000, ..limits() };
        let mut world = World::of_shards(shards, |config| config.limits = limits);
        let watcher = world.connect(V5, "watcher");
        world.subscribe(watcher, "local/will", QoS::AtLeastOnce);
        let (mut model, mut client): (_, Option<ConnectionId>) = (Model::default(), None);
        let mut heard = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Connect { clean, delay_s, expiry_s, has_will } => {
                    let mut connect = persistent(V5, "d");
                    connect.clean_start = clean;
                    connect.properties.session_expiry_interval_s = Some(expiry_s);
                    connect.will = has_will.then(|| Will {
                        topic: Text::from_static("local/will"),
                        payload: BinaryData::parse(n.to_string().into_bytes()).unwrap(),
                        qos: QoS::AtLeastOnce,
                        retain: false,
                        properties: WillProperties { delay_interval_s: Some(delay_s), ..WillProperties::default() },
                    });
                    let kept = has_will.then(|| Kept { text: n.to_string(), delay: seconds(delay_s) });
                    model.connect(world.now.boot, clean, kept, seconds(expiry_s));
                    client = Some(world.connect_as(connect));
                }
                Step::Cut => {
                    if let Some(client) = client.take() {
                        world.cut(client);
                        model.close(world.now.boot, false);
                    }
                }
                Step::Goodbye(reason) => {
                    if let Some(client) = client.take() {
                        world.send(client, Packet::Disconnect(Disconnect { reason, properties: None }));
                        model.close(world.now.boot, reason == ReasonCode::Success);
                    }
                }
                Step::Pass(ms) => {
                    world.pass_with_lease(Duration::from_millis(ms));
                    model.pass(world.now.boot);
                }
            }
            heard.extend(world.take_publishes(watcher, true));
            prop_assert_eq!(&heard, &model.published);
        }
        let open = usize::from(model.open.is_some_and(|(kept, _)| kept.is_some()));
        let away = usize::from(model.away.is_some_and(|(kept, _)| kept.is_some()));
        prop_assert_eq!(world.gauges().wills, open + away);
    }
}
