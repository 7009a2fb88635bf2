//! What the cores tell of single devices and messages, as lines of the log and as spans.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_ops::{Attribute, Readiness, Span, SpanEvent, SpanFigures, SpanKind, Spans};
use roost_wire::{BootTime, Delivery, Device, Outcome, Settlement, Topic};

use crate::authentication::UserName;
use crate::{Begun, Count, Ending, EventFate, MessageTrace, Notice, SpoolState};

/// Tells. Refusals are bounded: a fleet that is refused would otherwise fill the disk.
#[derive(Debug, Clone)]
pub(super) struct Telling {
    spans: Spans,
    /// By reason: when one was told last, and how many were not told since. One for all shards.
    refusals: Arc<Mutex<BTreeMap<Count, (BootTime, u64)>>>,
}

/// Of each reason one refusal is told in this time; the next one says how many were left out.
const REFUSAL_EVERY: Duration = Duration::from_secs(10);

impl Telling {
    pub(super) fn new(spans: Spans) -> Self {
        Self { spans, refusals: Arc::default() }
    }

    pub(super) fn figures(&self) -> SpanFigures {
        self.spans.figures()
    }

    pub(super) fn notice(&self, now: BootTime, notice: &Notice) {
        let (tenant, device) = names(notice.device());
        match notice {
            Notice::Connected { session, .. } => {
                tracing::debug!(tenant, device, %session, "device connected");
            }
            Notice::Closed { session, why: why @ Count::ClosedTakenOver, .. } => {
                tracing::debug!(tenant, device, %session, reason = why.reason(), "device taken over");
            }
            Notice::Closed { session, why, .. } => {
                tracing::debug!(tenant, device, %session, reason = why.reason(), "device disconnected");
            }
            // Told as what follows, with the addresses.
            Notice::Refused { why: Count::RefusedTakeovers, .. }
            | Notice::SharedClientId { .. }
            | Notice::LoginRefused { .. } => {}
            Notice::Refused { why, .. } => {
                if let Some(left_out) = self.may_tell(now, *why) {
                    let reason = why.reason();
                    tracing::warn!(tenant, device, reason, left_out, "connection refused");
                }
            }
            Notice::SessionFetched { outcome, took, .. } => {
                let reason = outcome.reason();
                let took_ms = took.map(|took| took.as_millis());
                if !begins_anew(*outcome) {
                    tracing::debug!(tenant, device, outcome = reason, took_ms, "session fetched");
                } else if let Some(left_out) = self.may_tell(now, *outcome) {
                    tracing::warn!(
                        tenant,
                        device,
                        reason,
                        took_ms,
                        left_out,
                        "the session that a device may have elsewhere does not come: it begins anew"
                    );
                }
            }
            Notice::SessionUnreadable { why, .. } => {
                if let Some(left_out) = self.may_tell(now, Count::FetchUnreadable) {
                    tracing::error!(tenant, device, why, left_out, "a session that came is not readable");
                }
            }
            Notice::StoreUnreadable { what, .. } => {
                if let Some(left_out) = self.may_tell(now, Count::StoreUnreadable) {
                    tracing::error!(
                        tenant,
                        device,
                        what,
                        left_out,
                        "the store has what this build cannot read"
                    );
                }
            }
            Notice::PublishRefused { why, .. } => {
                if let Some(left_out) = self.may_tell(now, *why) {
                    let reason = why.reason();
                    tracing::warn!(tenant, device, reason, left_out, "publish refused");
                }
            }
            Notice::BroadcastDropped { why, topic, error } => {
                if let Some(left_out) = self.may_tell(now, *why) {
                    let (topic, error) =
                        (topic.as_ref().map(Topic::as_str), error.map(tracing::field::display));
                    tracing::warn!(reason = why.reason(), topic, error, left_out, "broadcast dropped");
                }
            }
        }
    }

    /// The spool takes events in, or does not: for the log, and for a balancer.
    pub(super) fn spool(state: SpoolState, readiness: &Readiness, stuck: Option<&str>) {
        const PART: &str = "spool";
        let why = stuck.unwrap_or("it has as many bytes as it may");
        match state {
            SpoolState::Open => {
                readiness.ready(PART);
                tracing::info!("the spool takes events in again");
            }
            SpoolState::Bypassed => {
                readiness.ready(PART);
                tracing::warn!(
                    why,
                    "the spool cannot be written: events wait for the backend's confirms instead"
                );
            }
            SpoolState::Full => {
                readiness.not_ready(PART, why);
                tracing::error!(
                    why,
                    "the spool takes no events in: publishers wait, and who connects is refused"
                );
            }
        }
    }

    /// The store of sessions can't be written, and why, or can again: for a balancer. The writer has logged it.
    pub(super) fn store(stuck: Option<String>, readiness: &Readiness) {
        const PART: &str = "store";
        match stuck {
            None => readiness.ready(PART),
            Some(why) => readiness.not_ready(PART, why),
        };
    }

    /// Two clients have one id, each at its address as far as that is known.
    pub(super) fn shared_client_id(
        &self,
        now: BootTime,
        device: &Device,
        (refused, connected): (Option<SocketAddr>, Option<SocketAddr>),
    ) {
        let Some(left_out) = self.may_tell(now, Count::RefusedTakeovers) else { return };
        let (tenant, device) = names(Some(device));
        let [refused, connected] = [refused, connected].map(|at| at.map(tracing::field::display));
        tracing::warn!(
            tenant,
            device,
            refused,
            connected,
            left_out,
            "clients take over one client id from each other: one is refused, the one that is connected stays"
        );
    }

    /// A client could not show who it is. Neither what it said nor what it should have said stands anywhere.
    pub(super) fn login_refused(
        &self,
        now: BootTime,
        (device, user): (Option<&Device>, Option<&UserName>),
        why: Count,
        address: Option<SocketAddr>,
    ) {
        let Some(left_out) = self.may_tell(now, why) else { return };
        let (tenant, device) = names(device);
        let (user, address) = (user.map(UserName::as_str), address.map(tracing::field::display));
        tracing::warn!(tenant, device, user, address, reason = why.reason(), left_out, "login refused");
    }

    /// With how many of its kind that were not told.
    fn may_tell(&self, now: BootTime, why: Count) -> Option<u64> {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((told_at, left_out)) = refusals.get_mut(&why) else {
            refusals.insert(why, (now, 0));
            return Some(0);
        };
        if now.since(*told_at) < REFUSAL_EVERY {
            *left_out += 1;
            return None;
        }
        *told_at = now;
        Some(std::mem::take(left_out))
    }

    pub(super) fn command(delivery: &Delivery) {
        tracing::debug!(
            tenant = %delivery.device.tenant,
            device = %delivery.device.id,
            epoch = %delivery.epoch,
            trace_id = delivery.trace.map(|place| tracing::field::display(place.trace)),
            command = %delivery.id,
            attempt = delivery.attempt,
            "command taken in"
        );
    }

    pub(super) fn settlement(settlement: &Settlement) {
        tracing::debug!(
            tenant = %settlement.device.tenant,
            device = %settlement.device.id,
            epoch = %settlement.epoch,
            command = %settlement.command,
            outcome = ?settlement.outcome,
            "command answered"
        );
    }

    pub(super) fn trace(&self, trace: MessageTrace) {
        self.spans.send(span(trace));
    }
}

/// Whether a device may have a session that it does not get.
const fn begins_anew(outcome: Count) -> bool {
    !matches!(
        outcome,
        Count::FetchMoved
            | Count::FetchCurrent
            | Count::FetchNobody
            | Count::FetchKept
            | Count::FetchLeft
            | Count::FetchSuperseded
    )
}

fn names(device: Option<&Device>) -> (Option<&str>, Option<&str>) {
    (device.map(|device| device.tenant.as_str()), device.map(|device| device.id.as_str()))
}

/// By OpenTelemetry's conventions for messaging; what is the mesh's own begins with `roost.`. The gateway and its region are the
/// resource's.
fn span(trace: MessageTrace) -> Span {
    let MessageTrace { begun, end, how } = trace;
    let Begun { context, parent, device, topic, message_id, qos, payload_bytes, start, attempt, written_at } =
        begun;
    let mut attributes: Vec<(&'static str, Attribute)> = vec![
        ("messaging.system", "mqtt".into()),
        ("messaging.destination.name", topic.as_str().into()),
        ("messaging.message.id", message_id.into()),
        ("messaging.message.body.size", i64::try_from(payload_bytes).unwrap_or(i64::MAX).into()),
        ("messaging.client.id", device.id.as_str().into()),
        ("roost.tenant", device.tenant.as_str().into()),
        ("messaging.mqtt.qos", i64::from(u8::from(qos)).into()),
    ];
    let mut events = Vec::new();
    let (name, kind, operation, error) = match how {
        Ending::Event { fate } => {
            attributes.push(("roost.outcome", fate_words(fate).into()));
            let error = (!matches!(fate, EventFate::Accepted | EventFate::Spooled))
                .then(|| fate_words(fate).to_owned());
            ("device publish", SpanKind::Producer, "publish", error)
        }
        Ending::Command { epoch, outcome } => {
            attributes.push(("roost.epoch", epoch.to_string().into()));
            attributes.push(("roost.attempt", i64::from(attempt).into()));
            attributes.push(("roost.outcome", outcome_words(outcome).into()));
            events.extend(written_at.map(|at| SpanEvent { name: "PUBLISH", at, attributes: Vec::new() }));
            if outcome == Outcome::Delivered {
                events.push(SpanEvent { name: "PUBACK", at: end, attributes: Vec::new() });
            }
            let error = (!outcome.is_success()).then(|| outcome_words(outcome).to_owned());
            ("deliver", SpanKind::Consumer, "process", error)
        }
    };
    attributes.push(("messaging.operation.type", operation.into()));
    attributes.push(("messaging.operation.name", name.into()));
    Span { name, kind, context, parent, start, end, attributes, events, error }
}

const fn fate_words(fate: EventFate) -> &'static str {
    match fate {
        EventFate::Accepted => "accepted",
        EventFate::Spooled => "spooled",
        EventFate::Unrouted => "unrouted",
        EventFate::Dead => "dead",
        EventFate::Dropped => "dropped",
    }
}

const fn outcome_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Sent => "sent",
        Outcome::NoSubscription => "no_subscription",
        Outcome::Gone { written: false } => "gone",
        Outcome::Gone { written: true } => "gone_written",
        Outcome::TimedOut => "timed_out",
        Outcome::Refused { .. } => "refused",
        Outcome::Returned { .. } => "returned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_refusals_few_are_told_and_the_rest_counted() {
        let telling = Telling::new(Spans::default());
        let tell = |at_s: u64, why| telling.may_tell(BootTime::from_micros(at_s * 1_000_000), why);
        assert_eq!(tell(100, Count::RefusedWill), Some(0));
        assert_eq!((tell(101, Count::RefusedWill), tell(109, Count::RefusedWill)), (None, None));
        assert_eq!(tell(109, Count::RefusedClientId), Some(0), "another reason has its own turn");
        assert_eq!(tell(110, Count::RefusedWill), Some(2));
        assert_eq!(tell(121, Count::RefusedWill), Some(0));
    }
}
