//! Subscriptions, and what is retained for new ones.

use super::session::{Copied, Subscription, Waiting};
use super::{Broker, SUBSCRIPTIONS_MAX, Word, speaks_v5};
use crate::sessions::operation::{FILTERS, FilterWish};
use crate::subscriptions::is_match;

/// The filter that is none.
const INVALID: usize = FILTERS.len() - 1;

impl Broker {
    pub(crate) fn subscribe(
        &mut self,
        client: usize,
        packet_id: u16,
        filters: &[FilterWish],
        id: Option<u32>,
    ) {
        let Some(number) = self.connection_of(client) else { return };
        let mut reasons = Vec::new();
        let mut kept_at_qos_0 = Vec::new();
        for wish in filters {
            let (reason, kept) = self.grant(client, wish, id);
            reasons.push(if reason >= 0x80 && !speaks_v5(client) { 0x80 } else { reason });
            if let Some(kept) = kept {
                // A filter that stands twice in one packet: the later one takes the place of the first.
                kept_at_qos_0.retain(|(filter, _)| *filter != wish.filter);
                kept_at_qos_0.extend(kept.into_iter().map(|copy| (wish.filter, copy)));
            }
        }
        self.say(number, Word::Suback { id: packet_id, reasons });
        for (_, copy) in kept_at_qos_0 {
            self.met.note("retained message to a subscriber");
            self.say_publish(client, 0, None, false, &copy);
        }
    }

    /// The answer, and the retained messages that come at once.
    fn grant(&mut self, client: usize, wish: &FilterWish, id: Option<u32>) -> (u8, Option<Vec<Copied>>) {
        if wish.filter == INVALID {
            self.met.note("subscription refused: no filter");
            return (0x8F, None);
        }
        let is_v5 = speaks_v5(client);
        let subscription = Subscription {
            filter: wish.filter,
            qos: wish.qos,
            no_local: is_v5 && wish.no_local,
            retain_as_published: is_v5 && wish.retain_as_published,
            id: id.filter(|_| is_v5),
        };
        let Some(session) = self.session(client) else { return (0x80, None) };
        let before = session.subscriptions.iter().position(|it| it.filter == wish.filter);
        match before {
            Some(at) => {
                session.subscriptions[at] = subscription.clone();
                self.met.note("subscription replaced");
            }
            None if session.subscriptions.len() >= SUBSCRIPTIONS_MAX => {
                self.met.note("subscription refused: full");
                return (0x97, None);
            }
            None => session.subscriptions.push(subscription.clone()),
        }
        let wants_kept = match wish.retain_handling {
            _ if !is_v5 => true,
            0 => true,
            1 => before.is_none(),
            _ => false,
        };
        let at_once = wants_kept.then(|| self.owe_kept(client, &subscription));
        (wish.qos, at_once)
    }

    /// Retained messages come in the order of their topics; those at QoS 1 and 2 have places in the line.
    fn owe_kept(&mut self, client: usize, subscription: &Subscription) -> Vec<Copied> {
        let now = self.now;
        self.kept.sort_by_key(|kept| kept.message.topic.split('/').collect::<Vec<_>>());
        let is_owed = |kept: &&super::Kept| {
            is_match(FILTERS[subscription.filter], kept.message.topic)
                && !(subscription.no_local && kept.publisher == client)
                && !kept.message.is_expired(now)
        };
        let mut at_once = Vec::new();
        let mut in_line = Vec::new();
        for kept in self.kept.iter().filter(is_owed) {
            match kept.qos.min(subscription.qos) {
                0 => at_once.push(kept.copy(subscription)),
                _ => in_line.push(Waiting::Kept { number: kept.number, subscription: subscription.clone() }),
            }
        }
        let filter = subscription.filter;
        if let Some(session) = self.session(client) {
            session.forget_kept(filter);
            session.queue.extend(in_line);
        }
        at_once
    }

    pub(crate) fn unsubscribe(&mut self, client: usize, packet_id: u16, filter: usize) {
        let Some(number) = self.connection_of(client) else { return };
        let Some(session) = self.session(client) else { return };
        let before = session.subscriptions.len();
        session.subscriptions.retain(|subscription| subscription.filter != filter);
        let existed = session.subscriptions.len() < before;
        if existed {
            session.forget_kept(filter);
        }
        let reason = match (filter, existed) {
            (INVALID, _) => 0x8F,
            (_, true) => 0,
            (_, false) => 0x11,
        };
        let reasons = if speaks_v5(client) { vec![reason] } else { Vec::new() };
        self.say(number, Word::Unsuback { id: packet_id, reasons });
    }
}

impl super::session::Session {
    fn forget_kept(&mut self, filter: usize) {
        let is_of =
            |it: &Waiting| matches!(it, Waiting::Kept { subscription, .. } if subscription.filter == filter);
        self.queue.retain(|waiting| !is_of(waiting));
    }
}

impl super::Kept {
    /// As a new subscriber gets it: flagged as retained.
    pub(super) fn copy(&self, subscription: &Subscription) -> Copied {
        Copied {
            message: self.message.clone(),
            qos: self.qos.min(subscription.qos),
            retain: true,
            subscription_ids: subscription.id.into_iter().collect(),
        }
    }
}
