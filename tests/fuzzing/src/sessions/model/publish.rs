//! What clients publish, and how it is answered.

use super::session::{Pending, Received};
use super::{Broker, Event, Kept, Message, RECEIVE_MAXIMUM, Waiter, WhenFull, Word, speaks_v5};
use crate::sessions::operation::{PublishWish, TOPICS};

const NO_SUBSCRIBERS: u8 = 0x10;
const QUOTA: u8 = 0x97;

impl Broker {
    pub(crate) fn publish(&mut self, client: usize, wish: &PublishWish, payload: &str) {
        let now = self.now;
        let is_v5 = speaks_v5(client);
        let message = Message {
            topic: TOPICS[wish.topic],
            payload: payload.to_owned(),
            retain: wish.retain,
            expires_at: wish.expiry_s.filter(|_| is_v5).map(|s| now + u64::from(s) * 1_000),
        };
        if wish.qos == 0 {
            return self.route(Some(client), message, 0, None);
        }
        let publish = self.number();
        let Some(session) = self.session(client) else { return };
        let known = session.received(wish.id).copied().filter(|_| wish.qos == 2);
        let told = session.received.iter().filter(|(_, it)| matches!(it, Received::Told(_))).count();
        let (serial, Some(connection)) = (session.serial, &mut session.connection) else { return };
        // A repeat has the place of the first; and 3.1.1 knows of no receive maximum.
        let open = connection.pending.len() + if is_v5 && known.is_none() { told } else { 0 };
        if open >= usize::from(RECEIVE_MAXIMUM) {
            self.met.note("receive maximum exceeded");
            return self.end_connection(client, Some(0x93));
        }
        let number = connection.number;
        connection.pending.push(Pending { publish, id: wish.id, qos: wish.qos, reason: None });
        match known {
            None => {}
            Some(Received::OnItsWay) => return self.met.note("publish repeated at QoS 2"),
            Some(Received::Settled(reason) | Received::Told(reason)) => {
                // It is owed a PUBREC of its own.
                if let Some(received) = session.received(wish.id) {
                    *received = Received::Settled(reason);
                }
                self.met.note("publish repeated at QoS 2");
                return self.answer(Waiter::Session { serial, id: wish.id }, reason);
            }
        }
        let waiter = if wish.qos == 1 {
            Waiter::Connection { number, publish }
        } else {
            session.received.push((wish.id, Received::OnItsWay));
            Waiter::Session { serial, id: wish.id }
        };
        if is_v5 && self.is_refused(client, &message) {
            self.met.note("refused: away and full");
            return self.answer(waiter, QUOTA);
        }
        self.route(Some(client), message, wish.qos, Some(waiter));
    }

    /// Whether a subscriber that is away has no room, and the publisher is to be told.
    fn is_refused(&self, publisher: usize, message: &Message) -> bool {
        let is_full = |session: &super::Session| {
            let wants = session.matching(message.topic, session.client == publisher).any(|it| it.qos > 0);
            session.connection.is_none() && session.queued() >= self.settings.queue_max && wants
        };
        self.settings.when_full == WhenFull::Refuse && self.sessions.iter().any(is_full)
    }

    /// Keeps it if it is to be retained, gives it to subscribers, and to the backend.
    pub(super) fn route(
        &mut self,
        publisher: Option<usize>,
        message: Message,
        qos: u8,
        waiter: Option<Waiter>,
    ) {
        if message.retain {
            self.keep(publisher, &message, qos);
        }
        let was_taken = self.deliver(publisher, &message, qos);
        if message.topic.starts_with("up/") {
            self.published.push(message.payload);
            self.events.push(Event { waiter });
        } else if let Some(waiter) = waiter {
            self.answer(waiter, if was_taken { 0 } else { NO_SUBSCRIBERS });
        }
    }

    fn keep(&mut self, publisher: Option<usize>, message: &Message, qos: u8) {
        let before = self.kept.len();
        self.kept.retain(|kept| kept.message.topic != message.topic);
        if message.payload.is_empty() {
            if self.kept.len() < before {
                self.met.note("retained message deleted");
            }
            return;
        }
        self.met.note("retained message set");
        let number = self.number();
        let publisher = publisher.unwrap_or(usize::MAX);
        self.kept.push(Kept { message: message.clone(), qos, publisher, number });
    }

    /// How many events have no answer yet.
    pub(crate) fn events(&self) -> usize {
        self.events.len()
    }

    /// The backend confirms the nth event.
    pub(crate) fn confirm(&mut self, nth: usize) {
        let Event { waiter, .. } = self.events.remove(nth);
        if let Some(waiter) = waiter {
            self.answer(waiter, 0);
        }
    }

    fn answer(&mut self, waiter: Waiter, reason: u8) {
        let of = match waiter {
            Waiter::Connection { number, publish } => {
                let is_it =
                    |it: &&mut super::Session| it.connection.as_ref().is_some_and(|it| it.number == number);
                let Some(session) = self.sessions.iter_mut().find(is_it) else { return };
                for pending in session.connection.iter_mut().flat_map(|it| &mut it.pending) {
                    if pending.publish == publish {
                        pending.reason = Some(reason);
                    }
                }
                session.client
            }
            Waiter::Session { serial, id } => {
                let Some(session) = self.sessions.iter_mut().find(|it| it.serial == serial) else { return };
                if let Some(received) = session.received(id).filter(|it| **it == Received::OnItsWay) {
                    *received = Received::Settled(reason);
                }
                for pending in session.connection.iter_mut().flat_map(|it| &mut it.pending) {
                    if pending.qos == 2 && pending.id == id && pending.reason.is_none() {
                        pending.reason = Some(reason);
                    }
                }
                session.client
            }
        };
        self.send_answers(of);
    }

    /// Acknowledgements leave in the order of the publishes [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    fn send_answers(&mut self, client: usize) {
        loop {
            let Some(session) = self.session(client) else { return };
            let Some(connection) = &mut session.connection else { return };
            let Some(reason) = connection.pending.first().and_then(|first| first.reason) else { return };
            let number = connection.number;
            let Pending { id, qos, .. } = connection.pending.remove(0);
            let is_v5 = speaks_v5(client);
            if qos == 2 {
                // A refusal that the client understands frees the id [MQTT-4.3.3-9].
                match session.received(id) {
                    Some(_) if is_v5 && reason >= 0x80 => session.received.retain(|(it, _)| *it != id),
                    Some(received) => *received = Received::Told(reason),
                    None => {}
                }
            }
            let reason = if is_v5 { reason } else { 0 };
            self.say(
                number,
                if qos == 1 { Word::Puback { id, reason } } else { Word::Pubrec { id, reason } },
            );
        }
    }

    /// A PUBREL.
    pub(crate) fn release(&mut self, client: usize, id: u16) {
        let Some(number) = self.connection_of(client) else { return };
        let Some(session) = self.session(client) else { return };
        let reason = match session.received(id).copied() {
            Some(Received::OnItsWay) => {
                self.met.note("released too early");
                return self.end_connection(client, Some(0x82));
            }
            Some(Received::Settled(_) | Received::Told(_)) => {
                session.received.retain(|(it, _)| *it != id);
                0
            }
            None => 0x92,
        };
        self.say(number, Word::Pubcomp { id, reason: if speaks_v5(client) { reason } else { 0 } });
    }
}
