//! The memory of messages that are over, for those that come: a publish of a usual size allocates nothing.

use std::sync::Arc;

use roost_wire::BootTime;

use crate::message::{Message, Payload};
use crate::packet::{Publish, Text};

/// What is kept: 1.2 MiB at the most. A message that is larger costs more by its copy than by its memory.
const MESSAGES: usize = 1_024;
const PAYLOAD_BYTES_MAX: usize = 1_024;

/// Messages that nobody has any more, the last one on top.
#[derive(Debug, Default)]
pub(super) struct Messages {
    over: Vec<Arc<Message>>,
}

impl Messages {
    /// What a client has published, with its topic as the shard has it, received `now`.
    pub(super) fn make(&mut self, now: BootTime, publish: Publish, topic: &Text) -> Arc<Message> {
        if let Some(mut message) = self.over.pop()
            && let Some(own) = Arc::get_mut(&mut message)
        {
            let payload = std::mem::take(&mut own.payload);
            *own = Message::from_publish_into(now, publish, topic.clone(), payload);
            return message;
        }
        Arc::new(Message::from_publish_into(now, publish, topic.clone(), Payload::default()))
    }

    /// Somebody needs the message no more. If nobody else does it is over.
    pub(super) fn give_back(&mut self, mut message: Arc<Message>) {
        if self.over.len() >= MESSAGES {
            return;
        }
        let is_over = Arc::get_mut(&mut message).is_some_and(|own| {
            own.properties = None;
            own.topic = Text::EMPTY;
            matches!(&own.payload, Payload::Own(bytes) if bytes.capacity() <= PAYLOAD_BYTES_MAX)
        });
        if is_over {
            self.over.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::packet::Delivery;

    fn publish(payload: &'static [u8]) -> Publish {
        Publish {
            topic: Text::from_static("a"),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload: Bytes::from_static(payload),
            properties: None,
        }
    }

    #[test]
    fn a_message_that_is_over_lends_its_memory_and_nothing_else() {
        let (mut messages, topic) = (Messages::default(), Text::from_static("a"));
        let first = messages.make(BootTime::default(), publish(b"12345678"), &topic);
        let (place, bytes) = (Arc::as_ptr(&first), first.payload.as_ptr());
        let held = Arc::clone(&first);
        messages.give_back(first);
        assert!(messages.over.is_empty(), "somebody has it");
        messages.give_back(held);
        let second = messages.make(BootTime::default(), publish(b"new"), &topic);
        assert_eq!((Arc::as_ptr(&second), second.payload.as_ptr()), (place, bytes));
        assert_eq!((&*second.payload, &*second.topic), (&b"new"[..], "a"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut messages, topic) = (Messages::default(), Text::from_static("a"));
        let large: &'static [u8] = &[0; PAYLOAD_BYTES_MAX + 1];
        let message = messages.make(BootTime::default(), publish(large), &topic);
        messages.give_back(message);
        assert!(messages.over.is_empty());
        let many: Vec<_> =
            (0..=MESSAGES).map(|_| messages.make(BootTime::default(), publish(b"x"), &topic)).collect();
        many.into_iter().for_each(|message| messages.give_back(message));
        assert_eq!(messages.over.len(), MESSAGES);
    }
}
