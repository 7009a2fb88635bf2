//! SUBSCRIBE and UNSUBSCRIBE.

use roost_wire::{Now, SettlementItem};

use super::Shard;
use super::close::Farewell;
use super::share::Leaving;
use crate::link::FromShard;
use crate::packet::{
    Packet, ProtocolVersion, QoS, ReasonCode, Suback, Subscribe, SubscribeFilter, Unsuback, Unsubscribe,
};
use crate::session::SessionKey;
use crate::share::{Filter, Member};
use crate::subscriptions::{Inserted, Subscription};
use crate::{ConnectionId, Count, packet};

impl Shard {
    pub(super) fn subscribe(&mut self, now: Now, id: ConnectionId, subscribe: &Subscribe) {
        let Some(key) = self.session_of(id) else { return };
        self.prepare_sys(now, subscribe);
        self.ask_owners();
        let subscription_id = subscribe.properties.as_ref().and_then(|p| p.subscription_id);
        let grant = |filter| self.grant(key, filter, subscription_id);
        let reasons: Vec<_> = subscribe.filters.iter().map(grant).collect();
        if self.is_untellable(id, &reasons) {
            return self.close(now, id, Count::ClosedSubscription, Farewell::None);
        }
        let suback = Suback { packet_id: subscribe.packet_id, reasons, properties: None };
        if !self.suback_waits(id, &suback) {
            self.send(now, id, &Packet::Suback(suback));
        }
        self.report_subscribed(key);
        self.pump(now, id);
    }

    pub(super) fn unsubscribe(&mut self, now: Now, id: ConnectionId, unsubscribe: &Unsubscribe) {
        let Some(key) = self.session_of(id) else { return };
        let reasons = unsubscribe.filters.iter().map(|text| self.revoke(now, key, text)).collect();
        let unsuback = Unsuback { packet_id: unsubscribe.packet_id, reasons, properties: None };
        self.send(now, id, &Packet::Unsuback(unsuback));
        // What waited behind retained messages that are not wanted any more.
        self.pump(now, id);
    }

    /// Whether the SUBACK would say to a client of MQTT 3.1, which has no word for a refusal, that it has a subscription which it has not.
    /// Only of one that it may not have is that to be said [MQTT31 §3.8].
    fn is_untellable(&self, id: ConnectionId, reasons: &[ReasonCode]) -> bool {
        let client = self.connections.get(&id).and_then(|connection| connection.client.as_deref());
        client.is_some_and(|client| client.version() == ProtocolVersion::V31)
            && reasons.iter().any(|reason| reason.is_error() && *reason != ReasonCode::NotAuthorized)
    }

    fn grant(
        &mut self,
        key: SessionKey,
        asked: &SubscribeFilter,
        subscription_id: Option<packet::SubscriptionId>,
    ) -> ReasonCode {
        let Ok(filter) = Filter::parse(&asked.filter) else { return ReasonCode::TopicFilterInvalid };
        let Some(session) = self.sessions.touch(&key) else { return ReasonCode::UnspecifiedError };
        let is_known = match &filter {
            Filter::Own(filter) => self.subscriptions.subscription(&key, filter).is_some(),
            Filter::Shared(filter) => self.groups.find(key, filter).is_some(),
        };
        if !is_known && session.subscriptions >= self.config.limits.subscriptions_max {
            return ReasonCode::QuotaExceeded;
        }
        let options = asked.options;
        let subscription = Subscription { options, subscription_id };
        let Some(inserted) = self.insert(key, &filter, subscription) else {
            return ReasonCode::QuotaExceeded;
        };
        match &filter {
            Filter::Own(filter) => self.owe_retained(key, filter, subscription, inserted),
            // What is retained is not sent (MQTT5 §4.8.2).
            Filter::Shared(_) => {}
        }
        match options.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce => ReasonCode::GrantedQos1,
            QoS::ExactlyOnce => ReasonCode::GrantedQos2,
        }
    }

    /// Makes a subscription of a session, or replaces it; `None` if there is no room for another.
    pub(super) fn insert(
        &mut self,
        key: SessionKey,
        filter: &Filter,
        subscription: Subscription,
    ) -> Option<Inserted> {
        let session = self.sessions.touch(&key)?;
        let (inserted, is_shared) = match filter {
            Filter::Own(filter) => (self.subscriptions.insert(key, filter, subscription).ok()?, false),
            Filter::Shared(filter) => {
                let is_connected = session.connection.is_some();
                let member = Member { session: key, subscription, is_connected };
                (self.groups.join(filter, member).ok()?, true)
            }
        };
        let is_new = inserted == Inserted::New;
        session.disk.note_filter(filter, Some(subscription));
        session.subscriptions += usize::from(is_new);
        session.shared += u32::from(is_new && is_shared);
        match filter {
            Filter::Own(filter) if is_new => {
                self.config.interests.add(self.config.placement.index(), filter);
            }
            Filter::Own(_) => {}
            Filter::Shared(filter) => self.group_changed(filter),
        }
        Some(inserted)
    }

    fn revoke(&mut self, now: Now, key: SessionKey, text: &str) -> ReasonCode {
        let Ok(filter) = Filter::parse(text) else { return ReasonCode::TopicFilterInvalid };
        let existed = match &filter {
            Filter::Own(filter) => {
                let existed = self.subscriptions.remove(&key, filter).is_some();
                if existed {
                    self.config.interests.remove(self.config.placement.index(), filter);
                }
                existed
            }
            Filter::Shared(filter) => match self.groups.find(key, filter) {
                Some(group) => {
                    self.leave_group(key, group);
                    self.hand_on(now, key, Leaving::Unsubscribed(group));
                    true
                }
                None => false,
            },
        };
        if !existed {
            return ReasonCode::NoSubscriptionExisted;
        }
        if let Some(session) = self.sessions.touch(&key) {
            session.subscriptions -= 1;
            session.disk.note_filter(&filter, None);
            if let Filter::Own(filter) = &filter {
                session.catch_up.cancel(filter);
            }
        }
        ReasonCode::Success
    }

    /// Tells the router that a device which was answered "no subscription" has subscribed: behind that answer.
    fn report_subscribed(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.touch(&key).filter(|s| s.hold.owes_subscribed) else { return };
        session.hold.owes_subscribed = false;
        let (device, session) = (session.device.clone(), session.id);
        self.tell_link(FromShard::Settlement(SettlementItem::Subscribed { device, session }));
    }
}
