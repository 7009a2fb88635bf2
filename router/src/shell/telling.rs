//! What the core tells of single commands, as lines of the log and as spans. The lines are below the level that a busy router can afford
//! to write.

use roost_ops::{Attribute, Span, SpanEvent, SpanKind, Spans};
use roost_wire::{Receipt, ReceiptState, TraceContext};

use crate::counters::reason_text;
use crate::journal::Record;
use crate::{CommandTrace, Publication, TraceStep};

/// A command begins or ends.
pub(super) fn record(record: &Record, trace: Option<TraceContext>) {
    let trace_id = trace.map(|place| tracing::field::display(place.trace));
    match record {
        Record::Accepted(command) => tracing::debug!(
            tenant = %command.request.device.tenant,
            device = %command.request.device.id,
            trace_id,
            message_id = command.request.message_id.as_str(),
            sequence = command.sequence,
            "command accepted"
        ),
        Record::Finished { end, .. } => {
            let Receipt { device, message_id, state, reason, epoch, attempt, .. } = &end.receipt;
            tracing::debug!(
                tenant = %device.tenant,
                device = %device.id,
                epoch = epoch.map(tracing::field::display),
                trace_id,
                message_id = message_id.as_ref().map(|id| id.as_str()),
                state = state.as_str(),
                reason = reason.map(reason_text),
                attempt,
                "command ended"
            );
        }
        Record::RunStarted { .. }
        | Record::Used { .. }
        | Record::Given { .. }
        | Record::TakenBack { .. }
        | Record::Interrupted { .. }
        | Record::Tried { .. }
        | Record::ReceiptPublished { .. }
        | Record::Answered { .. }
        | Record::GatewaySeen { .. }
        | Record::GatewaySynced { .. }
        | Record::GatewayLost { .. } => {}
    }
}

/// Something about a command leaves.
pub(super) fn publication(what: &Publication) {
    match what {
        Publication::Delivery { delivery, .. } => tracing::debug!(
            tenant = %delivery.device.tenant,
            device = %delivery.device.id,
            epoch = %delivery.epoch,
            trace_id = delivery.trace.map(|place| tracing::field::display(place.trace)),
            command = %delivery.id,
            attempt = delivery.attempt,
            "command forwarded"
        ),
        Publication::Receipt { receipt, .. } => tracing::debug!(
            tenant = %receipt.device.tenant,
            device = %receipt.device.id,
            epoch = receipt.epoch.map(tracing::field::display),
            command = %receipt.command_id,
            state = receipt.state.as_str(),
            "receipt"
        ),
        Publication::Control { .. }
        | Publication::RunBegun { .. }
        | Publication::Presence(_)
        | Publication::Marker { .. }
        | Publication::Answer { .. }
        | Publication::Session { .. }
        | Publication::SessionOrder { .. }
        | Publication::DeadLetter { .. } => {}
    }
}

/// A recorded command has ended.
pub(super) fn trace(spans: &Spans, trace: CommandTrace) {
    spans.send(span(trace));
}

/// By OpenTelemetry's conventions for messaging; what is the mesh's own begins with `roost.`.
fn span(trace: CommandTrace) -> Span {
    let CommandTrace { context, parent, start, end, steps, left_out, topic, payload_bytes, receipt } = trace;
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("messaging.system", "rabbitmq".into()),
        ("messaging.operation.type", "process".into()),
        ("messaging.operation.name", "route".into()),
        ("messaging.destination.name", topic.into()),
        ("messaging.message.body.size", i64::try_from(payload_bytes).unwrap_or(i64::MAX).into()),
        ("messaging.client.id", receipt.device.id.as_str().into()),
        ("roost.tenant", receipt.device.tenant.as_str().into()),
        ("roost.command.id", receipt.command_id.to_string().into()),
        ("roost.state", receipt.state.as_str().into()),
        ("roost.attempts", i64::from(receipt.attempt).into()),
    ];
    let text = |name, text: Option<String>| text.map(|text| (name, Attribute::from(text)));
    attributes.extend(text("messaging.message.id", receipt.message_id.map(|id| id.as_str().to_owned())));
    attributes.extend(text("roost.reason", receipt.reason.map(|reason| reason_text(reason).to_owned())));
    attributes.extend(text("roost.gateway", receipt.gateway.map(|gateway| gateway.as_str().to_owned())));
    attributes.extend(text("roost.region", receipt.region.map(|region| region.as_str().to_owned())));
    attributes.extend(text("roost.epoch", receipt.epoch.map(|epoch| epoch.to_string())));
    if left_out > 0 {
        attributes.push(("roost.steps_left_out", i64::from(left_out).into()));
    }
    let is_well = matches!(receipt.state, ReceiptState::Delivered | ReceiptState::Sent);
    let error = (!is_well).then(|| receipt.state.as_str().to_owned());
    let events = steps.into_iter().map(event).collect();
    Span { name: "route", kind: SpanKind::Consumer, context, parent, start, end, attributes, events, error }
}

fn event(step: TraceStep) -> SpanEvent {
    let TraceStep { at, name, words, decision, given } = step;
    let mut attributes: Vec<(&'static str, Attribute)> = vec![("roost.words", words.into())];
    if let Some((kind, reason)) = decision {
        attributes.push(("roost.decision", kind.into()));
        attributes.push(("roost.reason", reason.into()));
    }
    if let Some((gateway, epoch)) = given {
        attributes.push(("roost.gateway", gateway.as_str().into()));
        attributes.push(("roost.epoch", epoch.to_string().into()));
    }
    SpanEvent { name, at, attributes }
}
