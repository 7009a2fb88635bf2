//! Where messages are in their traces, and what is told of those that are recorded. Ids follow from a seed that the shell draws; the
//! shell makes spans of what is told.

use roost_wire::{
    BootTime, Device, Epoch, Outcome, Qos, SpanId, Topic, TraceContext, TraceIds, envelope::header,
};

use crate::packet::UserProperty;

/// A message's way through this gateway, when it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageTrace {
    /// What was known when it began.
    pub begun: Begun,
    /// When it was over.
    pub end: BootTime,
    /// How.
    pub how: Ending,
}

/// What is known of a traced message when its way through this gateway begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// The gateway's own place in the trace.
    pub context: TraceContext,
    /// The place before it; `None` if the trace begins here.
    pub parent: Option<SpanId>,
    /// Whose message.
    pub device: Device,
    /// On which topic.
    pub topic: Topic,
    /// The event's id or the command's.
    pub message_id: String,
    /// With which QoS it was published or asked for.
    pub qos: Qos,
    /// The length of its payload.
    pub payload_bytes: usize,
    /// Since when: the PUBLISH was read, or the command came through the inbox.
    pub start: BootTime,
    /// A command: which attempt to deliver it.
    pub attempt: u32,
    /// A command: when its PUBLISH was written.
    pub written_at: Option<BootTime>,
}

/// How a traced message's way ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// An event: the backend has answered for it, and its PUBACK may leave.
    Event {
        /// Where it is.
        fate: EventFate,
    },
    /// One attempt to deliver a command was answered.
    Command {
        /// Of which hold.
        epoch: Epoch,
        /// What the router is told.
        outcome: Outcome,
    },
}

/// Where an event is in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFate {
    /// Where its rule says.
    Accepted,
    /// On the gateway's disk. Its way to the backend is not part of this span.
    Spooled,
    /// In `roost.unrouted`: no queue wanted it.
    Unrouted,
    /// In `roost.dead`: the backend refused it each time.
    Dead,
    /// Nowhere: it was at QoS 0, and the backend refused it or was lost.
    Dropped,
}

/// Draws the places of messages in their traces; without ids it makes none, and hands on what comes in.
#[derive(Debug)]
pub(crate) struct Tracer {
    ids: Option<TraceIds>,
}

/// A message's place from here on, and whether that is a span of this gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) context: TraceContext,
    /// `Some` if it is recorded here, with the place before it.
    pub(crate) recorded: Option<Option<SpanId>>,
}

impl Tracer {
    pub(crate) fn new(ids: Option<TraceIds>) -> Self {
        Self { ids }
    }

    /// The place of what a device publishes. A trace that comes in goes on; without one a trace begins.
    pub(crate) fn up(&mut self, came: Option<TraceContext>) -> Option<Place> {
        match (came, &mut self.ids) {
            (None, Some(ids)) => {
                let context = ids.root();
                Some(Place { context, recorded: context.is_sampled().then_some(None) })
            }
            (came, _) => self.down(came),
        }
    }

    /// The place of a command. No trace begins here: the router is where commands enter.
    pub(crate) fn down(&mut self, came: Option<TraceContext>) -> Option<Place> {
        let came = came?;
        Some(match &mut self.ids {
            Some(ids) if came.is_sampled() => {
                Place { context: came.child(ids.span()), recorded: Some(Some(came.span)) }
            }
            Some(_) | None => Place { context: came, recorded: None },
        })
    }
}

impl Begun {
    pub(crate) fn ended(self, end: BootTime, how: Ending) -> Box<MessageTrace> {
        Box::new(MessageTrace { begun: self, end, how })
    }
}

/// Where a device says that its publish is in a trace. Several that differ say nothing.
pub(crate) fn said(pairs: &[UserProperty]) -> Option<TraceContext> {
    let mut said = pairs.iter().filter(|pair| is_ours(pair.name.as_str())).map(|pair| pair.value.as_str());
    let first = said.next()?;
    said.all(|other| other == first).then(|| TraceContext::parse(first).ok())?
}

/// Whether a user property says where a message is in a trace.
pub(crate) fn is_ours(name: &str) -> bool {
    name.eq_ignore_ascii_case(header::TRACEPARENT)
}

#[cfg(test)]
mod tests {
    use roost_wire::SampleRatio;

    use super::*;
    use crate::packet::Text;

    const CAME: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(ratio: f64) -> Tracer {
        Tracer::new(Some(TraceIds::new([1, 2], SampleRatio::new(ratio).unwrap())))
    }

    #[test]
    fn off_no_id_is_made_and_what_comes_goes_on_as_it_is() {
        let came = TraceContext::parse(CAME).ok();
        let mut off = Tracer::new(None);
        assert_eq!((off.up(None), off.down(None)), (None, None));
        assert_eq!(off.up(came), came.map(|context| Place { context, recorded: None }));
    }

    #[test]
    fn a_trace_that_comes_in_goes_on_with_a_span_of_ours_if_its_sender_records_it() {
        let came = TraceContext::parse(CAME).unwrap();
        // However few traces begin here.
        let place = tracer(0.0).up(Some(came)).unwrap();
        assert_eq!((place.context.trace, place.recorded), (came.trace, Some(Some(came.span))));
        assert_ne!(place.context.span, came.span);
        let quiet = TraceContext::new(came.trace, came.span, false);
        assert_eq!(tracer(1.0).down(Some(quiet)), Some(Place { context: quiet, recorded: None }));
    }

    #[test]
    fn a_trace_begins_where_an_event_enters_and_not_where_a_command_passes() {
        let place = tracer(1.0).up(None).unwrap();
        assert!(place.context.is_sampled() && place.recorded == Some(None));
        let unrecorded = tracer(0.0).up(None).unwrap();
        assert!(!unrecorded.context.is_sampled() && unrecorded.recorded.is_none());
        assert_eq!(tracer(1.0).down(None), None);
    }

    #[test]
    fn a_device_says_its_place_once_or_not_at_all() {
        let pair = |name: &str, value: &str| UserProperty {
            name: Text::parse(name).unwrap(),
            value: Text::parse(value).unwrap(),
        };
        let other = CAME.replace("-01", "-00");
        let came = TraceContext::parse(CAME).ok();
        for (pairs, expected) in [
            (vec![], None),
            (vec![pair("a", CAME)], None),
            (vec![pair("a", "b"), pair("traceparent", CAME)], came),
            (vec![pair("Traceparent", CAME), pair("traceparent", CAME)], came),
            (vec![pair("traceparent", CAME), pair("traceparent", &other)], None),
            (vec![pair("traceparent", "00-no")], None),
        ] {
            assert_eq!(said(&pairs), expected, "{pairs:?}");
        }
    }
}
