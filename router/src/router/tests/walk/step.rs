//! What can happen next, and how often it does.

use proptest::prelude::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send {
        device: usize,
        is_short: bool,
        fails: bool,
    },
    /// Its confirms were lost.
    GatewayPublishesAgain {
        gateway: usize,
        reports: usize,
    },
    GatewayReadsInbox(usize),
    GatewayReadsControl(usize),
    DeviceAcknowledges {
        gateway: usize,
        device: usize,
    },
    RouterReadsSettlement,
    RouterReadsSighting,
    Connect {
        gateway: usize,
        device: usize,
        subscribes: bool,
    },
    Subscribe {
        gateway: usize,
        device: usize,
    },
    Disconnect {
        gateway: usize,
        device: usize,
    },
    DiskSyncs,
    TimePasses(u64),
    LinkLost(usize),
    GatewayCrashes(usize),
    GatewayIsCutOff(usize),
    RouterCrashes,
    /// The router's consuming link was lost, and with it the lock; nobody else had it.
    LockIsRegained,
    PublisherLost,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
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
