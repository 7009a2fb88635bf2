//! What happens to a command: the one place where that is decided. Pure: the same facts give the same decision, and each comes
//! with its reason in words, for `locate --explain`.

use roost_wire::{GatewayId, Offline, ReceiptReason};

/// What the router knows of a device at this moment, as far as it matters to a command for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// After a start: some gateway may still hold commands that this run has not heard of.
    Recovering,
    /// Its last hold has ended, and not every command of it is back.
    HoldEnding {
        /// At which gateway.
        gateway: GatewayId,
    },
    /// It is there, and commands may go there.
    At {
        /// At which gateway.
        gateway: GatewayId,
        /// How many more may be outstanding.
        room: usize,
    },
    /// It is there, but no command may go there before the gateway's sync is read.
    NotReady {
        /// At which gateway.
        gateway: GatewayId,
    },
    /// It is there, and has no subscription that matches the first command.
    Unsubscribed {
        /// At which gateway.
        gateway: GatewayId,
    },
    /// It is known to be away.
    Away {
        /// Where it was last.
        gateway: GatewayId,
    },
    /// The gateways are being asked.
    Asking,
    /// More than one gateway claims it, and these are being asked.
    Contested {
        /// Which, the one that was heard first first.
        gateways: Vec<GatewayId>,
    },
    /// All were asked, a moment ago, and none holds it.
    Absent {
        /// Whether one that might hold it could not answer.
        unsure: bool,
    },
    /// It is not known, or its gateway's lease has lapsed; these can be asked.
    Doubt {
        /// The gateways that are alive.
        live: Vec<GatewayId>,
    },
}

/// What a decision needs to know of the first command that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What the sender wants while the device is away.
    pub offline: Offline,
    /// How often it may have reached the device and was not answered.
    pub unanswered: u32,
    /// How often that may happen.
    pub unanswered_max: u32,
}

/// What happens to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes to this gateway.
    Forward(GatewayId),
    /// These gateways are asked, and it waits for their answer.
    Ask(Vec<GatewayId>),
    /// It waits.
    Park(ParkReason),
    /// It ends.
    Reject(RejectReason),
}

/// Why a command waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParkReason {
    /// The router has started, and not every gateway has synced.
    Recovering,
    /// The device's last hold has ended, and not every command of it is back.
    HoldEnding,
    /// As many commands as may be are at the gateway.
    WindowFull,
    /// The gateway owes a sync.
    GatewayNotReady,
    /// The device has no subscription that matches.
    NoSubscription,
    /// The device is known to be away.
    DeviceAway,
    /// The gateways are being asked.
    Asking,
    /// Two gateways claim the device, and both are being asked.
    Contested,
    /// No gateway holds the device.
    DeviceAbsent,
    /// No gateway that could be asked holds the device; one that might could not be asked.
    GatewayUnsure,
    /// There is no gateway to ask.
    NoGateways,
}

/// Why a command ends without its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectReason {
    /// The sender asked not to wait, and the device is away. The receipt says `unreachable`.
    Unreachable(ParkReason),
    /// Given away too often, and perhaps delivered, without an answer.
    DeliveryLimit,
    /// The lifetime asked for is above the limit.
    LifetimeTooLong,
    /// Payload or headers are longer than they may be.
    TooLarge,
    /// Too much waits for that device.
    MailboxFull,
    /// Too much waits for all.
    RouterFull,
    /// Too much waits for that tenant's devices.
    TenantFull,
}

/// Decides about the first command that waits for a device. The later ones wait behind it: order is per device.
#[must_use]
pub fn decide(whereabouts: &Whereabouts, command: Facts) -> Decision {
    if command.unanswered >= command.unanswered_max {
        return Decision::Reject(RejectReason::DeliveryLimit);
    }
    let park = match whereabouts {
        Whereabouts::At { gateway, room: 1.. } => return Decision::Forward(gateway.clone()),
        Whereabouts::Doubt { live } if !live.is_empty() => return Decision::Ask(live.clone()),
        Whereabouts::At { gateway: _, room: 0 } => ParkReason::WindowFull,
        Whereabouts::Doubt { live: _ } => ParkReason::NoGateways,
        Whereabouts::Recovering => ParkReason::Recovering,
        Whereabouts::HoldEnding { gateway: _ } => ParkReason::HoldEnding,
        Whereabouts::NotReady { gateway: _ } => ParkReason::GatewayNotReady,
        Whereabouts::Unsubscribed { gateway: _ } => ParkReason::NoSubscription,
        Whereabouts::Away { gateway: _ } => ParkReason::DeviceAway,
        Whereabouts::Asking => ParkReason::Asking,
        Whereabouts::Contested { gateways: _ } => ParkReason::Contested,
        Whereabouts::Absent { unsure: false } => ParkReason::DeviceAbsent,
        Whereabouts::Absent { unsure: true } => ParkReason::GatewayUnsure,
    };
    match command.offline {
        Offline::Fail if park.is_away() => Decision::Reject(RejectReason::Unreachable(park)),
        Offline::Park | Offline::Fail => Decision::Park(park),
    }
}

impl ParkReason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Recovering,
        Self::HoldEnding,
        Self::WindowFull,
        Self::GatewayNotReady,
        Self::NoSubscription,
        Self::DeviceAway,
        Self::Asking,
        Self::Contested,
        Self::DeviceAbsent,
        Self::GatewayUnsure,
        Self::NoGateways,
    ];

    /// Whether the device is not there, as far as anybody can know: a sender that does not want to wait hears `unreachable`.
    #[must_use]
    pub const fn is_away(self) -> bool {
        match self {
            Self::DeviceAway | Self::DeviceAbsent => true,
            Self::Recovering
            | Self::HoldEnding
            | Self::WindowFull
            | Self::GatewayNotReady
            | Self::NoSubscription
            | Self::Asking
            | Self::Contested
            | Self::GatewayUnsure
            | Self::NoGateways => false,
        }
    }

    /// What the receipt says; nothing while the command is only waiting for its turn in the window.
    #[must_use]
    pub const fn receipt_reason(self) -> Option<ReceiptReason> {
        match self {
            Self::WindowFull => None,
            Self::Recovering
            | Self::HoldEnding
            | Self::GatewayNotReady
            | Self::GatewayUnsure
            | Self::NoGateways => Some(ReceiptReason::GatewayUnsure),
            Self::NoSubscription => Some(ReceiptReason::NoSubscription),
            Self::DeviceAway => Some(ReceiptReason::DeviceAway),
            Self::Asking | Self::Contested => Some(ReceiptReason::Asking),
            Self::DeviceAbsent => Some(ReceiptReason::DeviceUnknown),
        }
    }

    /// The reason as metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::HoldEnding => "hold_ending",
            Self::WindowFull => "window_full",
            Self::GatewayNotReady => "gateway_not_ready",
            Self::NoSubscription => "no_subscription",
            Self::DeviceAway => "device_away",
            Self::Asking => "asking",
            Self::Contested => "contested",
            Self::DeviceAbsent => "device_absent",
            Self::GatewayUnsure => "gateway_unsure",
            Self::NoGateways => "no_gateways",
        }
    }

    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Recovering => {
                "the router has just started: it waits until every gateway has said what it still holds, or its lease has lapsed"
            }
            Self::HoldEnding => "the last gateway's turn has ended, and not every command of it is back yet",
            Self::WindowFull => {
                "as many commands as may be are at the gateway; the next goes when one is answered"
            }
            Self::GatewayNotReady => {
                "its gateway is there, and has not said yet which commands it still holds"
            }
            Self::NoSubscription => {
                "the device is connected, and has no subscription that matches the first command's topic; later ones wait behind it"
            }
            Self::DeviceAway => "the device is known to be away; the next acceptance brings its commands",
            Self::Asking => "the gateways are being asked who holds the device",
            Self::Contested => {
                "two gateways claim it; asked: it waits until they have said which of them still holds the device"
            }
            Self::DeviceAbsent => "every gateway was asked a moment ago, and none holds the device",
            Self::GatewayUnsure => "no gateway that answers holds the device; one that does not answer might",
            Self::NoGateways => "no gateway is alive that could be asked",
        }
    }
}

impl RejectReason {
    /// One of each, as metrics write them.
    pub const NAMES: [&'static str; 7] = [
        Self::Unreachable(ParkReason::DeviceAway).as_str(),
        Self::DeliveryLimit.as_str(),
        Self::LifetimeTooLong.as_str(),
        Self::TooLarge.as_str(),
        Self::MailboxFull.as_str(),
        Self::RouterFull.as_str(),
        Self::TenantFull.as_str(),
    ];

    /// The reason as metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::DeliveryLimit => "delivery_limit",
            Self::LifetimeTooLong => "lifetime_too_long",
            Self::TooLarge => "too_large",
            Self::MailboxFull => "mailbox_full",
            Self::RouterFull => "router_full",
            Self::TenantFull => "tenant_full",
        }
    }

    /// What the receipt says.
    #[must_use]
    pub const fn receipt_reason(self) -> ReceiptReason {
        match self {
            Self::Unreachable(ParkReason::DeviceAway) => ReceiptReason::DeviceAway,
            Self::Unreachable(_) => ReceiptReason::DeviceUnknown,
            Self::DeliveryLimit => ReceiptReason::DeliveryLimit,
            Self::LifetimeTooLong => ReceiptReason::LifetimeTooLong,
            Self::TooLarge => ReceiptReason::TooLarge,
            Self::MailboxFull => ReceiptReason::MailboxFull,
            Self::RouterFull => ReceiptReason::RouterFull,
            Self::TenantFull => ReceiptReason::TenantFull,
        }
    }
}

impl Decision {
    /// Kind and reason, as metrics write them.
    #[must_use]
    pub const fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Forward(_) => ("forward", ""),
            Self::Ask(_) => ("ask", ""),
            Self::Park(reason) => ("park", reason.as_str()),
            Self::Reject(reason) => ("reject", reason.as_str()),
        }
    }

    /// The decision and why, in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Forward(gateway) => format!("forward to {gateway}: the device is there"),
            Self::Ask(gateways) => {
                let names: Vec<&str> = gateways.iter().map(GatewayId::as_str).collect();
                format!("ask {}: it is not known which gateway holds the device", names.join(", "))
            }
            Self::Park(reason) => format!("park: {}", reason.words()),
            Self::Reject(RejectReason::Unreachable(reason)) => {
                format!("end as unreachable, since the sender does not want to wait: {}", reason.words())
            }
            Self::Reject(reason) => format!("reject: {}", reason.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_situation_has_its_decision() {
        let g = || -> GatewayId { "g1".parse().unwrap() };
        let park = Decision::Park;
        let cases = [
            (Whereabouts::At { gateway: g(), room: 3 }, Decision::Forward(g())),
            (Whereabouts::At { gateway: g(), room: 0 }, park(ParkReason::WindowFull)),
            (Whereabouts::Doubt { live: vec![g()] }, Decision::Ask(vec![g()])),
            (Whereabouts::Doubt { live: vec![] }, park(ParkReason::NoGateways)),
            (Whereabouts::Recovering, park(ParkReason::Recovering)),
            (Whereabouts::HoldEnding { gateway: g() }, park(ParkReason::HoldEnding)),
            (Whereabouts::NotReady { gateway: g() }, park(ParkReason::GatewayNotReady)),
            (Whereabouts::Unsubscribed { gateway: g() }, park(ParkReason::NoSubscription)),
            (Whereabouts::Away { gateway: g() }, park(ParkReason::DeviceAway)),
            (Whereabouts::Asking, park(ParkReason::Asking)),
            (Whereabouts::Contested { gateways: vec![g(), g()] }, park(ParkReason::Contested)),
            (Whereabouts::Absent { unsure: false }, park(ParkReason::DeviceAbsent)),
            (Whereabouts::Absent { unsure: true }, park(ParkReason::GatewayUnsure)),
        ];
        for (whereabouts, expected) in cases {
            let facts = Facts { offline: Offline::Park, unanswered: 0, unanswered_max: 10 };
            assert_eq!(decide(&whereabouts, facts), expected, "{whereabouts:?}");
            assert!(!expected.words().is_empty());
            // A sender that does not want to wait hears so only if the device is really away.
            let failing = decide(&whereabouts, Facts { offline: Offline::Fail, ..facts });
            match expected {
                Decision::Park(reason @ (ParkReason::DeviceAway | ParkReason::DeviceAbsent)) => {
                    assert_eq!(failing, Decision::Reject(RejectReason::Unreachable(reason)));
                }
                _ => assert_eq!(failing, expected),
            }
            let tired = Facts { unanswered: 10, ..facts };
            assert_eq!(decide(&whereabouts, tired), Decision::Reject(RejectReason::DeliveryLimit));
        }
    }
}
