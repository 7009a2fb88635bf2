//! What devices answer to commands goes to the queue that the sender named.
//!
//! ```text
//!            ┌─ nobody waits for it: counted, dropped ──────────────────────────────┐
//! answer ────┴─> published to the sender's queue ─ confirmed ───────────────────────┴─> journalled ─> acknowledged
//!                    ├─ returned: the queue is gone: counted, dropped ──────────────┤
//!                    └─ nacked: counted ─> published to roost.dead ─ confirmed ─────┘
//! ```
//! The device names a command at most, never a queue. A router that dies on the way does it again, with the same `message_id`.

use roost_wire::envelope::header;
use roost_wire::{CommandId, Device, Event, Message, Now};

use super::RouterCore;
use super::dead_letter::dead_letter;
use super::publications::Then;
use crate::journal::{Record, Reply};
use crate::timeline::Step;
use crate::{DropReason, Output, Publication, PublishOutcome, SourceToken};

/// An answer whose command is known, on its way.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    sequence: u64,
    /// The id of the message it came in.
    message: Box<str>,
    source: SourceToken,
    /// Where it goes if the sender's queue refuses it; none once it goes there.
    or_else: Option<Box<Message>>,
}

impl Answer {
    /// Whether an outcome of its publication leads on; otherwise it is published again.
    pub(super) fn is_ended_by(&self, outcome: PublishOutcome) -> bool {
        match outcome {
            PublishOutcome::Confirmed | PublishOutcome::Returned => true,
            PublishOutcome::Nacked => self.or_else.is_some(),
            PublishOutcome::Lost => false,
        }
    }
}

impl RouterCore {
    pub(super) fn answer_came(&mut self, now: Now, source: SourceToken, message: Box<Message>) {
        let (event, sequence, reply) = match self.who_waits(now, &message) {
            Ok(found) => found,
            Err(reason) => {
                self.counters.drop(reason);
                // Why nobody waits may not be on disk yet.
                return self.say_after(self.last, Output::Ack(source));
            }
        };
        let id: Box<str> = event.id().into();
        self.answering.insert(sequence, id.clone());
        let letter = (*message).clone();
        let answer = Answer { sequence, message: id, source, or_else: Some(Box::new(letter)) };
        let what = to_sender(message, self.journal.command_id(sequence), reply);
        self.publish(self.run_lsn, what, Then::Answer(answer));
    }

    /// The command that an answer answers, and who waits for that.
    fn who_waits(&self, now: Now, message: &Message) -> Result<(Event, u64, Reply), DropReason> {
        let event = Event::from_message(message).map_err(|_| DropReason::AnswerUnreadable)?;
        if !self.is_believed(message, &event.gateway) {
            return Err(DropReason::WrongUser);
        }
        let named = event.topic.levels().last().and_then(|level| level.parse::<CommandId>().ok());
        let id = event.id();
        if self.journal.answered_by(&id).is_some() {
            return Err(DropReason::AnswerRepeated);
        }
        let sequence = match named {
            Some(named) => {
                let sequence = named.sequence;
                let is_ours = self.journal.command_id(sequence) == named;
                Some(sequence).filter(|_| is_ours).ok_or(DropReason::AnswerUnexpected)?
            }
            None => self.oldest_that_waits(now, &event.device, &id).ok_or(DropReason::AnswerUnexpected)?,
        };
        let (device, reply) = self.journal.reply(sequence).ok_or(DropReason::AnswerUnexpected)?;
        if *device != event.device {
            return Err(DropReason::AnswerOfAnother);
        }
        // One that is on its way and comes again, since a link was lost, goes there again: its first source is nobody's any more.
        let other = self.answering.get(&sequence).is_some_and(|under_way| **under_way != *id);
        if other || self.journal.is_answered(sequence) {
            return Err(DropReason::AnswerRepeated);
        }
        Ok((event, sequence, reply))
    }

    /// The first command of a device that it may have, that wants an answer and has none, and whose lifetime has not ended.
    fn oldest_that_waits(&self, now: Now, device: &Device, message: &str) -> Option<u64> {
        let again = self.answering.iter().find(|(_, under_way)| &***under_way == message);
        if let Some((sequence, _)) = again {
            return Some(*sequence);
        }
        let is_free =
            |sequence: &u64| !self.answering.contains_key(sequence) && !self.journal.is_answered(*sequence);
        let lives = |sequence: &u64| {
            let end = self.journal.final_at(*sequence);
            end.is_some_and(|end| end.forget_at > now.wall + self.limits.remembered)
        };
        let ended = self.journal.awaiting(device).find(|sequence| is_free(sequence) && lives(sequence));
        let was_given = |sequence: &u64| {
            let live = self.journal.command(*sequence);
            let attempt = self.mailboxes.get(device).and_then(|mailbox| mailbox.entries.get(sequence));
            attempt.is_some_and(|entry| entry.attempt > 0)
                && live.is_some_and(|live| Reply::of(&live.command.request).is_some())
        };
        let entries = self.mailboxes.get(device).into_iter().flat_map(|mailbox| mailbox.entries.keys());
        let live = entries.copied().find(|sequence| is_free(sequence) && was_given(sequence));
        ended.into_iter().chain(live).min()
    }

    /// What became of an answer's publication.
    pub(super) fn answer_published(&mut self, now: Now, answer: Answer, outcome: PublishOutcome) {
        let Answer { sequence, source, .. } = answer;
        match (outcome, answer.or_else) {
            (PublishOutcome::Confirmed, Some(_)) => {
                self.counters.answers += 1;
                self.note(now, sequence, Step::Replied);
            }
            // It is in `roost.dead`, or that has no queue any more.
            (PublishOutcome::Confirmed | PublishOutcome::Returned, None) => {}
            (PublishOutcome::Returned, Some(_)) => {
                self.counters.drop(DropReason::AnswerQueueGone);
                self.note(now, sequence, Step::ReplyLost(DropReason::AnswerQueueGone));
            }
            // Not tried again: a queue that stays full would hold up the settlements behind it.
            (PublishOutcome::Nacked | PublishOutcome::Lost, Some(message)) => {
                self.counters.drop(DropReason::AnswerRefused);
                self.note(now, sequence, Step::ReplyLost(DropReason::AnswerRefused));
                let device = self.journal.reply(sequence).map(|(device, _)| device.clone());
                let letter =
                    dead_letter(*message, device.as_ref(), "the sender's queue refused the device's answer");
                let then = Then::Answer(Answer { or_else: None, message: answer.message, sequence, source });
                return self.publish(self.run_lsn, letter, then);
            }
            // Those are published again, see above.
            (PublishOutcome::Nacked | PublishOutcome::Lost, None) => return,
        }
        self.answering.remove(&sequence);
        let lsn = match self.journal.is_answered(sequence) {
            true => self.last,
            false => self.record(Record::Answered { sequence, message: answer.message.into() }),
        };
        self.say_after(lsn, Output::Ack(source));
    }
}

/// The answer as the sender gets it: the device's body and headers, and what it answers.
fn to_sender(mut message: Box<Message>, command: CommandId, reply: Reply) -> Publication {
    message.exchange = String::new();
    message.routing_key = reply.to;
    let properties = &mut message.properties;
    properties.message_id = Some(format!("{command}.answer"));
    properties.correlation_id = Some(reply.correlation_id);
    properties.reply_to = None;
    properties.user_id = None;
    properties.set(header::COMMAND_ID, command.to_string());
    Publication::Answer { message }
}
