//! The publishes at QoS 2 that a session has taken in and its client has not released, by packet id: whatever comes under one of these
//! ids is a repeat [MQTT-4.3.3-10]. They outlive the connection, and move with the session.
//!
//! ```text
//!            PUBLISH              safe, or refused           PUBREC leaves          PUBREL
//!  (nothing) ──────► on its way ──────────────────► settled ──────────────► told ──────────► (nothing), PUBCOMP
//!      ▲                 │                            ▲                      │ │
//!      ├── not routed ───┘                            └─ PUBLISH again, ─────┘ │
//!      │   before its connection ended                   or another connection │
//!      └────────────────────────── it was a refusal, and the client knows that ┘
//! ```

use std::collections::BTreeMap;

use crate::packet::{PacketId, ReasonCode};

/// The ids, each with where its publish stands. Bounded by the caller with [`Received::len`].
#[derive(Debug, Default)]
pub(crate) struct Received {
    stages: BTreeMap<PacketId, Stage>,
    on_their_way: usize,
    told: usize,
    /// For its copy on disk: what has changed since somebody asked; none if nobody does. Asked after each input, which bounds it.
    changes: Option<Vec<(PacketId, Option<ReasonCode>)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody can say yet that it is safe.
    OnItsWay,
    /// A PUBREC with this reason is due, or was sent on an earlier connection.
    Settled(ReasonCode),
    /// It was sent on the present connection.
    Told(ReasonCode),
}

impl Stage {
    fn answer(self) -> Option<ReasonCode> {
        match self {
            Self::OnItsWay => None,
            Self::Settled(reason) | Self::Told(reason) => Some(reason),
        }
    }
}

/// What a PUBLISH is, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The first under this id.
    New,
    /// A repeat of one that is not safe yet: its PUBREC leaves when that is.
    Early,
    /// A repeat of one that this is the answer to.
    Late(ReasonCode),
}

/// What a PUBREL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The id is free again.
    Done,
    /// It was free.
    Unknown,
    /// No PUBREC was sent that it could answer.
    TooEarly,
}

impl Received {
    /// How many ids are taken.
    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// How many have got their PUBREC on the present connection: of what the client may have unanswered, they are a part until PUBCOMP
    /// (MQTT5 §3.3.4).
    pub(crate) fn told(&self) -> usize {
        self.told
    }

    /// Whether all are settled: only then does the session know what it has.
    pub(crate) fn is_settled(&self) -> bool {
        self.on_their_way == 0
    }

    /// Takes in the id of a PUBLISH. A repeat is owed a PUBREC of its own.
    pub(crate) fn arrive(&mut self, packet_id: PacketId) -> Arrival {
        match self.stages.get(&packet_id) {
            None => {
                self.set(packet_id, Some(Stage::OnItsWay));
                Arrival::New
            }
            Some(Stage::OnItsWay) => Arrival::Early,
            Some(&(Stage::Settled(reason) | Stage::Told(reason))) => {
                self.set(packet_id, Some(Stage::Settled(reason)));
                Arrival::Late(reason)
            }
        }
    }

    /// Whether the id is taken: a PUBLISH under it is a repeat.
    pub(crate) fn has(&self, packet_id: PacketId) -> bool {
        self.stages.contains_key(&packet_id)
    }

    /// The publish is safe, or refused; its PUBREC may leave.
    pub(crate) fn settle(&mut self, packet_id: PacketId, reason: ReasonCode) {
        if self.stages.get(&packet_id) == Some(&Stage::OnItsWay) {
            self.set(packet_id, Some(Stage::Settled(reason)));
        }
    }

    /// The publish went to nobody, and will not: under this id it may come anew.
    pub(crate) fn forget(&mut self, packet_id: PacketId) {
        if self.stages.get(&packet_id) == Some(&Stage::OnItsWay) {
            self.set(packet_id, None);
        }
    }

    /// Its PUBREC leaves. One that tells a client of a refusal frees the id [MQTT-4.3.3-9]; 3.1.1 has no word for it, and goes on to PUBREL.
    pub(crate) fn tell(&mut self, packet_id: PacketId, knows_refusals: bool) {
        let Some(&(Stage::Settled(reason) | Stage::Told(reason))) = self.stages.get(&packet_id) else {
            return;
        };
        let is_over = knows_refusals && reason.is_error();
        self.set(packet_id, (!is_over).then_some(Stage::Told(reason)));
    }

    /// A PUBREL has come.
    pub(crate) fn release(&mut self, packet_id: PacketId) -> Release {
        match self.stages.get(&packet_id) {
            None => Release::Unknown,
            Some(Stage::OnItsWay) => Release::TooEarly,
            Some(Stage::Settled(_) | Stage::Told(_)) => {
                self.set(packet_id, None);
                Release::Done
            }
        }
    }

    /// The connection is gone: what it was told it may not know.
    pub(crate) fn disconnect(&mut self) {
        if self.told == 0 {
            return;
        }
        for stage in self.stages.values_mut() {
            if let Stage::Told(reason) = *stage {
                *stage = Stage::Settled(reason);
            }
        }
        self.told = 0;
    }

    /// The ids with their answers, for a session that moves; it has settled all.
    pub(crate) fn settled(&self) -> impl Iterator<Item = (PacketId, ReasonCode)> + '_ {
        self.stages.iter().filter_map(|(packet_id, stage)| Some((*packet_id, stage.answer()?)))
    }

    /// Takes over what another gateway has taken in under this id.
    pub(crate) fn take_over(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.set(packet_id, Some(Stage::Settled(reason)));
    }

    /// From now on what changes is noted, and all that there is counts as new; or nothing is noted any more.
    pub(crate) fn keep_log(&mut self, is_kept: bool) {
        let all = self.settled().map(|(packet_id, reason)| (packet_id, Some(reason)));
        self.changes = is_kept.then(|| all.collect());
    }

    /// What has changed since the last call: ids, each with the answer that a repeat under it gets. Without one it is free, or its publish is
    /// not safe yet.
    pub(crate) fn take_changes(&mut self) -> Vec<(PacketId, Option<ReasonCode>)> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts back what the disk has, into one that is new. Then what changes is noted.
    pub(crate) fn restore(&mut self, ids: impl IntoIterator<Item = (PacketId, ReasonCode)>) {
        for (packet_id, reason) in ids {
            self.take_over(packet_id, reason);
        }
        self.changes = Some(Vec::new());
    }

    fn set(&mut self, packet_id: PacketId, stage: Option<Stage>) {
        let before = match stage {
            Some(stage) => self.stages.insert(packet_id, stage),
            None => self.stages.remove(&packet_id),
        };
        let answer = stage.and_then(Stage::answer);
        if let Some(changes) = self.changes.as_mut().filter(|_| answer != before.and_then(Stage::answer)) {
            changes.push((packet_id, answer));
        }
        let one_if = |stage: Option<Stage>, is: fn(Stage) -> bool| usize::from(stage.is_some_and(is));
        let is_on_its_way = |stage| stage == Stage::OnItsWay;
        let is_told = |stage| matches!(stage, Stage::Told(_));
        self.on_their_way = self.on_their_way + one_if(stage, is_on_its_way) - one_if(before, is_on_its_way);
        self.told = self.told + one_if(stage, is_told) - one_if(before, is_told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: PacketId = PacketId::FIRST;

    #[test]
    fn what_comes_under_an_id_before_its_pubrel_is_a_repeat() {
        let mut received = Received::default();
        assert_eq!(received.arrive(ID), Arrival::New);
        assert_eq!(received.arrive(ID), Arrival::Early);
        assert!(!received.is_settled());
        received.settle(ID, ReasonCode::NoMatchingSubscribers);
        assert_eq!(received.arrive(ID), Arrival::Late(ReasonCode::NoMatchingSubscribers));
        received.tell(ID, true);
        assert_eq!(received.arrive(ID), Arrival::Late(ReasonCode::NoMatchingSubscribers));
        assert_eq!(received.release(ID), Release::Done);
        assert_eq!(received.release(ID), Release::Unknown);
        assert_eq!(received.arrive(ID), Arrival::New);
    }

    #[test]
    fn a_refusal_frees_its_id_once_it_is_told_to_who_understands_it() {
        for knows_refusals in [true, false] {
            let mut received = Received::default();
            received.arrive(ID);
            received.settle(ID, ReasonCode::UnspecifiedError);
            assert_eq!(received.arrive(ID), Arrival::Late(ReasonCode::UnspecifiedError));
            received.tell(ID, knows_refusals);
            assert_eq!(received.has(ID), !knows_refusals);
        }
    }

    #[test]
    fn what_was_not_routed_leaves_nothing_and_what_was_stays() {
        let mut received = Received::default();
        received.arrive(ID);
        assert_eq!(received.release(ID), Release::TooEarly);
        received.forget(ID);
        assert_eq!((received.len(), received.is_settled()), (0, true));
        received.arrive(ID);
        received.settle(ID, ReasonCode::Success);
        received.forget(ID);
        assert_eq!(received.settled().collect::<Vec<_>>(), [(ID, ReasonCode::Success)]);
    }

    #[test]
    fn what_the_client_may_have_unanswered_is_counted_per_connection() {
        let mut received = Received::default();
        received.arrive(ID);
        received.settle(ID, ReasonCode::Success);
        assert_eq!(received.told(), 0);
        received.tell(ID, true);
        assert_eq!(received.told(), 1);
        received.disconnect();
        assert_eq!((received.told(), received.len()), (0, 1));
        received.arrive(ID);
        received.tell(ID, true);
        received.release(ID);
        assert_eq!((received.told(), received.len()), (0, 0));
    }
}
