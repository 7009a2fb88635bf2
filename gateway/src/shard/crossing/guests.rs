//! A publish in the shard of its subscribers: given to them, or waiting for one of them in its publisher's line; and its answer.

use std::collections::VecDeque;
use std::sync::Arc;

use roost_wire::Now;

use super::super::connection::HeldBy;
use super::super::park::Place;
use super::super::routes::Route;
use super::super::{Shard, Todo};
use super::{Answers, Crossed, CrossingNumber, Done, Guest, Retained, ShardWord, ToCross, Told, Word};
use crate::interest::ShardSet;
use crate::packet::QoS;
use crate::share::SharedFilter;
use crate::store::StoreNumber;
use crate::{ConnectionId, Count, ShardIndex};

impl Shard {
    /// Words of another shard.
    pub(in crate::shard) fn shard_says(&mut self, now: Now, from: ShardIndex, words: Vec<ShardWord>) {
        for ShardWord(word) in words {
            match word {
                Word::Publish(crossed) => self.crossed(now, from, *crossed),
                Word::Ended(line) => self.give_up_guest(now, line),
                Word::Members { group, there, question } => {
                    self.members_elsewhere(from, &group, there, question);
                }
                Word::NoMember { number, group } => {
                    self.share_again(now, number, &group);
                    self.crossing_answered(now, number, |_| {});
                }
                Word::Known(question) => self.owner_knows(now, question),
                Word::Answers(Answers { seen, done }) => {
                    self.crossings.other(from).unseen -= seen;
                    for (number, done) in done {
                        self.crossing_answered(now, number, |crossing| {
                            crossing.had |= done == Done::Had;
                            crossing.is_full |= done == Done::Full;
                        });
                    }
                    self.wake_next(HeldBy::Shard(from));
                }
            }
        }
    }

    fn crossed(&mut self, now: Now, from: ShardIndex, crossed: Crossed) {
        self.crossings.other(from).answers.seen += 1;
        let waits = self.crossings.has_guest(crossed.line);
        let route = self.route_of(&crossed.message.topic);
        if !waits && self.who_holds_up_crossed(&crossed, &route).is_none() {
            self.deliver_crossed(now, from, crossed, &route);
        } else {
            self.note_full(&crossed);
            let line = crossed.line;
            let held_by = self.who_holds_up_crossed(&crossed, &route).filter(|_| !waits);
            let guest = self.crossings.guests.entry(line).or_insert_with(|| Guest {
                line: VecDeque::new(),
                waits_for: None,
                woken_by: None,
            });
            guest.line.push_back((from, crossed));
            if let Some(held_by) = held_by {
                self.wait_for(now, line, held_by, Place::Last);
            }
        }
        self.routes.put(route);
    }

    /// The owner is told that no member here has room, so that others have their turn.
    fn note_full(&mut self, crossed: &Crossed) {
        let Some(filter) = crossed.only.as_ref().filter(|filter| !self.groups.owns(filter)) else { return };
        if let Some(group) = self.groups.by_filter(filter)
            && self.is_group_full(group, crossed.message.bytes())
            && self.groups.set_full(group, true)
        {
            self.group_changed(&filter.clone());
        }
    }

    /// What was for a member here came when the last one had left.
    fn no_member(&mut self, from: ShardIndex, number: CrossingNumber, group: SharedFilter) {
        if self.groups.owns(&group) {
            // Nor is there one in any other shard.
            self.count(Count::DroppedShareAlone);
            return self.answer_when_durable(from, number, Done::Unwanted);
        }
        self.tell_shard(from, Word::NoMember { number, group });
    }

    fn give_up_guest(&mut self, now: Now, line: ConnectionId) {
        let Some(guest) = self.crossings.guests.get_mut(&line) else { return };
        // What was taken in at QoS 2 is not sent again.
        let (kept, given_up): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut guest.line).into_iter().partition(|(_, it)| it.qos == QoS::ExactlyOnce);
        guest.line = kept;
        let (is_over, waits_for) = (guest.line.is_empty(), guest.waits_for);
        for (from, mut crossed) in given_up {
            // Its own shard has kept it, and so do all.
            self.retain_crossed(now, &mut crossed);
            self.crossings.other(from).answers.done.push((crossed.number, Done::GivenUp));
        }
        if is_over && let Some(guest) = self.crossings.guests.remove(&line) {
            if let Some(held_by) = waits_for {
                self.no_longer_waits(line, held_by);
            }
            if let Some(held_by) = guest.woken_by {
                self.wake_next(held_by);
            }
        }
    }

    /// With its delivery, as in its own shard: else who subscribes meanwhile has it before those that wait in front of it.
    fn retain_crossed(&mut self, now: Now, crossed: &mut Crossed) {
        let Some(Retained { stamp, publisher, is_kept }) = crossed.retained.take() else { return };
        let message = &crossed.message;
        if !self.is_broadcast(&message.topic) {
            self.crossings.heard_of(stamp);
        }
        if !is_kept {
            // Its shard has counted it.
            if !self.retained.has_newer(now.boot, &message.topic, stamp) {
                self.retained.delete(&message.topic);
                self.retained.remember_deleted(now.boot, &message.topic, stamp);
            }
        } else if let Err(why) = self.keep(now, publisher, message, crossed.qos, Some(stamp)) {
            self.retain_nothing(message, why);
        }
    }

    fn who_holds_up_crossed(&self, crossed: &Crossed, route: &Route) -> Option<HeldBy> {
        if crossed.qos == QoS::AtMostOnce {
            return None;
        }
        let Some(filter) = &crossed.only else { return self.full_locally(None, &crossed.message, route) };
        let group = self.groups.by_filter(filter);
        let full = group.filter(|group| self.is_group_full(*group, crossed.message.bytes()));
        self.storing.holds_up().or(full.map(HeldBy::Group))
    }

    fn deliver_crossed(&mut self, now: Now, from: ShardIndex, mut crossed: Crossed, route: &Route) {
        self.retain_crossed(now, &mut crossed);
        let Crossed { number, line, message, qos, may_refuse, only, .. } = crossed;
        let had = match &only {
            Some(filter) => match self.groups.by_filter(filter) {
                Some(group) => {
                    let had = self.share(now, group, &message, qos);
                    self.has_room_again(group);
                    had
                }
                None => return self.no_member(from, number, filter.clone()),
            },
            None if may_refuse && self.is_refused_for_one_away(None, &message, route) => {
                self.count(Count::PublishQueueFull);
                return self.answer_when_durable(from, number, Done::Full);
            }
            None => self.deliver_locally(now, None, &message, qos, route),
        };
        let goes_on = ToCross {
            told: Told::Shard(from, number),
            line,
            message: &message,
            qos,
            may_refuse,
            retained: None,
            had,
            is_event: false,
            counts_unwanted: false,
        };
        if self.cross(goes_on, ShardSet::default()).is_none() {
            self.answer_when_durable(from, number, if had { Done::Had } else { Done::Unwanted });
        }
    }

    pub(super) fn answer_when_durable(&mut self, from: ShardIndex, number: CrossingNumber, done: Done) {
        let batch = self.storing.next();
        let other = self.crossings.other(from);
        match batch {
            StoreNumber(0) => other.answers.done.push((number, done)),
            batch => other.unsafe_answers.push_back((batch, number, done)),
        }
    }

    /// The first of somebody's publishes that wait here has another try; then it is others' turn.
    pub(in crate::shard) fn route_guest(&mut self, now: Now, line: ConnectionId) {
        let Some(guest) = self.crossings.guests.get_mut(&line) else { return };
        let woken_by = guest.woken_by.take();
        let first = guest.line.front().filter(|_| guest.waits_for.is_none());
        if let Some(message) = first.map(|(_, first)| Arc::clone(&first.message)) {
            let route = self.route_of(&message.topic);
            let goes_on = self.try_guest(now, line, woken_by, &route);
            self.routes.put(route);
            if !goes_on {
                return;
            }
        }
        if let Some(holder) = woken_by {
            self.wake_next(holder);
        }
    }

    /// False if whoever woke it has nobody else to wake.
    fn try_guest(&mut self, now: Now, line: ConnectionId, woken_by: Option<HeldBy>, route: &Route) -> bool {
        let first = self.crossings.guests.get(&line).and_then(|guest| guest.line.front());
        if let Some(held_by) = first.and_then(|(_, first)| self.who_holds_up_crossed(first, route)) {
            let place = if woken_by == Some(held_by) { Place::First } else { Place::Last };
            self.wait_for(now, line, held_by, place);
            return place == Place::Last;
        }
        let Some(guest) = self.crossings.guests.get_mut(&line) else { return true };
        let first = guest.line.pop_front();
        if guest.line.is_empty() {
            self.crossings.guests.remove(&line);
        } else {
            self.todo.push_back(Todo::Route(line));
        }
        if let Some((from, first)) = first {
            self.deliver_crossed(now, from, first, route);
        }
        true
    }

    /// Tells the other shards what became of their publishes, once for each input.
    pub(in crate::shard) fn answer_shards(&mut self) {
        for at in 0..self.crossings.others.len() {
            let other = &mut self.crossings.others[at];
            while let Some((_, number, done)) =
                other.unsafe_answers.pop_front_if(|(batch, ..)| self.storing.is_safe(*batch))
            {
                other.answers.done.push((number, done));
            }
            if other.answers.seen == 0 && other.answers.done.is_empty() {
                continue;
            }
            let answers = std::mem::take(&mut other.answers);
            // There are no more shards than an index has.
            self.tell_shard(ShardIndex(at as u16), Word::Answers(answers));
        }
    }
}
