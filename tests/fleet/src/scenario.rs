//! What happens to a fleet while it runs: a list of steps, each at its time, each to a share of the devices.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::share;

/// What the draws of this file are for.
const CHOSEN: u64 = 4 << 32;

/// The steps of a run, by time. Empty: a steady run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// In the order of their times.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the begin of the measured time.
    pub at_ms: u64,
    /// To which share of the devices, 0 to 1; who it is is drawn.
    pub share: f64,
    /// What.
    pub action: Action,
}

/// What can happen to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its connection is cut, without a word to the broker; it comes back by its policy.
    Cut,
    /// Its connection is cut, and it comes back at the next broker.
    Roam,
    /// One broker is out of reach for a while: who is there is cut, and tries the next one.
    RegionLoss {
        /// Which, counted from 0.
        broker: u16,
        /// How long.
        for_ms: u64,
    },
    /// It reads nothing for a while.
    Slow {
        /// How long.
        for_ms: u64,
    },
}

impl Scenario {
    /// The most steps: a flap every second for a long evening.
    pub const STEPS_MAX: usize = 10_000;

    /// Looks for what cannot be meant.
    pub(crate) fn check(&self, brokers: usize) -> Result<(), String> {
        if self.steps.len() > Self::STEPS_MAX {
            return Err(format!(
                "the scenario has {} steps, at most {} are possible",
                self.steps.len(),
                Self::STEPS_MAX
            ));
        }
        if !self.steps.is_sorted_by_key(|step| step.at_ms) {
            return Err("the scenario's steps are not in the order of their times".to_owned());
        }
        for step in &self.steps {
            if !(0.0..=1.0).contains(&step.share) {
                return Err(format!("the scenario's share {} is not between 0 and 1", step.share));
            }
            match step.action {
                Action::RegionLoss { broker, .. } if usize::from(broker) >= brokers => {
                    return Err(format!(
                        "the scenario names broker {broker}, and there are {brokers} (from 0)"
                    ));
                }
                Action::RegionLoss { .. } | Action::Roam if brokers < 2 => {
                    return Err("the scenario moves devices, and there is no second --broker".to_owned());
                }
                Action::RegionLoss { .. } | Action::Roam | Action::Cut | Action::Slow { .. } => {}
            }
        }
        Ok(())
    }

    /// The next step, from that index on, which a device has a part in: its index and its time.
    #[must_use]
    pub(crate) fn next(&self, seed: u64, device: u32, from: u16) -> Option<(u16, Duration)> {
        let mut later = self.steps.iter().enumerate().skip(usize::from(from));
        later.find_map(|(index, step)| {
            let chosen = step.share >= 1.0 || share(seed, device, CHOSEN + index as u64) < step.share;
            chosen.then(|| (index as u16, Duration::from_millis(step.at_ms)))
        })
    }

    /// Whether a broker is out of reach at a time.
    #[must_use]
    pub(crate) fn is_lost(&self, broker: u16, at: Duration) -> bool {
        self.steps.iter().any(|step| match step.action {
            Action::RegionLoss { broker: lost, for_ms } => {
                let begin = Duration::from_millis(step.at_ms);
                lost == broker && (begin..begin + Duration::from_millis(for_ms)).contains(&at)
            }
            Action::Cut | Action::Roam | Action::Slow { .. } => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_ms: u64, share: f64, action: Action) -> Step {
        Step { at_ms, share, action }
    }

    #[test]
    fn a_step_takes_its_share_of_the_devices() {
        let scenario = Scenario { steps: vec![step(5, 0.25, Action::Cut), step(9, 1.0, Action::Cut)] };
        let first = (0..4_000).filter(|device| scenario.next(1, *device, 0).unwrap().0 == 0).count();
        assert!((900..1_100).contains(&first), "{first} of 4000");
        assert!((0..100).all(|device| scenario.next(1, device, 1).unwrap() == (1, Duration::from_millis(9))));
        assert_eq!(scenario.next(1, 1, 2), None);
    }

    #[test]
    fn a_lost_region_is_lost_for_its_time() {
        let loss = Action::RegionLoss { broker: 1, for_ms: 10 };
        let scenario = Scenario { steps: vec![step(5, 1.0, loss)] };
        let lost = |broker, ms| scenario.is_lost(broker, Duration::from_millis(ms));
        assert_eq!([lost(1, 4), lost(1, 5), lost(1, 14), lost(1, 15)], [false, true, true, false]);
        assert!(!lost(0, 7));
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        let refused = |steps: Vec<Step>, brokers| Scenario { steps }.check(brokers).is_err();
        assert!(refused(vec![step(5, 1.0, Action::Cut), step(4, 1.0, Action::Cut)], 1));
        assert!(refused(vec![step(5, 1.5, Action::Cut)], 1));
        assert!(refused(vec![step(5, 1.0, Action::Roam)], 1));
        assert!(refused(vec![step(5, 1.0, Action::RegionLoss { broker: 2, for_ms: 1 })], 2));
        assert!(!refused(vec![step(5, 1.0, Action::RegionLoss { broker: 1, for_ms: 1 })], 2));
    }
}
