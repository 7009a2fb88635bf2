//! Commands come in: read, checked against what is known and what there is room for, journalled, and only then acknowledged.

use std::sync::Arc;

use roost_backend::contract;
use roost_wire::{
    CommandProblem, CommandRequest, Device, HeaderValue, Headers, Message, MessageId, Now, Receipt,
    ReceiptReason, ReceiptState, ReceiptsWanted, envelope::header,
};

use super::RouterCore;
use super::dead_letter::{cut, dead_letter};
use super::publications::Then;
use super::receipts::addresses;
use crate::decide::{Decision, RejectReason, Whereabouts};
use crate::journal::{Accepted, Final, GivenTo, Record, header_bytes};
use crate::timeline::{Step, Way};
use crate::timers::Timer;
use crate::trace::TraceStep;
use crate::{DropReason, Output, Publication, RequestId, SourceToken};

/// Where a command came from, and so who is to hear that it is safe.
#[derive(Debug)]
enum Source {
    /// The shard queue.
    Queue(SourceToken, Box<Message>),
    /// The queue of those that expired in the shard queue.
    Expired(SourceToken),
    /// The same queue, where the broker has put it because it came back to the shard queue too often.
    GivenUp(SourceToken, Box<Message>),
    /// HTTP.
    Http(RequestId),
}

/// A command that is not taken, with what is known of it.
struct Refused {
    device: Device,
    message_id: Option<MessageId>,
    wanted: ReceiptsWanted,
    receipt_to: Option<String>,
    state: ReceiptState,
    reason: ReceiptReason,
    detail: Option<String>,
}

/// AMQP's bound on a queue's name, as on every short string.
const QUEUE_NAME_BYTES_MAX: usize = 255;

/// The longest supersede key: as long as AMQP's short strings, which names are everywhere else. An empty one is a mistake of its
/// sender's more likely than a key.
const SUPERSEDE_KEY_BYTES_MAX: usize = 255;

impl RouterCore {
    pub(super) fn command_came(&mut self, now: Now, source: SourceToken, message: Box<Message>) {
        self.message_came(now, message, |message| Source::Queue(source, message));
    }

    /// A dead-letter of the shard queue. Checked against the journal: what is known there was requeued when a link was lost, and
    /// is answered for already.
    pub(super) fn expired_came(&mut self, now: Now, source: SourceToken, mut message: Box<Message>) {
        match last_death(&mut message).as_deref() {
            Some("delivery_limit") => {
                self.message_came(now, message, |message| Source::GivenUp(source, message));
            }
            _ => self.message_came(now, message, |_| Source::Expired(source)),
        }
    }

    pub(super) fn http_came(&mut self, now: Now, request: RequestId, command: Box<CommandRequest>) {
        self.request_came(now, Source::Http(request), *command);
    }

    fn message_came(&mut self, now: Now, message: Box<Message>, source: impl FnOnce(Box<Message>) -> Source) {
        let problem = match CommandRequest::from_message(&message) {
            Ok(request) => return self.request_came(now, source(message), request),
            Err(problem) => problem,
        };
        let source = source(message.clone());
        let Some(device) = problem.device else {
            // Nobody to tell: whoever looks into roost.dead finds the reason.
            self.counters.drop(DropReason::Undecodable);
            let then = source.token().map_or(Then::Done, Then::Ack);
            let letter = dead_letter(*message, None, &problem.problem.to_string());
            return self.publish(self.run_lsn, letter, then);
        };
        let source = match (&problem.message_id, source) {
            (Some(id), source) => match self.repeated(now, source, &device, &id.clone()) {
                Some(source) => source,
                None => return,
            },
            (None, source) => source,
        };
        let detail = match problem.problem {
            CommandProblem::Key(detail) => detail,
            other @ (CommandProblem::NoMessageId | CommandProblem::Value { .. }) => other.to_string(),
        };
        let refused = Refused {
            device,
            message_id: problem.message_id,
            wanted: ReceiptsWanted::default(),
            receipt_to: problem.receipt_to.filter(|queue| queue.len() <= QUEUE_NAME_BYTES_MAX),
            state: ReceiptState::Rejected,
            reason: ReceiptReason::Invalid,
            detail: Some(cut(detail)),
        };
        self.refuse(now, source, refused);
    }

    fn request_came(&mut self, now: Now, source: Source, request: CommandRequest) {
        let Some(source) = self.repeated(now, source, &request.device, &request.message_id) else { return };
        if let Some(detail) = what_is_wrong(&request) {
            let refused = Refused {
                device: request.device,
                message_id: Some(request.message_id),
                wanted: request.receipts,
                receipt_to: request.receipt_to.filter(|queue| queue.len() <= QUEUE_NAME_BYTES_MAX),
                state: ReceiptState::Rejected,
                reason: ReceiptReason::Invalid,
                detail: Some(detail),
            };
            return self.refuse(now, source, refused);
        }
        let end = match &source {
            Source::Expired(_) => Some((ReceiptState::Expired, ReceiptReason::ExpiredInQueue)),
            // Whatever it is that made it come back may be the message itself: it is not taken once more.
            Source::GivenUp(..) => Some((ReceiptState::Rejected, ReceiptReason::DeliveryLimit)),
            Source::Queue(..) | Source::Http(_) => self.admit(&source, &request).err().map(|reason| {
                let (kind, label) = Decision::Reject(reason).labels();
                self.counters.decision(kind, label);
                (ReceiptState::Rejected, reason.receipt_reason())
            }),
        };
        match end {
            None => self.accept(now, source, request),
            Some((state, reason)) => {
                let CommandRequest { device, message_id, receipts: wanted, receipt_to, .. } = request;
                let message_id = Some(message_id);
                let detail = None;
                self.refuse(
                    now,
                    source,
                    Refused { device, message_id, wanted, receipt_to, state, reason, detail },
                );
            }
        }
    }

    /// Whether there is room for it, and it is within what a command may be.
    fn admit(&self, source: &Source, request: &CommandRequest) -> Result<(), RejectReason> {
        let limits = &self.limits;
        let mailbox = self.mailboxes.get(&request.device);
        let (waiting, waiting_bytes) =
            mailbox.map_or((0, 0), |mailbox| (mailbox.waiting_count(), mailbox.waiting_bytes()));
        // Those that it takes the place of make room for it.
        let replaced = mailbox.zip(request.supersede_key.as_deref());
        let (replaced, replaced_bytes) = replaced.map_or((0, 0), |(mailbox, key)| mailbox.waiting_with(key));
        let (waiting, waiting_bytes) = (waiting - replaced, waiting_bytes - replaced_bytes);
        let (payload, headers) = (request.payload.len(), header_bytes(request));
        let held = self.journal.held_for(&request.device.tenant);
        // What the prefetch had let in before the pause is still taken.
        let slack = if matches!(source, Source::Http(_)) { 0 } else { limits.prefetch };
        let slack_bytes = slack * (limits.payload_bytes_max + limits.header_bytes_max);
        let lifetime_max_ms = u64::try_from(limits.lifetime_max.as_millis()).unwrap_or(u64::MAX);
        if request.lifetime_ms.is_some_and(|ms| ms > lifetime_max_ms) {
            Err(RejectReason::LifetimeTooLong)
        } else if payload > limits.payload_bytes_max || headers > limits.header_bytes_max {
            Err(RejectReason::TooLarge)
        } else if self.in_custody() >= limits.commands_max + slack
            || self.journal.bytes() + payload + headers > limits.bytes_max + slack_bytes
        {
            Err(RejectReason::RouterFull)
        } else if held.commands >= limits.tenant_commands_max
            || held.bytes + payload + headers > limits.tenant_bytes_max
        {
            Err(RejectReason::TenantFull)
        } else if waiting >= limits.mailbox_commands_max || waiting_bytes + payload > limits.mailbox_bytes_max
        {
            Err(RejectReason::MailboxFull)
        } else {
            Ok(())
        }
    }

    fn accept(&mut self, now: Now, source: Source, mut request: CommandRequest) {
        self.counters.accepted += 1;
        let device = request.device.clone();
        let sequence = self.journal.next();
        request.trace = self.traces.enter(request.trace, self.journal.command_id(sequence));
        if self.traces.is_recorded(request.trace) {
            self.traces.begin(now.boot, sequence);
            let (name, words, given) = self.timelines.told(&Step::Taken(source.way()));
            self.traces.note(sequence, TraceStep { at: now.boot, name, words, decision: None, given });
        }
        self.timelines.begin(now.wall, sequence, source.way());
        let lifetime = request.lifetime_ms.map_or(self.limits.lifetime, std::time::Duration::from_millis);
        let deadline = now.wall + lifetime;
        let given_to = self.clear_target(now, &device);
        let command = Arc::new(Accepted { sequence, at: now.wall, deadline, given_to, request });
        let lsn = self.record(Record::Accepted(command.clone()));
        let mailbox = self.mailboxes.entry(device.clone()).or_default();
        mailbox.put(sequence, lsn, &command.request, 0);
        match source {
            Source::Http(request) => mailbox.watch(sequence, request),
            Source::Queue(token, _) | Source::Expired(token) | Source::GivenUp(token, _) => {
                self.say_after(lsn, Output::Ack(token));
            }
        }
        self.unsafe_yet.push_back((lsn, sequence));
        self.timers.set(Timer::Expiry(sequence), now.boot + lifetime);
        self.supersede(now, &device);
        self.pause_if_full();
    }

    /// The gateway that a new command goes to as soon as it is durable, if that is clear now. Written into its record, it spares
    /// the forward a record of its own.
    fn clear_target(&self, now: Now, device: &Device) -> Option<GivenTo> {
        if self.mailboxes.get(device).is_some_and(|mailbox| mailbox.first_waiting(self.durable).is_some()) {
            return None;
        }
        match self.whereabouts(now, device) {
            Whereabouts::At { gateway, room: 1.. } => {
                let incarnation = self.gateways.get(&gateway)?.incarnation;
                Some(GivenTo { gateway, incarnation })
            }
            _ => None,
        }
    }

    /// A command's record is on disk: from here on the mesh answers for it.
    pub(super) fn accepted_durably(&mut self, now: Now, sequence: u64) {
        let Some(live) = self.journal.command(sequence) else { return };
        let device = live.command.request.device.clone();
        self.note(now, sequence, Step::Safe);
        self.tell(now, &device, sequence, ReceiptState::Accepted, None);
    }

    /// A command whose sender has been told so is offered to its device.
    pub(super) fn offer_accepted(&mut self, now: Now, sequence: u64) {
        let Some(live) = self.journal.command(sequence) else { return };
        let device = live.command.request.device.clone();
        self.offer(now, &device);
        // Written as given, and not given after all.
        let waits = self.mailboxes.get(&device).is_some_and(|mailbox| !mailbox.is_outstanding(sequence));
        if waits && self.journal.command(sequence).is_some_and(|live| live.given_to.is_some()) {
            self.record(Record::TakenBack { sequence });
        }
    }

    /// If the device has, or had, a command with this message id, the same receipt is given again and the source acknowledged;
    /// else the source is given back.
    fn repeated(&mut self, now: Now, source: Source, device: &Device, id: &MessageId) -> Option<Source> {
        let sequence = self.journal.live_id(device, id);
        let end = self.journal.final_of(device, id).cloned();
        if sequence.is_none() && end.is_none() {
            return Some(source);
        }
        if let Source::Expired(token) | Source::GivenUp(token, _) = source {
            self.counters.drop(DropReason::ExpiredButKnown);
            self.say_after(self.last, Output::Ack(token));
            return None;
        }
        self.counters.duplicates += 1;
        let known = sequence.or(end.as_ref().map(|end| end.receipt.command_id.sequence));
        if let Some(known) = known {
            self.note(now, known, Step::Repeated);
        }
        match (sequence, end) {
            (Some(sequence), _) => self.repeat_live(now, source, device, sequence),
            (None, Some(end)) => self.repeat_final(source, &end),
            (None, None) => {}
        }
        None
    }

    fn repeat_live(&mut self, now: Now, source: Source, device: &Device, sequence: u64) {
        let Some(mut receipt) = self.receipt_now(now, device, sequence) else { return };
        receipt.duplicate = true;
        let gate = self.last;
        match source {
            Source::Queue(token, _) | Source::Expired(token) | Source::GivenUp(token, _) => {
                let request = self.journal.command(sequence).map(|live| &live.command.request);
                if let Some(request) = request.filter(|request| request.receipts == ReceiptsWanted::All) {
                    for to in addresses(request.receipt_to.clone()) {
                        let receipt = Box::new(receipt.clone());
                        self.publish_receipt(gate, Publication::Receipt { to, receipt });
                    }
                }
                self.say_after(gate, Output::Ack(token));
            }
            Source::Http(request) => {
                let watchers = self.mailboxes.get_mut(device).map_or(0, |mailbox| mailbox.watchers(sequence));
                match watchers < self.limits.watchers_max {
                    true => self.mailboxes.entry(device.clone()).or_default().watch(sequence, request),
                    false => self.counters.drop(DropReason::TooManyWatchers),
                }
                self.say_after(gate, Output::Answer { request, receipt: Box::new(receipt) });
            }
        }
    }

    fn repeat_final(&mut self, source: Source, end: &Final) {
        // The final may not be on disk yet: what was journalled last says when it is.
        let gate = self.last;
        let receipt = Receipt { duplicate: true, ..end.receipt.clone() };
        match source {
            Source::Http(request) => {
                self.say_after(gate, Output::Answer { request, receipt: Box::new(receipt) })
            }
            Source::Queue(token, _) | Source::Expired(token) | Source::GivenUp(token, _)
                if end.is_wanted() =>
            {
                if let Some(queue) = end.receipt_to.clone() {
                    let to = crate::ReceiptAddress::Queue(queue);
                    let what = Publication::Receipt { to, receipt: Box::new(receipt.clone()) };
                    self.publish(gate, what, Then::Done);
                }
                let to = crate::ReceiptAddress::Exchange;
                let what = Publication::Receipt { to, receipt: Box::new(receipt) };
                self.publish(gate, what, Then::Ack(token));
            }
            Source::Queue(token, _) | Source::Expired(token) | Source::GivenUp(token, _) => {
                self.say_after(gate, Output::Ack(token));
            }
        }
    }

    /// Ends a command that was never taken. It is journalled all the same, with the receipt it owes, so that the receipt is not
    /// lost and the message is known if it comes again. What came over AMQP also goes to `roost.dead`.
    fn refuse(&mut self, now: Now, source: Source, refused: Refused) {
        let Refused { device, message_id, wanted, receipt_to, state, reason, detail } = refused;
        if let (Source::Http(request), ReceiptReason::RouterFull) = (&source, reason) {
            return self.say(Output::NoRoom { request: *request });
        }
        let receipt = Receipt {
            version: Receipt::VERSION,
            state,
            device: device.clone(),
            message_id,
            command_id: self.journal.command_id(self.journal.next()),
            epoch: None,
            gateway: None,
            region: None,
            attempt: 0,
            telling: None,
            reason: Some(reason),
            detail: detail.clone(),
            accepted_at: now.wall,
            at: now.wall,
            duplicate: false,
        };
        let sequence = receipt.command_id.sequence;
        self.timelines.begin(now.wall, sequence, source.way());
        let forget_at = now.wall + self.limits.lifetime + self.limits.remembered;
        let watchers: Vec<RequestId> = source.request().into_iter().collect();
        let lsn =
            self.conclude(now, Final { receipt, wanted, receipt_to, forget_at, reply: None }, &watchers);
        match source {
            Source::Http(_) => {}
            Source::Expired(token) => self.say_after(lsn, Output::Ack(token)),
            Source::Queue(token, message) | Source::GivenUp(token, message) => {
                let reason = crate::counters::reason_text(reason);
                let words = detail.map_or_else(|| reason.to_owned(), |detail| format!("{reason}: {detail}"));
                self.publish(lsn, dead_letter(*message, Some(&device), &words), Then::Ack(token));
            }
        }
    }

    /// Commands that have not ended, and those whose sender has not been told.
    fn in_custody(&self) -> usize {
        self.journal.commands() + self.journal.owed_count()
    }

    pub(super) fn pause_if_full(&mut self) {
        let full =
            self.in_custody() >= self.limits.commands_max || self.journal.bytes() >= self.limits.bytes_max;
        if full && !std::mem::replace(&mut self.is_paused, true) {
            self.say(Output::PauseCommands);
        }
    }

    pub(super) fn resume_if_room(&mut self) {
        let below = |value: usize, max: usize| value <= max - max / 10;
        let room = below(self.in_custody(), self.limits.commands_max)
            && below(self.journal.bytes(), self.limits.bytes_max);
        if self.is_paused && room {
            self.is_paused = false;
            self.say(Output::ResumeCommands);
        }
    }
}

impl Source {
    fn way(&self) -> Way {
        match self {
            Self::Queue(..) => Way::Amqp,
            Self::Expired(_) => Way::Expired,
            Self::GivenUp(..) => Way::GivenUp,
            Self::Http(_) => Way::Http,
        }
    }

    fn token(&self) -> Option<SourceToken> {
        match self {
            Self::Queue(token, _) | Self::Expired(token) | Self::GivenUp(token, _) => Some(*token),
            Self::Http(_) => None,
        }
    }

    fn request(&self) -> Option<RequestId> {
        match self {
            Self::Queue(..) | Self::Expired(_) | Self::GivenUp(..) => None,
            Self::Http(request) => Some(*request),
        }
    }
}

/// What a command says that it cannot say, in words.
fn what_is_wrong(request: &CommandRequest) -> Option<String> {
    if let Some(queue) = request.receipt_to.as_ref().filter(|queue| queue.len() > QUEUE_NAME_BYTES_MAX) {
        let (name, bytes) = (header::RECEIPT_TO, queue.len());
        return Some(format!("{name} has {bytes} bytes, at most {QUEUE_NAME_BYTES_MAX} name a queue"));
    }
    if let Some(queue) = request.reply_to.as_ref().filter(|queue| contract::is_inner_queue(queue)) {
        return Some(format!("reply_to is {queue:?}, a queue of the mesh's own"));
    }
    let key = request.supersede_key.as_ref()?;
    let fits = (1..=SUPERSEDE_KEY_BYTES_MAX).contains(&key.len());
    let (name, bytes) = (header::SUPERSEDE_KEY, key.len());
    (!fits).then(|| format!("{name} has {bytes} bytes, it may have 1 to {SUPERSEDE_KEY_BYTES_MAX}"))
}

/// Why a dead-letter is one. It has the key of its new queue; the one that names the device is in the `x-death` header, the last
/// death first, and is given back to it.
fn last_death(message: &mut Message) -> Option<String> {
    let list = |headers: &Headers, name: &str| match headers.get(name) {
        Some(HeaderValue::List(list)) => list.first().cloned(),
        _ => None,
    };
    let Some(HeaderValue::Table(death)) = list(&message.properties.headers, "x-death") else { return None };
    if let Some(HeaderValue::Text(key)) = list(&death, "routing-keys") {
        message.routing_key = key;
    }
    match death.get("reason") {
        Some(HeaderValue::Text(reason)) => Some(reason.clone()),
        _ => None,
    }
}
