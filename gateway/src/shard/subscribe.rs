//! SUBSCRIBE and UNSUBSCRIBE.

use roost_wire::{Now, SettlementItem, TopicFilter};

use super::Shard;
use crate::link::FromShard;
use crate::packet::{Packet, QoS, ReasonCode, Suback, Subscribe, SubscribeFilter, Unsuback, Unsubscribe};
use crate::session::SessionKey;
use crate::subscriptions::{Inserted, Subscription};
use crate::{ConnectionId, packet};

impl Shard {
    pub(super) fn subscribe(&mut self, now: Now, id: ConnectionId, subscribe: &Subscribe) {
        let Some(key) = self.session_of(id) else { return };
        let subscription_id = subscribe.properties.as_ref().and_then(|p| p.subscription_id);
        let grant = |filter| self.grant(key, filter, subscription_id);
        let reasons = subscribe.filters.iter().map(grant).collect();
        let suback = Suback { packet_id: subscribe.packet_id, reasons, properties: None };
        self.send(now, id, &Packet::Suback(suback));
        self.report_subscribed(key);
    }

    pub(super) fn unsubscribe(&mut self, now: Now, id: ConnectionId, unsubscribe: &Unsubscribe) {
        let Some(key) = self.session_of(id) else { return };
        let reasons = unsubscribe.filters.iter().map(|text| self.revoke(key, text)).collect();
        let unsuback = Unsuback { packet_id: unsubscribe.packet_id, reasons, properties: None };
        self.send(now, id, &Packet::Unsuback(unsuback));
    }

    fn grant(
        &mut self,
        key: SessionKey,
        asked: &SubscribeFilter,
        subscription_id: Option<packet::SubscriptionId>,
    ) -> ReasonCode {
        let Ok(filter) = TopicFilter::parse(&asked.filter) else { return ReasonCode::TopicFilterInvalid };
        if filter.is_shared() {
            return ReasonCode::SharedSubscriptionsNotSupported;
        }
        let Some(session) = self.sessions.get_mut(&key) else { return ReasonCode::UnspecifiedError };
        let is_known = self.subscriptions.subscription(&key, &filter).is_some();
        if !is_known && session.subscriptions >= self.config.limits.subscriptions_max {
            return ReasonCode::QuotaExceeded;
        }
        let mut options = asked.options;
        options.qos = options.qos.min(QoS::AtLeastOnce);
        match self.subscriptions.insert(key, &filter, Subscription { options, subscription_id }) {
            Err(_) => return ReasonCode::QuotaExceeded,
            Ok(Inserted::New) => session.subscriptions += 1,
            Ok(Inserted::Replaced(_)) => {}
        }
        match options.qos {
            QoS::AtMostOnce => ReasonCode::Success,
            QoS::AtLeastOnce | QoS::ExactlyOnce => ReasonCode::GrantedQos1,
        }
    }

    fn revoke(&mut self, key: SessionKey, text: &str) -> ReasonCode {
        let Ok(filter) = TopicFilter::parse(text) else { return ReasonCode::TopicFilterInvalid };
        if self.subscriptions.remove(&key, &filter).is_none() {
            return ReasonCode::NoSubscriptionExisted;
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            session.subscriptions -= 1;
        }
        ReasonCode::Success
    }

    /// Tells the router that a device which was answered "no subscription" has subscribed: behind that answer.
    fn report_subscribed(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(&key).filter(|s| s.hold.owes_subscribed) else { return };
        session.hold.owes_subscribed = false;
        let (device, session) = (session.device.clone(), session.id);
        self.tell_link(FromShard::Settlement(SettlementItem::Subscribed { device, session }));
    }
}
