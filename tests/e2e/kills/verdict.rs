//! What was promised against what came: plain set arithmetic.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The name of an event or a command of the load: whose, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Numbered {
    pub(super) device: usize,
    pub(super) serial: u64,
}

impl fmt::Display for Numbered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.device, self.serial)
    }
}

impl FromStr for Numbered {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (device, serial) = text.split_once('/')?;
            Some(Self { device: device.parse().ok()?, serial: serial.parse().ok()? })
        };
        parse().ok_or_else(|| format!("not DEVICE/SERIAL: {text:?}"))
    }
}

/// A final receipt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Final {
    pub(super) state: String,
    /// The receipt's own id, the same when it is published again.
    pub(super) message_id: String,
}

/// A command as a device got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) command: Numbered,
    /// The mesh's id, in `roost-command-id`.
    pub(super) command_id: String,
}

/// What both ends know after the run.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Events that a device got a PUBACK for.
    pub(super) acknowledged: BTreeSet<Numbered>,
    /// Events that were in the backend's queue.
    pub(super) seen: BTreeSet<Numbered>,
    /// Commands that a sender got a confirm for.
    pub(super) accepted: BTreeSet<Numbered>,
    /// The distinct final receipts of each command.
    pub(super) finals: BTreeMap<Numbered, BTreeSet<Final>>,
    /// What each device received, connection by connection.
    pub(super) received: BTreeMap<usize, Vec<Vec<Received>>>,
}

impl Evidence {
    /// Every broken promise, in words. None is the verdict that is wanted.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.acknowledged.is_empty() || self.accepted.is_empty() {
            found.push("nothing was promised: the run shows nothing".to_owned());
        }
        found.extend(
            self.acknowledged
                .difference(&self.seen)
                .map(|event| format!("event {event} acknowledged and lost")),
        );
        found.extend(self.accepted.iter().filter_map(|command| self.wrong_end(*command)));
        found.extend(self.received.values().flat_map(|connections| wrong_order(connections)));
        found.extend(self.wrong_ids());
        found
    }

    fn wrong_end(&self, command: Numbered) -> Option<String> {
        let finals: Vec<&Final> = self.finals.get(&command).into_iter().flatten().collect();
        match finals.as_slice() {
            [] => Some(format!("command {command} accepted and without a final receipt")),
            [only] if only.state == "delivered" && !self.got(command) => {
                Some(format!("command {command} said to be delivered, and its device does not have it"))
            }
            [only] if ["delivered", "unknown"].contains(&only.state.as_str()) => None,
            [only] => Some(format!("command {command} ended as {}: nothing here calls for that", only.state)),
            several => Some(format!("command {command} has several final receipts: {several:?}")),
        }
    }

    fn got(&self, command: Numbered) -> bool {
        let connections = self.received.get(&command.device);
        connections.into_iter().flatten().flatten().any(|received| received.command == command)
    }

    /// A repeated command carries the id that it had the first time.
    fn wrong_ids(&self) -> Vec<String> {
        let mut ids: BTreeMap<Numbered, BTreeSet<&str>> = BTreeMap::new();
        for received in self.received.values().flatten().flatten() {
            ids.entry(received.command).or_default().insert(&received.command_id);
        }
        let wrong = ids.into_iter().filter(|(_, ids)| ids.len() != 1 || ids.contains(""));
        wrong.map(|(command, ids)| format!("command {command} carries the ids {ids:?}")).collect()
    }
}

/// Within a connection numbers rise, so that no redelivery overtakes and none happens without a break; and a command
/// that comes for the first time is later than all that came before.
fn wrong_order(connections: &[Vec<Received>]) -> Vec<String> {
    let mut found = Vec::new();
    let mut latest: Option<Numbered> = None;
    let mut known = BTreeSet::new();
    for connection in connections {
        for pair in connection.windows(2).filter(|pair| pair[0].command >= pair[1].command) {
            found.push(format!(
                "command {} came behind {} on one connection",
                pair[1].command, pair[0].command
            ));
        }
        for received in connection {
            if known.insert(received.command) && latest.is_some_and(|latest| latest > received.command) {
                found.push(format!("command {} came for the first time behind {latest:?}", received.command));
            }
            latest = latest.max(Some(received.command));
        }
    }
    found
}

impl fmt::Display for Evidence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections: usize = self.received.values().map(Vec::len).sum();
        let received: usize = self.received.values().flatten().map(Vec::len).sum();
        write!(
            formatter,
            "{} events acknowledged, {} seen; {} commands accepted, {} ended, {received} received on {connections} connections",
            self.acknowledged.len(),
            self.seen.len(),
            self.accepted.len(),
            self.finals.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(serial: u64) -> Numbered {
        Numbered { device: 0, serial }
    }

    fn received(serials: &[u64]) -> Vec<Received> {
        let one = |serial: &u64| Received { command: numbered(*serial), command_id: format!("id-{serial}") };
        serials.iter().map(one).collect()
    }

    fn ended(state: &str) -> BTreeSet<Final> {
        [Final { state: state.to_owned(), message_id: "r".to_owned() }].into()
    }

    /// Three commands, the second of them sent again after a break.
    fn good() -> Evidence {
        Evidence {
            acknowledged: [numbered(1)].into(),
            seen: [numbered(1), numbered(2)].into(),
            accepted: [numbered(0), numbered(1), numbered(2)].into(),
            finals: (0..3).map(|serial| (numbered(serial), ended("delivered"))).collect(),
            received: [(0, vec![received(&[0, 1]), received(&[1, 2])])].into(),
        }
    }

    #[test]
    fn kept_promises_are_no_violation() {
        assert_eq!(good().violations(), Vec::<String>::new());
    }

    #[test]
    fn every_broken_promise_is_found() {
        type Break = fn(&mut Evidence);
        let breaks: [(&str, Break); 10] = [
            ("acknowledged and lost", |evidence| evidence.acknowledged.extend([numbered(9)])),
            ("without a final receipt", |evidence| drop(evidence.finals.remove(&numbered(1)))),
            ("several final receipts", |evidence| {
                evidence.finals.entry(numbered(1)).or_default().extend(ended("expired"));
            }),
            ("ended as expired", |evidence| drop(evidence.finals.insert(numbered(1), ended("expired")))),
            ("does not have it", |evidence| drop(evidence.received.insert(0, vec![received(&[0, 1])]))),
            ("on one connection", |evidence| drop(evidence.received.insert(0, vec![received(&[0, 2, 1])]))),
            ("on one connection", |evidence| {
                drop(evidence.received.insert(0, vec![received(&[0, 1, 1, 2])]))
            }),
            ("for the first time behind", |evidence| {
                evidence.received.insert(0, vec![received(&[0, 2]), received(&[1])]);
            }),
            ("carries the ids", |evidence| {
                let connection = evidence.received.get_mut(&0).and_then(|connections| connections.last_mut());
                connection.expect("there are two")[0].command_id = "another".to_owned();
            }),
            ("nothing was promised", |evidence| evidence.acknowledged.clear()),
        ];
        for (expected, break_it) in breaks {
            let mut evidence = good();
            break_it(&mut evidence);
            let found = evidence.violations();
            assert!(found.iter().any(|violation| violation.contains(expected)), "{expected}: {found:?}");
        }
    }
}
