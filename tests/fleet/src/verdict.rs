//! What became of each message: differences of sets of ids, and nothing that was counted on the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Arrivals, NumberSet, Plan, Records};

/// How many of the lost are named.
const EXAMPLES_MAX: usize = 10;

/// All that is known of all messages of a run, by device.
#[derive(Debug, Default)]
pub struct Books {
    /// What the devices say.
    pub devices: BTreeMap<u32, Records>,
    /// Events that the backend side consumed; `None` if there is no backend side.
    pub events: Option<BTreeMap<u32, Arrivals>>,
    /// Commands that the AMQP broker confirmed.
    pub confirmed: BTreeMap<u32, NumberSet>,
    /// Final receipts of commands.
    pub receipts: BTreeMap<u32, Arrivals>,
    /// Commands whose final receipt says that the device has them.
    pub delivered: BTreeMap<u32, NumberSet>,
    /// Answers that the backend side consumed, by the numbers of their commands.
    pub answers: BTreeMap<u32, Arrivals>,
}

/// What became of the messages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Events: acknowledged by the broker, consumed from `roost.up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<DirectionVerdict>,
    /// Commands: confirmed by the AMQP broker, received by the device. One whose final receipt says that it was not delivered
    /// is not lost: its sender knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<DirectionVerdict>,
    /// Receipts: a final one is owed for each confirmed command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipts: Option<DirectionVerdict>,
    /// Answers to commands: acknowledged by the broker, consumed by the commands' sender. Absent if nobody was asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<DirectionVerdict>,
    /// Own messages: acknowledged by the broker, received by the device that published them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo: Option<DirectionVerdict>,
    /// Devices that did not tell what they have: nothing is known of their messages, so nothing can be said to be whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub devices_missing: u64,
}

/// What became of the messages of one direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectionVerdict {
    /// Messages that somebody vouched for: they must have arrived.
    pub expected: u64,
    /// Different messages that arrived, vouched for or not.
    pub arrived: u64,
    /// Those expected that did not arrive.
    pub lost: u64,
    /// Arrivals of messages that had arrived before.
    pub duplicates: u64,
    /// First arrivals after a later message of the same device.
    pub reordered: u64,
    /// Some of the lost, as `device/number`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_examples: Vec<String>,
}

impl Books {
    fn has_answers(&self) -> bool {
        !self.answers.is_empty() || self.devices.values().any(|records| !records.answered.is_empty())
    }
}

impl Verdict {
    /// Judges a run.
    #[must_use]
    pub fn of(plan: &Plan, books: &Books) -> Self {
        let none = Arrivals::default();
        let no_numbers = NumberSet::default();
        let mut verdict = Self {
            up: books.events.is_some().then(DirectionVerdict::default),
            down: plan.commands.then(DirectionVerdict::default),
            receipts: plan.commands.then(DirectionVerdict::default),
            answers: (plan.has_answers() && books.has_answers()).then(DirectionVerdict::default),
            echo: plan.is_heard().then(DirectionVerdict::default),
            devices_missing: u64::from(plan.devices).saturating_sub(books.devices.len() as u64),
        };
        for (device, records) in &books.devices {
            let name = |number: u32| format!("{}/{number}", plan.client_id(*device));
            if let (Some(up), Some(events)) = (&mut verdict.up, &books.events) {
                up.judge(&records.acknowledged, events.get(device).unwrap_or(&none), &no_numbers, name);
            }
            if let Some(echo) = &mut verdict.echo {
                // Whoever listens to it knows what came; without its own records nothing is known of a pair's second half.
                let hearer = if plan.pairs { device + 1 } else { *device };
                if let Some(heard) =
                    books.devices.get(&hearer).filter(|_| plan.heard_by(hearer) == Some(*device))
                {
                    echo.judge(&records.acknowledged, &heard.echoes, &no_numbers, name);
                }
            }
            if let Some(answers) = &mut verdict.answers {
                let arrived = books.answers.get(device).unwrap_or(&none);
                answers.judge(&records.answered, arrived, &no_numbers, name);
            }
            let confirmed = books.confirmed.get(device).unwrap_or(&no_numbers);
            let receipts = books.receipts.get(device).unwrap_or(&none);
            if let Some(down) = &mut verdict.down {
                let delivered = books.delivered.get(device).unwrap_or(&no_numbers);
                let told: NumberSet = receipts.numbers.without(delivered).collect();
                down.judge(confirmed, &records.commands, &told, name);
            }
            if let Some(verdict) = &mut verdict.receipts {
                verdict.judge(confirmed, receipts, &no_numbers, name);
                verdict.reordered = 0; // they are owed in no order
            }
        }
        verdict
    }

    /// Each direction that was judged, with its name.
    pub fn directions(&self) -> impl Iterator<Item = (&'static str, &DirectionVerdict)> {
        let all = [
            ("up", &self.up),
            ("down", &self.down),
            ("receipts", &self.receipts),
            ("answers", &self.answers),
            ("echo", &self.echo),
        ];
        all.into_iter().filter_map(|(name, verdict)| Some((name, verdict.as_ref()?)))
    }
}

impl DirectionVerdict {
    fn judge(
        &mut self,
        expected: &NumberSet,
        arrived: &Arrivals,
        excused: &NumberSet,
        name: impl Fn(u32) -> String,
    ) {
        self.expected += expected.len();
        self.arrived += arrived.numbers.len();
        self.duplicates += u64::from(arrived.duplicates);
        self.reordered += u64::from(arrived.reordered);
        for number in expected.without(&arrived.numbers).filter(|number| !excused.contains(*number)) {
            self.lost += 1;
            if self.lost_examples.len() < EXAMPLES_MAX {
                self.lost_examples.push(name(number));
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn arrivals(numbers: &[u32]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for number in numbers {
            arrivals.note(*number);
        }
        arrivals
    }

    fn books(acknowledged: &[u32], consumed: &[u32]) -> Books {
        let records =
            Records { device: 4, acknowledged: acknowledged.iter().copied().collect(), ..Records::default() };
        Books {
            devices: [(4, records)].into(),
            events: Some([(4, arrivals(consumed))].into()),
            ..Books::default()
        }
    }

    #[test]
    fn one_acknowledged_message_that_was_swallowed_is_found_and_named() {
        let up = Verdict::of(&plan(), &books(&[0, 1, 2, 3], &[0, 1, 3])).up.unwrap();
        assert_eq!((up.expected, up.arrived, up.lost), (4, 3, 1));
        assert_eq!(up.lost_examples, ["fleet-000004/2"]);
    }

    #[test]
    fn what_nobody_vouched_for_may_arrive_or_not() {
        let up = Verdict::of(&plan(), &books(&[0, 2], &[0, 1, 2])).up.unwrap();
        assert_eq!((up.expected, up.arrived, up.lost, up.duplicates), (2, 3, 0, 0));
    }

    #[test]
    fn duplicates_do_not_make_up_for_the_lost() {
        let up = Verdict::of(&plan(), &books(&[0, 1, 2], &[0, 2, 2, 2])).up.unwrap();
        assert_eq!((up.lost, up.duplicates, up.reordered), (1, 2, 0));
        let up = Verdict::of(&plan(), &books(&[0, 1, 2], &[2, 0, 1])).up.unwrap();
        assert_eq!((up.lost, up.reordered), (0, 2));
    }

    #[test]
    fn a_device_of_which_nothing_arrived_has_lost_it_all() {
        let mut books = books(&[0, 1], &[]);
        books.events = Some(BTreeMap::new());
        assert_eq!(Verdict::of(&plan(), &books).up.unwrap().lost, 2);
    }

    #[test]
    fn what_a_device_of_a_pair_published_is_with_the_other_one() {
        let mut plan = plan();
        plan.pairs = true;
        let publisher = Records { device: 2, acknowledged: (0..3).collect(), ..Records::default() };
        let hearer = Records { device: 3, echoes: arrivals(&[0, 2]), ..Records::default() };
        let books = Books { devices: [(2, publisher), (3, hearer)].into(), ..Books::default() };
        let echo = Verdict::of(&plan, &books).echo.unwrap();
        assert_eq!((echo.expected, echo.arrived, echo.lost), (3, 2, 1));
        assert_eq!(echo.lost_examples, ["fleet-000002/1"]);
    }

    #[test]
    fn a_command_is_lost_unless_it_came_or_its_sender_was_told() {
        let mut plan = plan();
        plan.commands = true;
        let records = Records { device: 1, commands: arrivals(&[0]), ..Records::default() };
        let books = Books {
            devices: [(1, records)].into(),
            confirmed: [(1, (0..4).collect())].into(),
            receipts: [(1, arrivals(&[0, 1, 2]))].into(), // none for 3
            delivered: [(1, [0, 2].into_iter().collect())].into(), // 1 has expired; of 2 it is claimed
            ..Books::default()
        };
        let verdict = Verdict::of(&plan, &books);
        let down = verdict.down.unwrap();
        assert_eq!((down.expected, down.lost), (4, 2));
        assert_eq!(down.lost_examples, ["fleet-000001/2", "fleet-000001/3"]);
        assert_eq!(verdict.receipts.unwrap().lost, 1);
        assert_eq!(verdict.up, None);
    }
}
