//! Random walks: two gateways that follow the rules, two devices, faults at any moment. Whatever the order of events, every
//! command ends once, order is kept, and nothing is delivered twice without a break.

mod node;
mod world;

use proptest::prelude::*;
use world::{Step, World};

fn step() -> impl Strategy<Value = Step> {
    let (gateway, device) = (0..2_usize, 0..2_usize);
    prop_oneof![
        6 => (device.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(device, is_short, fails)| Step::Send { device, is_short, fails }),
        6 => gateway.clone().prop_map(Step::GatewayReadsInbox),
        6 => (gateway.clone(), device.clone()).prop_map(|(gateway, device)| Step::DeviceAcknowledges { gateway, device }),
        8 => Just(Step::RouterReadsSettlement),
        8 => Just(Step::RouterReadsSighting),
        4 => gateway.clone().prop_map(Step::GatewayReadsControl),
        3 => (gateway.clone(), device.clone(), any::<bool>())
            .prop_map(|(gateway, device, subscribes)| Step::Connect { gateway, device, subscribes }),
        2 => (gateway.clone(), device.clone()).prop_map(|(gateway, device)| Step::Subscribe { gateway, device }),
        2 => (gateway.clone(), device.clone()).prop_map(|(gateway, device)| Step::Disconnect { gateway, device }),
        3 => Just(Step::DiskSyncs),
        3 => (1..4_u64).prop_map(Step::TimePasses),
        1 => gateway.clone().prop_map(Step::LinkLost),
        1 => gateway.clone().prop_map(Step::GatewayCrashes),
        1 => gateway.clone().prop_map(Step::GatewayIsCutOff),
        1 => Just(Step::RouterCrashes),
        1 => Just(Step::LockIsRegained),
        1 => Just(Step::PublisherLost),
        1 => (0..2_usize, 1..6_usize).prop_map(|(gateway, reports)| Step::GatewayPublishesAgain { gateway, reports }),
    ]
}

proptest! {
    // More with PROPTEST_CASES.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_command_ends_once_and_order_is_kept(steps in proptest::collection::vec(step(), 1..160), dies in any::<bool>()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.heal(dies);
        world.check();
    }
}
