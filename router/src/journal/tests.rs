use std::sync::Arc;

use ::bytes::Bytes;
use proptest::prelude::*;
use roost_wire::{
    CommandId, CommandRequest, Device, Epoch, Incarnation, Offline, Qos, Receipt, ReceiptReason,
    ReceiptState, ReceiptsWanted, RouterRun, SpanId, SyncNumber, TraceContext, TraceId, WallTime,
};

use super::*;

fn device() -> impl Strategy<Value = Device> {
    "[a-z]{1,3}/[a-zé/]{1,3}".prop_map(|text| text.parse().unwrap())
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[ -~é]{0,12}")
}

fn time() -> impl Strategy<Value = WallTime> {
    any::<u64>().prop_map(WallTime::from_millis)
}

fn given_to() -> impl Strategy<Value = GivenTo> {
    ("g[0-2]", any::<u64>()).prop_map(|(id, incarnation)| GivenTo {
        gateway: id.parse().unwrap(),
        incarnation: Incarnation(incarnation),
    })
}

fn wanted() -> impl Strategy<Value = ReceiptsWanted> {
    prop_oneof![Just(ReceiptsWanted::None), Just(ReceiptsWanted::Final), Just(ReceiptsWanted::All)]
}

fn accepted(sequence: impl Strategy<Value = u64>) -> impl Strategy<Value = Accepted> {
    let request = (
        (
            device(),
            "[!-~]{1,8}",
            "[a-z]{1,4}(/[a-z]{0,3}){0,2}",
            proptest::collection::vec(any::<u8>(), 0..40),
        ),
        (wanted(), any::<bool>(), any::<bool>(), proptest::option::of(any::<u64>())),
        (text(), text(), text(), text(), text()),
        proptest::option::of(any::<([u8; 16], [u8; 8], bool)>()),
        proptest::collection::vec(("[a-z]{0,3}", "[a-z]{0,3}"), 0..3),
    )
        .prop_map(
            |(
                (device, id, topic, payload),
                (receipts, once, parks, lifetime_ms),
                texts,
                trace,
                user_properties,
            )| {
                CommandRequest {
                    topic: topic.parse().unwrap(),
                    qos: if once { Qos::AtLeastOnce } else { Qos::AtMostOnce },
                    lifetime_ms,
                    receipts,
                    receipt_to: texts.0,
                    offline: if parks { Offline::Park } else { Offline::Fail },
                    supersede_key: texts.1,
                    reply_to: texts.2,
                    correlation_id: texts.3,
                    content_type: texts.4,
                    trace: trace.and_then(|(trace, span, sampled)| {
                        Some(TraceContext::new(TraceId::new(trace)?, SpanId::new(span)?, sampled))
                    }),
                    user_properties,
                    ..CommandRequest::new(device, id.parse().unwrap(), Bytes::from(payload))
                }
            },
        );
    (sequence, time(), time(), proptest::option::of(given_to()), request).prop_map(
        |(sequence, at, deadline, given_to, request)| Accepted { sequence, at, deadline, given_to, request },
    )
}

fn end(sequence: impl Strategy<Value = u64>) -> impl Strategy<Value = Final> {
    let reasons = proptest::option::of(proptest::sample::select(record::REASONS.to_vec()));
    let states = proptest::sample::select(ReceiptState::ALL.to_vec());
    (
        (sequence, device(), proptest::option::of("[!-~]{1,8}"), states, reasons, text()),
        (proptest::option::of((any::<u64>(), any::<u64>())), proptest::option::of("g[0-2]"), any::<u32>()),
        (time(), time(), wanted(), text(), time()),
        proptest::option::of(("[a-z]{1,4}", "[!-~]{0,4}")),
    )
        .prop_map(
            |((sequence, device, id, state, reason, detail), (epoch, gateway, attempt), rest, reply)| {
                let receipt = Receipt {
                    version: Receipt::VERSION,
                    state,
                    device,
                    message_id: id.map(|id| id.parse().unwrap()),
                    command_id: CommandId { journal: 7, sequence },
                    epoch: epoch.map(|(run, counter)| Epoch { run: RouterRun(run), counter }),
                    region: gateway.as_ref().map(|_| "eu".parse().unwrap()),
                    gateway: gateway.map(|id| id.parse().unwrap()),
                    attempt,
                    telling: None,
                    reason,
                    detail,
                    accepted_at: rest.0,
                    at: rest.1,
                    duplicate: false,
                };
                let reply = reply.map(|(to, correlation_id)| Reply { to, correlation_id });
                Final { receipt, wanted: rest.2, receipt_to: rest.3, forget_at: rest.4, reply }
            },
        )
}

fn record(sequences: std::ops::Range<u64>) -> impl Strategy<Value = Record> {
    let sequence = move || sequences.clone();
    let gateway = || "g[0-2]".prop_map(|id| id.parse().unwrap());
    let incarnation = || (0..3_u64).prop_map(Incarnation);
    prop_oneof![
        (any::<u64>(), any::<u32>())
            .prop_map(|(run, journal)| Record::RunStarted { run: RouterRun(run), journal }),
        sequence().prop_map(|next| Record::Used { next }),
        accepted(sequence()).prop_map(|command| Record::Accepted(Arc::new(command))),
        (sequence(), given_to()).prop_map(|(sequence, to)| Record::Given { sequence, to }),
        sequence().prop_map(|sequence| Record::TakenBack { sequence }),
        sequence().prop_map(|sequence| Record::Interrupted { sequence }),
        (sequence(), any::<u32>(), any::<u32>()).prop_map(|(sequence, attempts, interruptions)| {
            Record::Tried { sequence, attempts, interruptions }
        }),
        (end(sequence()), any::<bool>())
            .prop_map(|(end, owed)| Record::Finished { end: Arc::new(end), owed }),
        sequence().prop_map(|sequence| Record::ReceiptPublished { sequence }),
        (sequence(), "[a-c]").prop_map(|(sequence, message)| Record::Answered { sequence, message }),
        (gateway(), incarnation())
            .prop_map(|(gateway, incarnation)| Record::GatewaySeen { gateway, incarnation }),
        (gateway(), incarnation(), any::<u64>()).prop_map(|(gateway, incarnation, number)| {
            Record::GatewaySynced { gateway, incarnation, number: SyncNumber(number) }
        }),
        gateway().prop_map(|gateway| Record::GatewayLost { gateway }),
    ]
}

proptest! {
    #[test]
    fn a_record_reads_back(record in record(0..u64::MAX)) {
        let bytes = record.encode();
        prop_assert_eq!(Record::decode(&bytes), Ok(record));
        for cut in 0..bytes.len() {
            prop_assert!(Record::decode(&bytes[..cut]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert_eq!(Record::decode(&longer), Err(RecordError::Surplus { bytes: 1 }));
    }

    #[test]
    fn what_is_no_record_is_refused_and_costs_nothing(kind in 0..16_u8, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut record = vec![Record::VERSION, kind];
        record.extend(bytes);
        if let Ok(read) = Record::decode(&record) {
            prop_assert_eq!(Record::decode(&read.encode()), Ok(read));
        }
    }
}

#[test]
fn a_later_build_is_told_apart_from_damage() {
    assert_eq!(Record::decode(&[9, 1]), Err(RecordError::Version { version: 9 }));
    assert_eq!(Record::decode(&[1, 99]), Err(RecordError::Kind { kind: 99 }));
    assert_eq!(Record::decode(&[]), Err(RecordError::Field { field: "version" }));
}

#[test]
fn every_reason_has_its_number() {
    let of = |reason| match reason {
        ReceiptReason::DeviceAway => 0,
        ReceiptReason::DeviceUnknown => 1,
        ReceiptReason::NoSubscription => 2,
        ReceiptReason::Asking => 3,
        ReceiptReason::GatewayUnsure => 4,
        ReceiptReason::Interrupted => 5,
        ReceiptReason::Invalid => 6,
        ReceiptReason::LifetimeTooLong => 7,
        ReceiptReason::TooLarge => 8,
        ReceiptReason::MailboxFull => 9,
        ReceiptReason::RouterFull => 10,
        ReceiptReason::DeviceRefused => 11,
        ReceiptReason::PacketTooLarge => 12,
        ReceiptReason::DeliveryLimit => 13,
        ReceiptReason::ExpiredInQueue => 14,
        ReceiptReason::TenantFull => 15,
    };
    for (number, reason) in record::REASONS.into_iter().enumerate() {
        assert_eq!(of(reason), number);
    }
}

#[test]
fn voided_incarnations_survive_and_are_bounded() {
    let mut journal = Journal::default();
    let gateway = || "g1".parse().unwrap();
    for incarnation in 0..40 {
        journal.apply(&Record::GatewaySeen { gateway: gateway(), incarnation: Incarnation(incarnation) });
    }
    let mut restored = Journal::default();
    for record in journal.snapshot() {
        restored.apply(&record);
    }
    assert_eq!(restored, journal);
    let (_, known) = restored.gateways().next().unwrap();
    assert_eq!((known.incarnation, known.voided.len()), (Incarnation(39), 16));
    assert_eq!(known.voided.back(), Some(&Incarnation(38)));
}
