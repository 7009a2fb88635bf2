//! What comes in: taken, refused, repeated, and acknowledged only when it is safe.

use std::time::Duration;

use bytes::Bytes;
use roost_wire::{
    CommandRequest, HeaderValue, Headers, Message, ReceiptReason, ReceiptState, ReceiptsWanted,
    envelope::header,
};

use super::bench::{Bench, SECOND, command, device, ids};
use crate::{Input, Limits, Output, Publication, PublishOutcome, Queue, ReceiptAddress};

#[test]
fn a_source_is_acknowledged_only_when_the_command_is_on_disk() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    let source = bench.send(command("d", "c1"));
    assert_eq!((bench.acks(), bench.states()), (vec![], vec![]));
    // Delivered again by the queue meanwhile: still not safe.
    let again = bench.send(command("d", "c1"));
    assert_eq!(bench.acks(), []);
    bench.fsync();
    assert_eq!(bench.acks(), [source, again]);
    assert_eq!(bench.states()[0], "c1: accepted");
}

#[test]
fn nothing_is_forwarded_before_it_is_on_disk() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.accepted(&gates[0], "d", 1);
    bench.is_quick = false;
    bench.send(command("d", "c1"));
    assert_eq!(bench.deliveries(), []);
    bench.fsync();
    assert_eq!(ids(&bench.deliveries()), ["c1"], "one fsync is enough for a device that is there");
}

#[test]
fn what_is_no_command_is_refused_with_its_reason() {
    let good = || command("d", "c1").into_message("roost.down");
    let with = |change: fn(&mut Message)| {
        let mut message = good();
        change(&mut message);
        message
    };
    let cases = [
        (with(|m| m.properties.message_id = None), "invalid: message_id is missing"),
        (with(|m| m.properties.message_id = Some("a\u{7}".into())), "invalid: message_id is"),
        (with(|m| m.properties.set(header::TOPIC, "a/#")), "invalid: roost-topic is \"a/#\""),
        (with(|m| m.properties.set(header::RECEIPTS, "some")), "invalid: roost-receipts is \"some\""),
        (with(|m| m.properties.set(header::OFFLINE, 4_i64)), "invalid: roost-offline"),
        (with(|m| m.properties.expiration = Some("soon".into())), "invalid: expiration is \"soon\""),
        (
            with(|m| m.properties.set(header::RECEIPT_TO, "q".repeat(256))),
            "invalid: roost-receipt-to has 256 bytes",
        ),
        (with(|m| m.properties.expiration = Some("604800001".into())), "lifetime_too_long"),
        (with(|m| m.body = Bytes::from(vec![0; 240 * 1024 + 1])), "too_large"),
        (with(|m| m.properties.content_type = Some("x".repeat(64 * 1024))), "too_large"),
    ];
    for (message, reason) in cases {
        let mut bench = Bench::new();
        let source = bench.deliver(Queue::Commands, message);
        let receipts = bench.receipts();
        assert_eq!(receipts.len(), 1, "{reason}");
        assert_eq!(receipts[0].state, ReceiptState::Rejected);
        assert_eq!(receipts[0].device, device("d"));
        let (_, letter) = bench.dead_letters().remove(0);
        assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), ("roost.dead", "main.d"));
        let said = letter.properties.text(header::REASON).unwrap();
        assert!(said.starts_with(reason), "{said:?} {reason:?}");
        assert_eq!(letter.properties.expiration, None, "it stays there");
        assert!(bench.acks().contains(&source));
        assert_eq!(bench.core.journal().commands(), 0);
    }
}

#[test]
fn what_names_no_device_is_dead_lettered_only_and_acknowledged_when_it_is_there() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.fsync();
    let mut message = command("d", "c1").into_message("roost.down");
    message.routing_key = "nobody".into();
    let source = bench.deliver(Queue::Commands, message);
    let (token, letter) = bench.dead_letters().remove(0);
    assert_eq!(letter.routing_key, "nobody");
    assert_eq!((bench.acks(), bench.receipts()), (vec![], vec![]));
    bench.outcome(token, PublishOutcome::Nacked);
    assert_eq!(bench.acks(), [], "roost.dead is full");
    bench.advance(SECOND);
    let (again, _) = bench.dead_letters().remove(0);
    assert_eq!(again, token);
    bench.outcome(token, PublishOutcome::Confirmed);
    assert_eq!(bench.acks(), [source]);
}

#[test]
fn a_full_mailbox_rejects_by_count_and_by_bytes() {
    let mut bench = Bench::new();
    for i in 0..100 {
        bench.send(command("d", &format!("c{i}")));
    }
    bench.receipts();
    bench.send(command("d", "one-too-many"));
    let receipts = bench.receipts();
    assert_eq!(receipts[0].reason, Some(ReceiptReason::MailboxFull));
    bench.send(command("other", "fits"));
    assert_eq!(bench.states()[0], "fits: accepted", "another device's mailbox");

    let mut bench = Bench::new();
    for i in 0..5 {
        let payload = Bytes::from(vec![0; 200 * 1024]);
        bench.send(CommandRequest { payload, ..command("d", &format!("c{i}")) });
    }
    bench.send(CommandRequest { payload: Bytes::from(vec![0; 60 * 1024]), ..command("d", "big") });
    let last = bench.receipts().pop().unwrap();
    assert_eq!(last.reason, Some(ReceiptReason::MailboxFull));
}

#[test]
fn one_tenant_does_not_take_the_room_of_the_others() {
    let limits = Limits { tenant_commands_max: 3, tenant_bytes_max: 4_096, ..Limits::default() };
    let mut bench = Bench::with(limits);
    for i in 0..3 {
        bench.send(command(&format!("acme/d{i}"), &format!("c{i}")));
    }
    bench.receipts();
    bench.send(command("acme/d9", "one-too-many"));
    assert_eq!(bench.receipts()[0].reason, Some(ReceiptReason::TenantFull));
    bench.send(command("other/d9", "fits"));
    assert_eq!(bench.states()[0], "fits: accepted", "another tenant's share");
    let long = CommandRequest { payload: Bytes::from(vec![0; 5_000]), ..command("other/d9", "long") };
    bench.send(long);
    assert_eq!(bench.receipts().pop().unwrap().reason, Some(ReceiptReason::TenantFull), "by bytes");

    // What has ended counts no more, and a restart knows what is held.
    bench.advance(Limits::default().lifetime);
    bench.receipts();
    bench.send(command("acme/d9", "again"));
    assert_eq!(bench.states()[0], "again: accepted");
}

#[test]
fn at_the_total_bound_the_queue_is_not_consumed_and_http_is_refused() {
    let limits = Limits { commands_max: 10, prefetch: 2, ..Limits::default() };
    let mut bench = Bench::with(limits);
    for i in 0..10 {
        let mut command = command(&format!("d{i}"), "c");
        command.lifetime_ms = Some(if i < 2 { 1_000 } else { 60_000 });
        bench.send(command);
    }
    assert!(bench.said.contains(&Output::PauseCommands));
    bench.http(1, command("e", "c"));
    assert_eq!((bench.had_no_room(), bench.answers().len()), (vec![1], 0));
    bench.states();
    for i in 0..3 {
        bench.send(command(&format!("e{i}"), "c"));
    }
    let rejected =
        bench.receipts().into_iter().filter(|r| r.reason == Some(ReceiptReason::RouterFull)).count();
    assert_eq!(rejected, 1, "what the prefetch had let in is taken");
    bench.advance(SECOND);
    assert!(!bench.said.contains(&Output::ResumeCommands), "two have expired: still ten");
    bench.advance(SECOND * 60);
    assert!(bench.said.contains(&Output::ResumeCommands));
}

#[test]
fn a_duplicate_gets_the_same_receipt_again() {
    let mut bench = Bench::new();
    bench.send(CommandRequest { lifetime_ms: Some(5_000), ..command("d", "c1") });
    let first = bench.receipts();
    bench.send(command("d", "c1"));
    let again = bench.receipts();
    assert_eq!(again.len(), 1);
    assert!(again[0].duplicate && again[0].state == first.last().unwrap().state);
    bench.send(command("other", "c1"));
    assert!(!bench.receipts()[0].duplicate, "message ids are per device");
    bench.advance(SECOND * 5);
    let end = bench.receipts().remove(0);
    assert_eq!(end.state, ReceiptState::Expired);
    // An hour more it is remembered; then the same id is a new command.
    for (after, is_known) in [(Duration::from_secs(3_599), true), (SECOND * 2, false)] {
        bench.advance(after);
        bench.send(command("d", "c1"));
        let receipt = bench.receipts().remove(0);
        assert_eq!(receipt.duplicate, is_known);
        assert_eq!(receipt.id() == end.id(), is_known);
    }
}

#[test]
fn receipts_go_to_whoever_wants_them() {
    for (wanted, expected) in [
        (ReceiptsWanted::None, vec![]),
        (ReceiptsWanted::Final, vec!["c1: expired"]),
        (ReceiptsWanted::All, vec!["c1: accepted", "c1: parked", "c1: expired"]),
    ] {
        let mut bench = Bench::new();
        let queue = Some("answers".to_owned());
        bench.send(CommandRequest {
            receipts: wanted,
            receipt_to: queue,
            lifetime_ms: Some(1_000),
            ..command("d", "c1")
        });
        bench.advance(SECOND);
        let to_queue = bench.said.iter().filter(|output| {
            matches!(output, Output::Publish { what: Publication::Receipt { to: ReceiptAddress::Queue(name), .. }, .. } if name == "answers")
        });
        assert_eq!(to_queue.count(), expected.len());
        assert_eq!(bench.states(), expected);
    }
}

#[test]
fn a_receipt_that_the_broker_refuses_is_published_again_with_the_same_id() {
    let mut bench = Bench::new();
    bench.is_quick = false;
    bench.send(CommandRequest {
        lifetime_ms: Some(1_000),
        receipts: ReceiptsWanted::Final,
        ..command("d", "c1")
    });
    bench.fsync();
    bench.advance(SECOND);
    bench.fsync();
    let token = bench.said.iter().find_map(|output| match output {
        Output::Publish { token, what: Publication::Receipt { .. } } => Some(*token),
        _ => None,
    });
    let first = bench.receipts().remove(0);
    bench.outcome(token.unwrap(), PublishOutcome::Nacked);
    assert_eq!(bench.core.journal().owed().count(), 1);
    bench.advance(SECOND);
    assert_eq!(bench.receipts().remove(0).id(), first.id());
    bench.outcome(token.unwrap(), PublishOutcome::Confirmed);
    assert_eq!(bench.core.journal().owed().count(), 0);
}

#[test]
fn an_http_request_hears_of_each_state_and_its_duplicate_too() {
    let (mut bench, gates) = Bench::ready(&["g1"]);
    bench.http(7, CommandRequest { receipts: ReceiptsWanted::None, ..command("d", "c1") });
    let states = |bench: &mut Bench| -> Vec<(u64, ReceiptState)> {
        bench.answers().into_iter().map(|(request, receipt)| (request, receipt.state)).collect()
    };
    assert_eq!(states(&mut bench), [(7, ReceiptState::Accepted), (7, ReceiptState::Parked)]);
    bench.http(8, command("d", "c1"));
    assert_eq!(states(&mut bench), [(8, ReceiptState::Parked)]);
    bench.accepted(&gates[0], "d", 1);
    let c1 = bench.delivery();
    assert_eq!(states(&mut bench), [(7, ReceiptState::Forwarded), (8, ReceiptState::Forwarded)]);
    bench.settled(&gates[0], &c1, roost_wire::Outcome::Sent);
    assert_eq!(states(&mut bench), [(7, ReceiptState::Sent), (8, ReceiptState::Sent)]);
    bench.http(9, command("d", "c1"));
    assert_eq!(states(&mut bench), [(9, ReceiptState::Sent)]);
    assert_eq!(bench.receipts(), [], "the sender wanted none");
}

#[test]
fn requests_beyond_the_bound_hear_once() {
    let mut bench = Bench::with(Limits { watchers_max: 1, ..Limits::default() });
    bench.http(1, CommandRequest { lifetime_ms: Some(1_000), ..command("d", "c1") });
    bench.http(2, command("d", "c1"));
    bench.answers();
    bench.advance(SECOND);
    assert_eq!(bench.answers().into_iter().map(|(request, _)| request).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.core.counters().drops.len(), 1);
}

/// As RabbitMQ dead-letters: the key is the new queue's, the old one stands in x-death, and the expiration is gone.
fn dead(command: CommandRequest, reason: &str) -> Message {
    let mut letter = command.into_message("");
    letter.routing_key = "roost.expired.0".into();
    letter.properties.expiration = None;
    let mut death = Headers::new();
    death.insert("routing-keys".into(), HeaderValue::List(vec!["main.d".into()]));
    death.insert("reason".into(), reason.into());
    letter.properties.headers.insert("x-death".into(), HeaderValue::List(vec![HeaderValue::Table(death)]));
    letter
}

#[test]
fn a_command_that_the_broker_gave_up_is_rejected_and_kept_with_the_reason() {
    let mut bench = Bench::new();
    let letter = dead(command("d", "c1"), "delivery_limit");
    let source = bench.deliver(Queue::Expired, letter.clone());
    let receipt = bench.receipts().remove(0);
    assert_eq!((receipt.state, receipt.reason), (ReceiptState::Rejected, Some(ReceiptReason::DeliveryLimit)));
    let (_, kept) = bench.dead_letters().remove(0);
    assert_eq!(
        (kept.routing_key.as_str(), kept.properties.text(header::REASON)),
        ("main.d", Some("delivery_limit"))
    );
    assert!(bench.acks().contains(&source));
    // One that was taken before the link was lost is answered for already.
    let (mut bench, _) = Bench::ready(&["g1"]);
    bench.send(command("d", "c1"));
    bench.said.clear();
    let source = bench.deliver(Queue::Expired, letter);
    assert_eq!((bench.acks(), bench.receipts(), bench.dead_letters()), (vec![source], vec![], vec![]));
    assert_eq!(bench.core.journal().commands(), 1);
}

#[test]
fn a_command_that_expired_in_the_shard_queue_gets_its_receipt_once() {
    let mut bench = Bench::new();
    let letter = dead(command("d", "c1"), "expired");
    for round in 0..2 {
        let source = bench.deliver(Queue::Expired, letter.clone());
        assert!(bench.acks().contains(&source));
        let receipts = bench.receipts();
        assert_eq!(receipts.len(), 1 - round, "without accepted, and once");
        for receipt in receipts {
            assert_eq!(
                (receipt.state, receipt.reason),
                (ReceiptState::Expired, Some(ReceiptReason::ExpiredInQueue))
            );
            assert_eq!(receipt.device, device("d"));
        }
    }
    // Nor is it taken when the queue delivers it late.
    bench.send(command("d", "c1"));
    assert!(bench.receipts()[0].duplicate);
    assert_eq!(bench.core.journal().commands(), 0);
}

#[test]
fn an_unreadable_report_is_counted_and_acknowledged() {
    let mut bench = Bench::new();
    for queue in [Queue::Sightings, Queue::Settlements] {
        let source = bench.deliver(queue, super::bench::message(Bytes::from_static(b"{\"version\":9}")));
        assert!(bench.acks().contains(&source));
    }
    assert_eq!(bench.core.counters().drops.get(&crate::DropReason::UnreadableReport), Some(&2));
    bench.give(Input::Tick);
}

#[test]
fn receipts_that_are_owed_count_as_custody() {
    let limits = Limits { commands_max: 10, ..Limits::default() };
    let mut bench = Bench::with(limits);
    bench.is_quick = false;
    // Some service's queue is full: no receipt is confirmed.
    for n in 0..10 {
        bench.send(CommandRequest { lifetime_ms: Some(0), ..command("d", &format!("c{n}")) });
        bench.fsync();
    }
    assert_eq!(bench.core.journal().commands(), 0, "all have ended");
    assert!(bench.said.contains(&Output::PauseCommands), "but their receipts are kept until they are told");
    bench.http(1, command("d", "more"));
    assert_eq!(bench.had_no_room(), [1]);
    let owed: Vec<_> = bench
        .said
        .iter()
        .filter_map(|output| match output {
            Output::Publish { token, what: Publication::Receipt { receipt, .. } }
                if receipt.state.is_final() =>
            {
                Some(*token)
            }
            _ => None,
        })
        .collect();
    assert_eq!(owed.len(), 10);
    for token in owed {
        bench.outcome(token, PublishOutcome::Confirmed);
    }
    assert!(bench.said.contains(&Output::ResumeCommands));
}

#[test]
fn headers_count_as_bytes_in_custody() {
    let limits = Limits { bytes_max: 100_000, ..Limits::default() };
    let mut bench = Bench::with(limits);
    let long = |id: &str| CommandRequest {
        user_properties: vec![("k".to_owned(), "v".repeat(60_000))],
        ..command("d", id)
    };
    bench.send(long("c1"));
    assert!(!bench.said.contains(&Output::PauseCommands));
    bench.send(long("c2"));
    assert!(bench.said.contains(&Output::PauseCommands));
    bench.http(1, long("c3"));
    assert_eq!(bench.had_no_room(), [1]);
    let bytes = bench.core.journal().bytes();
    assert_eq!(bench.crash().core.journal().bytes(), bytes, "a restart counts alike");
}

#[test]
fn what_a_stranger_wrote_into_the_headers_does_not_keep_a_message_from_the_dead() {
    let mut bench = Bench::new();
    let nested = (0..40).fold(HeaderValue::Void, |inner, _| HeaderValue::List(vec![inner]));
    let mut message = command("d", "c1").into_message("roost.down");
    for n in 0..100 {
        message.properties.set(&format!("x-{n}"), "y".repeat(1_280));
    }
    message.properties.set("nested", nested);
    message.properties.expiration = Some("soon".to_owned());
    bench.deliver(Queue::Commands, message);
    bench.deliver(Queue::Commands, {
        let mut message = command("d", "c2").into_message("roost.down");
        message.properties.message_id = None;
        for n in 0..100 {
            message.properties.set(&format!("x-{n}"), "y".repeat(1_280));
        }
        message
    });
    // What is wrong is quoted, but not at any length.
    let mut message = command("d", "c3").into_message("roost.down");
    message.properties.set("roost-topic", format!("{}+", "é".repeat(30_000)));
    bench.deliver(Queue::Commands, message);
    let letters: Vec<Message> = bench.dead_letters().into_iter().map(|(_, letter)| letter).collect();
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        let headers = &letter.properties.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + text_bytes(value)).sum();
        assert!(bytes < 100 * 1024, "{bytes} bytes do not fit AMQP's one header frame with the rest");
        assert!(!headers.contains_key("nested"));
        assert!((1..2_048).contains(&letter.properties.text("roost-reason").unwrap().len()));
        assert!(headers.contains_key("roost-topic"), "ours are the last to go");
    }
    let details: Vec<String> = bench.receipts().into_iter().filter_map(|receipt| receipt.detail).collect();
    assert!(!details.is_empty() && details.iter().all(|detail| detail.len() < 2_048));
}

fn text_bytes(value: &HeaderValue) -> usize {
    match value {
        HeaderValue::Text(text) => text.len(),
        _ => 8,
    }
}
