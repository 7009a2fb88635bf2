//! What subscribers get, and how they acknowledge it.

use super::session::{Copied, Sent, Session, Subscription, Waiting};
use super::{Broker, Heard, Message, WhenFull, Word, speaks_v5};
use crate::sessions::operation::{Answer, FILTERS};
use crate::subscriptions::is_match;

impl Session {
    /// The subscriptions that match, but for those that want nothing of the session's own.
    pub(super) fn matching(&self, topic: &'static str, is_own: bool) -> impl Iterator<Item = &Subscription> {
        let is_it = move |it: &&Subscription| is_match(FILTERS[it.filter], topic) && !(it.no_local && is_own);
        self.subscriptions.iter().filter(is_it)
    }
}

impl Broker {
    /// One copy for each session that subscribes [MQTT-3.3.4-2]; whether any took it.
    pub(super) fn deliver(&mut self, publisher: Option<usize>, message: &Message, qos: u8) -> bool {
        let mut was_taken = false;
        for at in 0..self.sessions.len() {
            let session = &self.sessions[at];
            let is_own = publisher == Some(session.client);
            let all = session.matching(message.topic, false).count();
            let subscriptions: Vec<_> = session.matching(message.topic, is_own).cloned().collect();
            if subscriptions.len() < all {
                self.met.note("not to its own publisher");
            }
            let Some(highest) = subscriptions.iter().map(|it| it.qos).max() else { continue };
            if subscriptions.len() > 1 {
                self.met.note("several subscriptions match");
            }
            let retain = message.retain && subscriptions.iter().any(|it| it.retain_as_published);
            if retain {
                self.met.note("Retain As Published");
            }
            let copy = Copied {
                message: message.clone(),
                qos: qos.min(highest),
                retain,
                subscription_ids: subscriptions.iter().filter_map(|it| it.id).collect(),
            };
            was_taken |= self.give(at, copy);
        }
        was_taken
    }

    fn give(&mut self, at: usize, copy: Copied) -> bool {
        let session = &mut self.sessions[at];
        let is_away = session.connection.is_none();
        if copy.qos == 0 {
            if is_away {
                self.met.note("QoS 0 for one that is away");
                return false;
            }
            let client = session.client;
            self.say_publish(client, 0, None, false, &copy);
            return true;
        }
        while is_away && session.queued() >= self.settings.queue_max {
            if self.settings.when_full != WhenFull::DropOldest {
                self.met.note("dropped: away and full, the newest");
                return false;
            }
            let oldest = session.queue.iter().position(|it| matches!(it, Waiting::Message(_)));
            session.queue.remove(oldest.expect("it is full"));
            self.met.note("dropped: away and full, the oldest");
        }
        session.queue.push(Waiting::Message(copy));
        self.pump(at);
        true
    }

    /// Sends what there is room for: what an earlier connection has had first, then what waits.
    pub(super) fn pump(&mut self, at: usize) {
        while let Some(session) = self.sessions.get_mut(at) {
            let Some(connection) = &session.connection else { return };
            if session.sent_now + session.released.len() >= connection.window {
                if !session.queue.is_empty() {
                    self.met.note("waits for the receive maximum");
                }
                return;
            }
            let sends_again = session.sent_now < session.sent.len();
            if sends_again || matches!(session.queue.first(), Some(Waiting::Message(_))) {
                self.drop_expired(at);
            }
            if !sends_again {
                let session = &mut self.sessions[at];
                if session.queue.is_empty() {
                    return;
                }
                let first = session.queue.remove(0);
                let Some(copy) = self.due(first) else { continue };
                let serial = self.number();
                self.sessions[at].sent.push(Sent { serial, id: None, dup: false, copy });
            }
            let session = &mut self.sessions[at];
            let Sent { serial, id, dup, ref copy } = session.sent[session.sent_now];
            session.sent_now += 1;
            let (client, copy) = (session.client, copy.clone());
            if dup {
                self.met.note("sent again with DUP");
            }
            if dup && id.is_none() {
                self.met.note("lost on the way, sent again");
            }
            self.say_publish(client, serial, id, dup, &copy);
        }
    }

    /// Messages whose time is over go before anything is sent, as far as they come first.
    fn drop_expired(&mut self, at: usize) {
        let now = self.now;
        loop {
            let queue = &mut self.sessions[at].queue;
            let first = queue.iter().position(|it| matches!(it, Waiting::Message(_)));
            let is_expired =
                |it: &usize| matches!(&queue[*it], Waiting::Message(copy) if copy.message.is_expired(now));
            let Some(first) = first.filter(is_expired) else { return };
            queue.remove(first);
            self.met.note("message expired in a queue");
        }
    }

    /// What waited, unless it is no more.
    fn due(&mut self, waiting: Waiting) -> Option<Copied> {
        let now = self.now;
        match waiting {
            Waiting::Message(copy) => Some(copy),
            Waiting::Kept { number, subscription } => {
                let kept = self.kept.iter().find(|it| it.number == number && !it.message.is_expired(now));
                let copy = kept.map(|kept| kept.copy(&subscription));
                let what = if copy.is_some() {
                    "retained message to a subscriber"
                } else {
                    "retained message gone before its turn"
                };
                self.met.note(what);
                copy
            }
        }
    }

    pub(super) fn say_publish(
        &mut self,
        client: usize,
        serial: u64,
        id: Option<u16>,
        dup: bool,
        copy: &Copied,
    ) {
        let Some(number) = self.connection_of(client) else { return };
        let is_v5 = speaks_v5(client);
        // What is left, in whole seconds that have begun.
        let left = |at: u64| u32::try_from(at.saturating_sub(self.now).div_ceil(1_000)).unwrap_or(u32::MAX);
        let mut subscription_ids = copy.subscription_ids.clone();
        subscription_ids.sort_unstable();
        let heard = Heard {
            serial,
            id,
            topic: copy.message.topic.to_owned(),
            payload: copy.message.payload.clone(),
            qos: copy.qos,
            dup,
            retain: copy.retain,
            expiry_s: copy.message.expires_at.map(left).filter(|_| is_v5),
            subscription_ids,
        };
        self.say(number, Word::Publish(heard));
    }

    /// A client has answered what was under that id.
    pub(crate) fn acknowledge(&mut self, client: usize, answer: Answer, id: u16) {
        let Some(number) = self.connection_of(client) else { return };
        let is_v5 = speaks_v5(client);
        let Some(session) = self.session(client) else { return };
        let sent = |qos: u8| move |it: &Sent| it.id == Some(id) && it.copy.qos == qos;
        let mut take = |qos: u8| {
            let at = session.sent.iter().position(sent(qos))?;
            session.sent.remove(at);
            session.sent_now -= usize::from(at < session.sent_now);
            Some(at)
        };
        match answer {
            Answer::Puback => match take(1) {
                Some(at) => self.note_order(at),
                None => self.met.note("acknowledgement of nothing"),
            },
            Answer::Pubrec { refuses } => {
                let at = take(2);
                let refuses = refuses && is_v5;
                if at.is_some() && !refuses {
                    session.released.push(id);
                }
                let is_known = at.is_some() || session.released.contains(&id);
                if let Some(at) = at {
                    self.note_order(at);
                }
                if !refuses {
                    let reason = if is_known || !is_v5 { 0 } else { 0x92 };
                    self.say(number, Word::Pubrel { id, reason });
                }
            }
            Answer::Pubcomp => session.released.retain(|released| *released != id),
        }
    }

    fn note_order(&mut self, at: usize) {
        if at > 0 {
            self.met.note("acknowledged out of order");
        }
    }
}
