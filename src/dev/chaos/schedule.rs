//! Which faults happen, and when: drawn from a seed, and from nothing else.

use std::fmt;
use std::time::Duration;

use roost_fleet::{Action, Step};

/// From the end of a fault to the next one, in milliseconds.
const PAUSE_MS: (u64, u64) = (5_000, 15_000);
/// How long a role that was killed stays away. A gateway's lease is 10 s: most kills are over before it lapses.
const DOWN_MS: (u64, u64) = (200, 4_000);
/// How long a link is cut: connections break and none is made.
const CUT_MS: (u64, u64) = (500, 8_000);
/// How long a link stands still: connections stay, and nothing passes. Some are longer than the lease.
const STALL_MS: (u64, u64) = (2_000, 14_000);
/// The share of the devices that are cut or move, in percent.
const SHARE_PERCENT: (u64, u64) = (10, 60);

/// One fault.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    /// From the begin of the load. It begins then at the earliest: after the one before is over.
    pub(crate) at: Duration,
    pub(crate) kind: FaultKind,
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FaultKind {
    /// `kill -9`, and started again after a while.
    Kill { role: RoleName, down: Duration },
    /// The link between a gateway and the backend breaks.
    CutWan { gateway: usize, lasts: Duration },
    /// Nothing passes on the link between a gateway and the backend.
    StallWan { gateway: usize, lasts: Duration },
    /// Every AMQP link breaks.
    CutLinks { lasts: Duration },
    /// A share of the devices loses its connections.
    CutDevices { share: f64 },
    /// A share of the devices moves to the other gateway.
    RoamDevices { share: f64 },
}

/// A part of the mesh that is a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoleName {
    Backend,
    Router,
    /// By its place among the gateways.
    Gateway(usize),
}

/// Splitmix64: small, and the same on every machine and in every version.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.next() % (most - least + 1)
    }

    fn time(&mut self, bounds: (u64, u64)) -> Duration {
        Duration::from_millis(self.within(bounds))
    }

    fn share(&mut self) -> f64 {
        self.within(SHARE_PERCENT) as f64 / 100.0
    }
}

/// The faults that begin within a time. Of each eight in a row every kind is one, so that a short run meets most kinds; `has_backend`
/// says whether the broker is ours to kill, and if not every link to it is cut instead.
pub(crate) fn schedule(seed: u64, within: Duration, has_backend: bool) -> Vec<Fault> {
    let mut draw = Draw(seed);
    let mut faults = Vec::new();
    let mut bag: Vec<u8> = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += draw.time(PAUSE_MS);
        if at >= within {
            return faults;
        }
        if bag.is_empty() {
            bag = (0..8).collect();
        }
        let chosen = bag.swap_remove((draw.next() % bag.len() as u64) as usize);
        let gateway = (draw.next() % 2) as usize;
        let kind = match chosen {
            0 => FaultKind::Kill { role: RoleName::Gateway(0), down: draw.time(DOWN_MS) },
            1 => FaultKind::Kill { role: RoleName::Gateway(1), down: draw.time(DOWN_MS) },
            2 => FaultKind::Kill { role: RoleName::Router, down: draw.time(DOWN_MS) },
            3 if has_backend => FaultKind::Kill { role: RoleName::Backend, down: draw.time(DOWN_MS) },
            3 => FaultKind::CutLinks { lasts: draw.time(CUT_MS) },
            4 => FaultKind::CutWan { gateway, lasts: draw.time(CUT_MS) },
            5 => FaultKind::StallWan { gateway, lasts: draw.time(STALL_MS) },
            6 => FaultKind::CutDevices { share: draw.share() },
            _ => FaultKind::RoamDevices { share: draw.share() },
        };
        faults.push(Fault { at, kind });
        at += faults.last().map_or(Duration::ZERO, |fault| fault.kind.lasts());
    }
}

impl Fault {
    /// What devices do in it by themselves.
    pub(crate) fn step(&self) -> Option<Step> {
        let (share, action) = match self.kind {
            FaultKind::CutDevices { share } => (share, Action::Cut),
            FaultKind::RoamDevices { share } => (share, Action::Roam),
            FaultKind::Kill { .. }
            | FaultKind::CutWan { .. }
            | FaultKind::StallWan { .. }
            | FaultKind::CutLinks { .. } => return None,
        };
        Some(Step { at_ms: self.at.as_millis() as u64, share, action })
    }
}

impl FaultKind {
    /// How long it lasts.
    pub(crate) fn lasts(&self) -> Duration {
        match self {
            Self::Kill { down, .. } => *down,
            Self::CutWan { lasts, .. } | Self::StallWan { lasts, .. } | Self::CutLinks { lasts } => *lasts,
            Self::CutDevices { .. } | Self::RoamDevices { .. } => Duration::ZERO,
        }
    }

    /// Whether an event may be published again for it: a link between gateway, broker and service breaks.
    pub(crate) fn breaks_links(&self) -> bool {
        match self {
            Self::Kill { role: RoleName::Backend | RoleName::Gateway(_), .. }
            | Self::CutWan { .. }
            | Self::StallWan { .. }
            | Self::CutLinks { .. } => true,
            Self::Kill { role: RoleName::Router, .. }
            | Self::CutDevices { .. }
            | Self::RoamDevices { .. } => false,
        }
    }
}

impl RoleName {
    /// As people read it.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Backend => "the backend",
            Self::Router => "the router",
            Self::Gateway(0) => "gateway eu-1",
            Self::Gateway(_) => "gateway us-1",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = |place: &usize| RoleName::Gateway(*place).what();
        let s = |time: &Duration| format!("{:.1} s", time.as_secs_f64());
        match self {
            Self::Kill { role, down } => write!(f, "{}: kill -9, away for {}", role.what(), s(down)),
            Self::CutWan { gateway: at, lasts } => {
                write!(f, "{}: its links to the backend are cut for {}", gateway(at), s(lasts))
            }
            Self::StallWan { gateway: at, lasts } => {
                write!(f, "{}: nothing passes on its links to the backend for {}", gateway(at), s(lasts))
            }
            Self::CutLinks { lasts } => write!(f, "every AMQP link is cut for {}", s(lasts)),
            Self::CutDevices { share } => write!(f, "{:.0}% of the devices are cut", share * 100.0),
            Self::RoamDevices { share } => {
                write!(f, "{:.0}% of the devices move to the other gateway", share * 100.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_seed_is_a_schedule() {
        let one = schedule(7, HOUR, true);
        assert_eq!(one, schedule(7, HOUR, true));
        assert_ne!(one, schedule(8, HOUR, true));
        // A longer run begins as a shorter one does.
        assert_eq!(one[..5], schedule(7, 24 * HOUR, true)[..5]);
        // And so it has been: a seed that somebody wrote down means the same in later versions.
        let first: Vec<String> =
            one.iter().take(3).map(|fault| format!("{} {}", fault.at.as_millis(), fault.kind)).collect();
        let known = [
            "5888 gateway eu-1: its links to the backend are cut for 7.0 s",
            "24734 25% of the devices are cut",
            "37010 gateway us-1: nothing passes on its links to the backend for 5.9 s",
        ];
        assert_eq!(first, known);
    }

    #[test]
    fn faults_follow_each_other_and_eight_of_them_are_all_kinds() {
        let faults = schedule(1, HOUR, true);
        for pair in faults.windows(2) {
            let pause = pair[1].at - pair[0].at - pair[0].kind.lasts();
            assert!((5_000..=15_000).contains(&pause.as_millis()), "{pair:?}");
        }
        let kinds: BTreeSet<String> = faults[..8]
            .iter()
            .map(|fault| match &fault.kind {
                FaultKind::Kill { role, .. } => role.what().to_owned(),
                other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(kinds.len(), 8, "{kinds:?}");
    }

    #[test]
    fn a_broker_that_is_not_ours_is_never_killed() {
        let faults = schedule(3, HOUR, false);
        let killed = |fault: &Fault| matches!(fault.kind, FaultKind::Kill { role: RoleName::Backend, .. });
        assert!(!faults.iter().any(killed));
        assert!(faults.iter().any(|fault| matches!(fault.kind, FaultKind::CutLinks { .. })));
    }
}
