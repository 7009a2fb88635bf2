//! What was published and what its outcome leads to.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_wire::{Device, Epoch, GatewayId, Now, Presence, QuestionId};

use super::RouterCore;
use super::answers::Answer;
use crate::journal::Record;
use crate::timeline::Step;
use crate::timers::Timer;
use crate::{DropReason, Lsn, Output, Publication, PublishOutcome, PublishToken, SourceToken};

/// Publications whose outcome matters. Bounded by the commands in custody, the receipts owed, the queues' prefetch, and
/// [`crate::Limits::presences_max`].
#[derive(Debug, Default)]
pub(super) struct Publications {
    last: u64,
    open: BTreeMap<PublishToken, Open>,
    /// How many publications a final's receipt still waits for.
    receipts: BTreeMap<u64, u8>,
    /// How many are presence.
    presences: usize,
    /// The newest presence of each device that is not confirmed.
    newest: BTreeMap<Device, PublishToken>,
}

#[derive(Debug)]
struct Open {
    then: Then,
    /// Published again if the broker refuses it.
    again: Option<Publication>,
}

/// What follows.
#[derive(Debug, Clone)]
pub(super) enum Then {
    /// Nothing, but it must get there.
    Done,
    /// The command is in the inbox, or not.
    Given { gateway: GatewayId, inbox: String, device: Device, sequence: u64, epoch: Epoch },
    /// One of the publications that a final owes.
    ReceiptPublished { sequence: u64 },
    /// The message that led to it can be acknowledged.
    Ack(SourceToken),
    /// A command that was tried too often is in `roost.dead`, and ends.
    Bury { device: Device, sequence: u64 },
    /// There is room for one more of its kind.
    Presence(Device),
    /// A receipt that is not final has been told, or could not be.
    Told,
    /// A gateway has been told about a device's session, or it is gone.
    SessionOrder { gateway: GatewayId, device: Device, question: QuestionId },
    /// A session is in the inbox of the gateway that has asked for it, or that is gone: then so is the session.
    Session(SourceToken),
    /// A device's answer is with its sender, or goes elsewhere.
    Answer(Answer),
}

/// How long a publication that the broker refused waits before it is published again: a queue is full, and one second later it
/// may not be.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);

impl RouterCore {
    /// Publishes something whose outcome does not matter, once the record is durable.
    pub(super) fn publish_and_forget(&mut self, gate: Lsn, what: Publication) {
        let token = self.publications.token();
        self.say_after(gate, Output::Publish { token, what });
    }

    /// Publishes a receipt that is not final, once the record is durable. One that a queue refuses is not published again: the other queues
    /// have it, and later ones of its command may be there already.
    pub(super) fn publish_receipt(&mut self, gate: Lsn, what: Publication) {
        let token = self.publications.token();
        self.publications.open.insert(token, Open { then: Then::Told, again: None });
        self.say_after(gate, Output::Publish { token, what });
    }

    /// Publishes something that nothing else repeats, once the record is durable: again a second after it was lost or refused,
    /// also if the shell does not.
    pub(super) fn publish_until_confirmed(&mut self, gate: Lsn, what: Publication) {
        let token = self.publications.token();
        self.publications.open.insert(token, Open { then: Then::Done, again: Some(what.clone()) });
        self.say_after(gate, Output::Publish { token, what });
    }

    /// Publishes a device's coming or going, if not too many of those wait for their confirm.
    pub(super) fn publish_presence(&mut self, presence: Presence) {
        if self.publications.presences >= self.limits.presences_max {
            return self.counters.drop(DropReason::PresenceBacklog);
        }
        self.publications.presences += 1;
        // Whose run counts is on disk before anybody hears where its devices are: a crash must not take that back. And they are told
        // in the order in which the router learnt them.
        let gate = self.run_lsn.max(self.sighted);
        let device = presence.device.clone();
        let what = Publication::Presence(Box::new(presence));
        let token = self.publish_named(gate, what, Then::Presence(device.clone()));
        self.publications.newest.insert(device, token);
    }

    /// Publishes something once the record is durable.
    pub(super) fn publish(&mut self, gate: Lsn, what: Publication, then: Then) {
        self.publish_named(gate, what, then);
    }

    fn publish_named(&mut self, gate: Lsn, what: Publication, then: Then) -> PublishToken {
        let token = self.publications.token();
        let again = what.publish_again().then(|| what.clone());
        if let Then::ReceiptPublished { sequence } = then {
            *self.publications.receipts.entry(sequence).or_default() += 1;
        }
        self.publications.open.insert(token, Open { then, again });
        self.say_after(gate, Output::Publish { token, what });
        token
    }

    pub(super) fn published(&mut self, now: Now, token: PublishToken, outcome: PublishOutcome) {
        let Some(open) = self.publications.open.remove(&token) else { return };
        match (open.then, outcome) {
            (Then::Given { .. }, PublishOutcome::Confirmed) => {}
            (Then::Given { gateway, inbox, device, sequence, epoch }, PublishOutcome::Returned) => {
                self.counters.drop(DropReason::InboxGone);
                if let Some(gateway) = self.gateways.get_mut(&gateway) {
                    gateway.inbox_gone(now.boot, &inbox);
                }
                self.given_back(now, &device, sequence, epoch);
            }
            (
                Then::Given { gateway, device, sequence, .. },
                PublishOutcome::Nacked | PublishOutcome::Lost,
            ) => {
                // It may be in the inbox or not: the gateway knows.
                self.counters.drop(DropReason::PublicationLost);
                if outcome == PublishOutcome::Nacked {
                    // What the broker refuses every time must not be tried for ever.
                    self.count_refusal(&device, sequence);
                }
                self.request_sync(now, &gateway);
            }
            (Then::Answer(answer), outcome) if answer.is_ended_by(outcome) => {
                self.answer_published(now, answer, outcome);
            }
            (Then::SessionOrder { gateway, device, question }, PublishOutcome::Returned) => {
                self.session_unreachable(now, &gateway, &device, question);
            }
            // Whether it got there or not: who waits has a bound.
            (Then::SessionOrder { .. }, _) => {}
            (Then::Session(source), PublishOutcome::Returned) => {
                self.counters.drop(DropReason::SessionInboxGone);
                self.say(Output::Ack(source));
            }
            (Then::Told, PublishOutcome::Nacked | PublishOutcome::Lost) => {
                self.counters.drop(DropReason::ReceiptRefused);
            }
            (then, PublishOutcome::Nacked | PublishOutcome::Lost) => {
                self.counters.drop(DropReason::PublishedAgain);
                self.publish_later(now, token, Open { then, again: open.again });
            }
            // The queue behind `roost.dead` is gone: until somebody declares it again there is no safe place.
            (then, PublishOutcome::Returned)
                if matches!(open.again, Some(Publication::DeadLetter { .. })) =>
            {
                self.counters.drop(DropReason::NoDeadQueue);
                self.publish_later(now, token, Open { then, again: open.again });
            }
            // No other of these is mandatory; a broker that returns one all the same has no queue for it.
            (then, PublishOutcome::Confirmed | PublishOutcome::Returned) => self.follow(now, token, then),
        }
    }

    fn publish_later(&mut self, now: Now, token: PublishToken, open: Open) {
        self.timers.set(Timer::Publish(token), now.boot + PUBLISH_AGAIN);
        self.publications.open.insert(token, open);
    }

    fn count_refusal(&mut self, device: &Device, sequence: u64) {
        let mailbox = self.mailboxes.get_mut(device);
        if let Some(entry) = mailbox.and_then(|mailbox| mailbox.entries.get_mut(&sequence)) {
            entry.refusals = entry.refusals.saturating_add(1);
        }
    }

    pub(super) fn publish_due(&mut self, token: PublishToken) {
        let Some(open) = self.publications.open.get(&token) else { return };
        if let Then::Presence(device) = &open.then
            && self.publications.newest.get(device) != Some(&token)
        {
            // Where the device is now was told since, and this must not be the last word.
            self.publications.open.remove(&token);
            self.publications.presences -= 1;
            return self.counters.drop(DropReason::PresenceOvertaken);
        }
        if let Some(what) = open.again.clone() {
            self.say(Output::Publish { token, what });
        }
    }

    fn follow(&mut self, now: Now, token: PublishToken, then: Then) {
        match then {
            // Answers were followed above.
            Then::Done | Then::Told | Then::Given { .. } | Then::SessionOrder { .. } | Then::Answer(_) => {}
            Then::Ack(source) | Then::Session(source) => self.say(Output::Ack(source)),
            Then::Bury { device, sequence } => self.buried(now, &device, sequence),
            Then::Presence(device) => {
                self.publications.presences -= 1;
                if self.publications.newest.get(&device) == Some(&token) {
                    self.publications.newest.remove(&device);
                }
            }
            Then::ReceiptPublished { sequence } => {
                let Some(left) = self.publications.receipts.get_mut(&sequence) else { return };
                *left -= 1;
                if *left == 0 {
                    self.publications.receipts.remove(&sequence);
                    self.record(Record::ReceiptPublished { sequence });
                    self.note(now, sequence, Step::Told);
                    self.resume_if_room();
                }
            }
        }
    }
}

impl Publications {
    /// Names go on where those of `before` ended: an outcome that is still to come is nobody's.
    pub(super) fn go_on_after(&mut self, before: &Self) {
        self.last = before.last;
    }

    fn token(&mut self) -> PublishToken {
        self.last += 1;
        PublishToken(self.last)
    }
}
