//! What comparing has met.

use std::collections::BTreeMap;

use roost_differential::Mutation;
use roost_gateway::packet::{PacketType, ProtocolVersion};

use crate::classes::classify;
use crate::comparison::{Comparison, Library, Outcome};

/// Unexplained differences that are told; the others are counted.
const TOLD_MAX: usize = 20;

#[derive(Default)]
pub(crate) struct Tally {
    outcomes: BTreeMap<(Library, u8, PacketType, Outcome), u64>,
    classes: BTreeMap<(&'static str, Library), u64>,
    by_mutation: BTreeMap<Mutation, u64>,
    alike: BTreeMap<Library, u64>,
    pub(crate) unexplained: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, comparison: &Comparison, seed: u64, mutation: Mutation) {
        let outcome = comparison.outcome();
        *self.by_mutation.entry(mutation).or_default() += 1;
        let Some(packet_type) = comparison.packet_type() else { return };
        *self
            .outcomes
            .entry((comparison.library, comparison.version.level(), packet_type, outcome))
            .or_default() += 1;
        if outcome != Outcome::Different {
            return;
        }
        match classify(comparison) {
            Some(class) => *self.classes.entry((class.name, comparison.library)).or_default() += 1,
            None if self.unexplained.len() < TOLD_MAX => {
                let Comparison { library, version, bytes, ours, theirs } = comparison;
                self.unexplained.push(format!(
                    "seed {seed}, {mutation:?}, {library:?} {version:?} {bytes:02x?}\n  ours {ours:?}\n  theirs {theirs:?}\n  {:?}",
                    comparison.differing()
                ));
            }
            None => {}
        }
    }

    pub(crate) fn encoded_alike(&mut self, library: Library) {
        *self.alike.entry(library).or_default() += 1;
    }

    pub(crate) fn encoded_differently(&mut self, before: &Comparison, after: &str) {
        let Comparison { library, version, bytes, ours, .. } = before;
        self.unexplained
            .push(format!("{library:?} {version:?} {bytes:02x?}\n  was {ours:?}\n  encoded again {after}"));
        self.unexplained.truncate(TOLD_MAX);
    }

    pub(crate) fn of_mutation(&self, mutation: Mutation) -> u64 {
        self.by_mutation.get(&mutation).copied().unwrap_or(0)
    }

    pub(crate) fn outcome(
        &self,
        library: Library,
        version: ProtocolVersion,
        packet_type: PacketType,
        outcome: Outcome,
    ) -> u64 {
        self.outcomes.get(&(library, version.level(), packet_type, outcome)).copied().unwrap_or(0)
    }

    pub(crate) fn of_class(&self, name: &str) -> u64 {
        Library::ALL.into_iter().map(|library| self.of_class_at(name, library)).sum()
    }

    pub(crate) fn of_class_at(&self, name: &str, library: Library) -> u64 {
        let of = |((class, of), times): (&(&str, Library), &u64)| {
            (*class == name && *of == library).then_some(*times)
        };
        self.classes.iter().find_map(of).unwrap_or(0)
    }

    pub(crate) fn alike(&self, library: Library) -> u64 {
        self.alike.get(&library).copied().unwrap_or(0)
    }
}
