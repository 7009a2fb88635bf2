//! What devices answer: to the sender of the command, once, and journalled before its source is acknowledged.

use bytes::Bytes;
use roost_wire::{
    CommandId, CommandRequest, Delivery, Event, Incarnation, Message, Outcome, Qos, ReceiptReason,
    ReceiptState, Topic, WallTime, envelope::header,
};

use super::bench::{Bench, Gate, SECOND, command, device};
use crate::{DropReason, Output, Publication, PublishOutcome, PublishToken, Queue};

fn question(to: &str, id: &str) -> CommandRequest {
    let (reply_to, correlation_id) = (Some("answers".to_owned()), Some(format!("about {id}")));
    CommandRequest { reply_to, correlation_id, ..command(to, id) }
}

/// The `number`-th answer of a gateway.
fn answer(from: &str, to: Option<CommandId>, number: u64) -> Message {
    let mut topic = format!("devices/{from}/answer");
    if let Some(id) = to {
        topic = format!("{topic}/{id}");
    }
    let event = Event {
        device: device(from),
        topic: Topic::parse(&topic).unwrap(),
        payload: Bytes::from(format!("answer {number}")),
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        gateway: "g1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        incarnation: Incarnation(1),
        sequence: number,
        received_at: WallTime::from_millis(1),
        replayed: false,
        content_type: Some("text/plain".to_owned()),
        expiry_s: None,
        payload_is_utf8: false,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        trace: None,
    };
    event.into_message("roost.answers")
}

impl Bench {
    fn answer(&mut self, from: &str, to: Option<CommandId>, number: u64) {
        self.deliver(Queue::Settlements, answer(from, to, number));
    }

    /// The answers that were published: (body, correlation id).
    fn sent_answers(&mut self) -> Vec<(String, String)> {
        let text = |message: &Message| String::from_utf8(message.body.to_vec()).unwrap();
        let replies = self.replies_with_tokens().into_iter();
        replies.map(|(_, message)| (text(&message), message.properties.correlation_id.unwrap())).collect()
    }

    fn replies_with_tokens(&mut self) -> Vec<(PublishToken, Message)> {
        let reply = |output: &Output| match output {
            Output::Publish { token, what: Publication::Answer { message } } => {
                Some((*token, (**message).clone()))
            }
            _ => None,
        };
        let found = self.said.iter().filter_map(reply).collect();
        self.said.retain(|output| reply(output).is_none());
        found
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.core.counters().drops.get(&reason).copied().unwrap_or_default()
    }

    /// A device with commands that it has acknowledged.
    fn asked(commands: impl IntoIterator<Item = CommandRequest>) -> (Self, Gate, Vec<Delivery>) {
        let (mut bench, mut gates) = Self::ready(&["g1"]);
        let gate = gates.remove(0);
        bench.accepted(&gate, "d", 1);
        let mut deliveries = Vec::new();
        for command in commands {
            bench.send(command);
            let delivery = bench.delivery();
            bench.settled(&gate, &delivery, Outcome::Delivered);
            deliveries.push(delivery);
        }
        bench.said.clear();
        (bench, gate, deliveries)
    }
}

fn said(number: u64, about: &str) -> (String, String) {
    (format!("answer {number}"), format!("about {about}"))
}

#[test]
fn an_answer_goes_to_the_queue_of_its_command_with_what_the_sender_knows_it_by() {
    let (mut bench, _, deliveries) = Bench::asked([question("d", "q1"), question("d", "q2")]);
    assert_eq!(deliveries[1].correlation_id.as_deref(), Some("about q2"));
    bench.answer("d", Some(deliveries[1].id), 1);
    let (_, message) = bench.replies_with_tokens().remove(0);
    assert_eq!((message.exchange.as_str(), message.routing_key.as_str()), ("", "answers"));
    assert_eq!(message.body, "answer 1");
    let properties = &message.properties;
    assert_eq!(properties.correlation_id.as_deref(), Some("about q2"));
    assert_eq!(properties.message_id, Some(format!("{}.answer", deliveries[1].id)));
    assert_eq!(properties.content_type.as_deref(), Some("text/plain"));
    let headers =
        [header::TENANT, header::DEVICE, header::COMMAND_ID].map(|name| properties.text(name).unwrap());
    assert_eq!(headers, ["main", "d", &deliveries[1].id.to_string()]);
    assert_eq!((properties.int(header::QOS), properties.int(header::RECEIVED_AT)), (Some(1), Some(1)));
    assert_eq!(bench.core.counters().answers, 1);
    let why = bench.core.why(&"q2".parse().unwrap(), None).remove(0);
    assert_eq!(why.steps.last().unwrap().step, "replied");
}

#[test]
fn without_a_correlation_id_the_message_id_is_it_and_without_reply_to_nobody_is_asked() {
    let plain = CommandRequest { correlation_id: Some("x".to_owned()), ..command("d", "plain") };
    let asked = CommandRequest { correlation_id: None, ..question("d", "q1") };
    let (mut bench, _, deliveries) = Bench::asked([plain, asked]);
    let data: Vec<_> = deliveries.iter().map(|delivery| delivery.correlation_id.as_deref()).collect();
    assert_eq!(data, [None, Some("q1")]);
    bench.answer("d", Some(deliveries[0].id), 1);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerUnexpected)), (vec![], 1));
    bench.answer("d", Some(deliveries[1].id), 2);
    assert_eq!(bench.sent_answers(), [("answer 2".to_owned(), "q1".to_owned())]);
}

#[test]
fn without_a_command_id_the_oldest_that_waits_is_answered_settled_or_not() {
    let (mut bench, gate, _) =
        Bench::asked([question("d", "q1"), command("d", "plain"), question("d", "q2")]);
    bench.send(question("d", "q3"));
    let third = bench.delivery();
    bench.answer("d", None, 1);
    bench.answer("d", None, 2);
    // Its settlement is still on its way.
    bench.answer("d", None, 3);
    bench.answer("d", None, 4);
    assert_eq!(bench.sent_answers(), [said(1, "q1"), said(2, "q2"), said(3, "q3")]);
    assert_eq!(bench.dropped(DropReason::AnswerUnexpected), 1);
    bench.settled(&gate, &third, Outcome::Delivered);
    bench.answer("d", Some(third.id), 5);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerRepeated)), (vec![], 1));
}

#[test]
fn what_the_device_never_got_is_not_answered() {
    let mut bench = Bench::new();
    bench.send(question("d", "waits"));
    bench.answer("d", None, 1);
    bench.send(CommandRequest { lifetime_ms: Some(1), ..question("d", "expires") });
    bench.advance(SECOND);
    let receipts = bench.receipts();
    let expired = receipts.iter().find(|receipt| receipt.state == ReceiptState::Expired).unwrap();
    bench.answer("d", Some(expired.command_id), 2);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerUnexpected)), (vec![], 2));
}

#[test]
fn an_unanswered_command_stands_in_the_way_of_the_later_ones_until_its_lifetime_ends() {
    let short = CommandRequest { lifetime_ms: Some(5_000), ..question("d", "forgotten") };
    let (mut bench, _, deliveries) = Bench::asked([short, question("d", "q2")]);
    bench.advance(SECOND * 6);
    bench.answer("d", None, 1);
    assert_eq!(bench.sent_answers(), [said(1, "q2")]);
    // By its id it can still be answered, for as long as it is remembered.
    bench.answer("d", Some(deliveries[0].id), 2);
    assert_eq!(bench.sent_answers(), [said(2, "forgotten")]);
    bench.advance(SECOND * 3_600 * 26);
    bench.answer("d", Some(deliveries[1].id), 3);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerUnexpected)), (vec![], 1));
}

#[test]
fn no_device_answers_for_another_and_no_answer_names_a_queue() {
    let (mut bench, _, deliveries) = Bench::asked([question("d", "q1")]);
    bench.answer("e", Some(deliveries[0].id), 1);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerOfAnother)), (vec![], 1));
    let other = CommandId { journal: deliveries[0].id.journal ^ 1, ..deliveries[0].id };
    bench.answer("d", Some(other), 2);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerUnexpected)), (vec![], 1));
    let mut message = answer("d", Some(deliveries[0].id), 3);
    message.properties.reply_to = Some("roost.router.0".to_owned());
    bench.deliver(Queue::Settlements, message);
    let (_, message) = bench.replies_with_tokens().remove(0);
    assert_eq!((message.routing_key.as_str(), message.properties.reply_to), ("answers", None));
    let mut message = answer("d", Some(deliveries[0].id), 4);
    message.properties.headers.clear();
    bench.deliver(Queue::Settlements, message);
    assert_eq!(bench.dropped(DropReason::AnswerUnreadable), 1);
}

#[test]
fn an_inner_queue_of_the_mesh_is_no_place_for_answers() {
    let mut bench = Bench::new();
    let request = CommandRequest { reply_to: Some("roost.settle.0".to_owned()), ..question("d", "q1") };
    bench.send(request);
    let receipt = bench.receipts().remove(0);
    assert_eq!((receipt.state, receipt.reason), (ReceiptState::Rejected, Some(ReceiptReason::Invalid)));
    assert!(receipt.detail.unwrap().contains("roost.settle.0"));
}

#[test]
fn its_source_is_acknowledged_when_the_sender_has_it_and_that_is_on_disk() {
    let (mut bench, _, deliveries) = Bench::asked([question("d", "q1")]);
    bench.is_quick = false;
    let source = bench.deliver(Queue::Settlements, answer("d", Some(deliveries[0].id), 1));
    let (token, _) = bench.replies_with_tokens().remove(0);
    assert_eq!(bench.acks(), []);
    bench.outcome(token, PublishOutcome::Confirmed);
    assert_eq!(bench.acks(), [], "not on disk");
    bench.fsync();
    assert_eq!(bench.acks(), [source]);
}

#[test]
fn after_a_crash_before_the_confirm_the_answer_comes_again_with_the_same_id() {
    let (mut bench, _, deliveries) = Bench::asked([question("d", "q1"), question("d", "q2")]);
    bench.is_quick = false;
    bench.answer("d", None, 1);
    let (_, before) = bench.replies_with_tokens().remove(0);
    let mut bench = bench.crash();
    bench.answer("d", None, 1);
    let (_, after) = bench.replies_with_tokens().remove(0);
    assert_eq!(before, after);
    // It was on disk, and the acknowledgement was lost: the next command is not answered by it.
    let mut bench = bench.crash();
    bench.answer("d", None, 1);
    assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerRepeated)), (vec![], 1));
    bench.answer("d", None, 2);
    assert_eq!(bench.sent_answers(), [said(2, "q2")]);
    // All of this outlives a snapshot.
    let mut restored = crate::journal::Journal::default();
    for record in bench.core.snapshot() {
        restored.apply(&record);
    }
    assert_eq!(restored, *bench.core.journal());
    assert!(restored.is_answered(deliveries[0].id.sequence));
}

#[test]
fn an_answer_under_way_that_is_delivered_again_goes_to_the_same_command() {
    let (mut bench, ..) = Bench::asked([question("d", "q1"), question("d", "q2")]);
    bench.is_quick = false;
    let first = bench.deliver(Queue::Settlements, answer("d", None, 1));
    let again = bench.deliver(Queue::Settlements, answer("d", None, 1));
    bench.answer("d", None, 2);
    let replies = bench.replies_with_tokens();
    let about: Vec<_> =
        replies.iter().map(|(_, reply)| reply.properties.correlation_id.clone().unwrap()).collect();
    assert_eq!(about, ["about q1", "about q1", "about q2"]);
    bench.outcome(replies[1].0, PublishOutcome::Confirmed);
    bench.outcome(replies[0].0, PublishOutcome::Confirmed);
    bench.fsync();
    assert_eq!(bench.acks(), [again, first]);
}

#[test]
fn an_answer_whose_queue_is_gone_is_dropped_and_one_that_is_refused_goes_to_roost_dead() {
    for (outcome, reason) in [
        (PublishOutcome::Returned, DropReason::AnswerQueueGone),
        (PublishOutcome::Nacked, DropReason::AnswerRefused),
    ] {
        let (mut bench, _, deliveries) = Bench::asked([question("d", "q1")]);
        bench.is_quick = false;
        let source = bench.deliver(Queue::Settlements, answer("d", Some(deliveries[0].id), 1));
        let (token, _) = bench.replies_with_tokens().remove(0);
        bench.outcome(token, outcome);
        assert_eq!(bench.dropped(reason), 1);
        if outcome == PublishOutcome::Nacked {
            bench.fsync();
            assert_eq!(bench.acks(), [], "it is nowhere yet");
            let (token, letter) = bench.dead_letters().remove(0);
            assert_eq!((letter.routing_key.as_str(), &letter.body[..]), ("main.d", &b"answer 1"[..]));
            assert!(letter.properties.text(header::REASON).unwrap().contains("refused"));
            bench.outcome(token, PublishOutcome::Confirmed);
        }
        bench.fsync();
        assert_eq!(bench.acks(), [source]);
        assert_eq!(bench.core.counters().answers, 0);
        bench.is_quick = true;
        bench.answer("d", Some(deliveries[0].id), 2);
        assert_eq!((bench.sent_answers(), bench.dropped(DropReason::AnswerRepeated)), (vec![], 1));
    }
}
