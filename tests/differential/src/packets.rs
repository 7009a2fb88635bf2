//! Valid packets, with all that may stand in them.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use roost_gateway::packet::{
    Ack, AckProperties, Auth, AuthProperties, BinaryData, Connack, ConnackProperties, Connect,
    ConnectProperties, Delivery, Disconnect, DisconnectProperties, Packet, PacketId, PacketType,
    PayloadFormat, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Secret,
    Side, Suback, Subscribe, SubscribeFilter, SubscribeOptions, SubscribeProperties, SubscriptionId, Text,
    Unsuback, Unsubscribe, UnsubscribeProperties, UserProperty, Will, WillProperties,
};

use crate::Chance;

/// All types, AUTH last.
pub const TYPES: [PacketType; 15] = [
    PacketType::Connect,
    PacketType::Connack,
    PacketType::Publish,
    PacketType::Puback,
    PacketType::Pubrec,
    PacketType::Pubrel,
    PacketType::Pubcomp,
    PacketType::Subscribe,
    PacketType::Suback,
    PacketType::Unsubscribe,
    PacketType::Unsuback,
    PacketType::Pingreq,
    PacketType::Pingresp,
    PacketType::Disconnect,
    PacketType::Auth,
];

/// A valid packet of that type and version, from that side.
#[must_use]
pub fn packet(
    packet_type: PacketType,
    version: ProtocolVersion,
    sender: Side,
    chance: &mut Chance,
) -> Packet {
    Maker { version, sender, chance }.packet(packet_type)
}

struct Maker<'a> {
    version: ProtocolVersion,
    sender: Side,
    chance: &'a mut Chance,
}

impl Maker<'_> {
    fn packet(&mut self, packet_type: PacketType) -> Packet {
        match packet_type {
            PacketType::Connect => Packet::Connect(Box::new(self.connect())),
            PacketType::Connack => Packet::Connack(self.connack()),
            PacketType::Publish => Packet::Publish(self.publish()),
            PacketType::Puback => Packet::Puback(self.ack(packet_type)),
            PacketType::Pubrec => Packet::Pubrec(self.ack(packet_type)),
            PacketType::Pubrel => Packet::Pubrel(self.ack(packet_type)),
            PacketType::Pubcomp => Packet::Pubcomp(self.ack(packet_type)),
            PacketType::Subscribe => Packet::Subscribe(self.subscribe()),
            PacketType::Suback => Packet::Suback(Suback {
                packet_id: self.id(),
                reasons: self.reasons(packet_type),
                properties: self.ack_properties(),
            }),
            PacketType::Unsubscribe => Packet::Unsubscribe(self.unsubscribe()),
            PacketType::Unsuback => Packet::Unsuback(Unsuback {
                packet_id: self.id(),
                reasons: if self.is_v5() { self.reasons(packet_type) } else { Vec::new() },
                properties: self.ack_properties(),
            }),
            PacketType::Pingreq => Packet::Pingreq,
            PacketType::Pingresp => Packet::Pingresp,
            PacketType::Disconnect => Packet::Disconnect(self.disconnect()),
            PacketType::Auth => Packet::Auth(self.auth()),
        }
    }

    fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    fn id(&mut self) -> PacketId {
        let id = self.chance.pick(&[1, 2, 7, 255, 256, 65_535]);
        PacketId::new(id).unwrap_or(PacketId::FIRST)
    }

    fn text(&mut self) -> Text {
        let text = self.chance.pick(&["", "a", "temp/ü", "\u{FEFF}", "日本", "a/b/c", "x y"]);
        Text::from_static(text)
    }

    fn topic(&mut self) -> Text {
        Text::from_static(self.chance.pick(&["a", "a/b", "/", "$SYS/x", "ä/ö", "x/y/z/0123456789"]))
    }

    fn filter(&mut self) -> Text {
        Text::from_static(self.chance.pick(&["a", "a/+", "#", "+/b/#", "$share/g/a", "ä/#"]))
    }

    fn data(&mut self) -> BinaryData {
        let len = self.chance.pick(&[0, 1, 2, 40]);
        BinaryData::parse(self.chance.bytes(len)).expect("it is short")
    }

    fn qos(&mut self) -> QoS {
        self.chance.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn u32(&mut self) -> u32 {
        self.chance.pick(&[0, 1, 60, 65_536, u32::MAX])
    }

    fn u16(&mut self) -> u16 {
        self.chance.pick(&[0, 1, 10, 255, 65_535])
    }

    fn non_zero_u16(&mut self) -> NonZeroU16 {
        NonZeroU16::new(self.u16()).unwrap_or(NonZeroU16::MIN)
    }

    fn flag(&mut self) -> bool {
        self.chance.one_in(2)
    }

    fn user_properties(&mut self) -> Vec<UserProperty> {
        let many = self.chance.pick(&[0, 0, 1, 2, 5]);
        (0..many).map(|_| UserProperty { name: self.text(), value: self.text() }).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.chance.one_in(3) { Some(make(self)) } else { None }
    }

    /// A reason that a packet of this type may carry.
    fn reason(&mut self, packet_type: PacketType) -> ReasonCode {
        let (sender, version) = (self.sender, self.version);
        let may = |reason: &ReasonCode| match (version, packet_type) {
            (ProtocolVersion::V5, _) => reason.is_allowed_in(packet_type, sender),
            (_, PacketType::Connack) => {
                ReasonCode::from_connect_return_code(reason.connect_return_code()) == Some(*reason)
            }
            (_, PacketType::Suback) => matches!(reason.byte(), 0..=2 | 0x80),
            _ => *reason == ReasonCode::Success,
        };
        let all: Vec<_> = ReasonCode::ALL.iter().copied().filter(may).collect();
        self.chance.pick(&all)
    }

    fn reasons(&mut self, packet_type: PacketType) -> Vec<ReasonCode> {
        let many = 1 + self.chance.below(3);
        (0..many).map(|_| self.reason(packet_type)).collect()
    }

    fn connect(&mut self) -> Connect {
        let is_v5 = self.is_v5();
        let user_name = self.maybe(Self::text);
        let may_have_password = is_v5 || user_name.is_some();
        let clean_start = self.flag();
        let client_id = if clean_start { self.text() } else { Text::from_static("device-1") };
        Connect {
            version: self.version,
            clean_start,
            keep_alive_s: self.u16(),
            client_id,
            will: self.maybe(Self::will),
            user_name,
            password: self.maybe(|it| Secret::new(it.data())).filter(|_| may_have_password),
            properties: if is_v5 { self.connect_properties() } else { ConnectProperties::default() },
        }
    }

    fn connect_properties(&mut self) -> ConnectProperties {
        let authentication_method = self.maybe(Self::text);
        let has_method = authentication_method.is_some();
        ConnectProperties {
            session_expiry_interval_s: self.maybe(Self::u32),
            receive_maximum: self.maybe(Self::non_zero_u16),
            maximum_packet_size: self.maybe(|it| NonZeroU32::new(it.u32()).unwrap_or(NonZeroU32::MIN)),
            topic_alias_maximum: self.maybe(Self::u16),
            request_response_information: self.maybe(Self::flag),
            request_problem_information: self.maybe(Self::flag),
            user_properties: self.user_properties(),
            authentication_method,
            authentication_data: self.maybe(|it| Secret::new(it.data())).filter(|_| has_method),
        }
    }

    fn will(&mut self) -> Will {
        let is_v5 = self.is_v5();
        let properties = WillProperties {
            delay_interval_s: self.maybe(Self::u32),
            payload_format: self.maybe(Self::payload_format),
            message_expiry_s: self.maybe(Self::u32),
            content_type: self.maybe(Self::text),
            response_topic: self.maybe(Self::topic),
            correlation_data: self.maybe(Self::data),
            user_properties: self.user_properties(),
        };
        Will {
            topic: self.topic(),
            payload: self.data(),
            qos: self.qos(),
            retain: self.flag(),
            properties: if is_v5 { properties } else { WillProperties::default() },
        }
    }

    fn payload_format(&mut self) -> PayloadFormat {
        self.chance.pick(&[PayloadFormat::Bytes, PayloadFormat::Utf8])
    }

    fn connack(&mut self) -> Connack {
        let reason = self.reason(PacketType::Connack);
        let authentication_method = self.maybe(Self::text);
        let has_method = authentication_method.is_some();
        let properties = ConnackProperties {
            session_expiry_interval_s: self.maybe(Self::u32),
            receive_maximum: self.maybe(Self::non_zero_u16),
            maximum_qos: self.maybe(|it| it.chance.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce])),
            retain_available: self.maybe(Self::flag),
            maximum_packet_size: self.maybe(|it| NonZeroU32::new(it.u32()).unwrap_or(NonZeroU32::MIN)),
            assigned_client_id: self.maybe(Self::text),
            topic_alias_maximum: self.maybe(Self::u16),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            wildcard_subscription_available: self.maybe(Self::flag),
            subscription_identifiers_available: self.maybe(Self::flag),
            shared_subscription_available: self.maybe(Self::flag),
            server_keep_alive_s: self.maybe(Self::u16),
            response_information: self.maybe(Self::text),
            server_reference: self.maybe(Self::text),
            authentication_method,
            authentication_data: self.maybe(|it| Secret::new(it.data())).filter(|_| has_method),
        };
        Connack {
            session_present: reason == ReasonCode::Success && self.flag(),
            reason,
            properties: self.in_v5(properties),
        }
    }

    fn publish(&mut self) -> Publish {
        let packet_id = self.id();
        let delivery = match self.qos() {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup: self.flag() },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup: self.flag() },
        };
        let properties = PublishProperties {
            payload_format: self.maybe(Self::payload_format),
            message_expiry_s: self.maybe(Self::u32),
            topic_alias: self.maybe(Self::non_zero_u16),
            response_topic: self.maybe(Self::topic),
            correlation_data: self.maybe(Self::data),
            user_properties: self.user_properties(),
            subscription_ids: self.subscription_ids(),
            content_type: self.maybe(Self::text),
        };
        let has_alias = self.is_v5() && properties.topic_alias.is_some();
        let len = self.chance.pick(&[0, 1, 20, 200]);
        Publish {
            topic: if has_alias && self.flag() { Text::EMPTY } else { self.topic() },
            delivery,
            retain: self.flag(),
            payload: Bytes::from(self.chance.bytes(len)),
            properties: self.in_v5(properties),
        }
    }

    fn subscription_ids(&mut self) -> Vec<SubscriptionId> {
        let many = if self.sender == Side::Server { self.chance.pick(&[0, 0, 1, 3]) } else { 0 };
        let mut id = || SubscriptionId::new(self.chance.pick(&[1, 127, 128, 20_000, SubscriptionId::MAX]));
        (0..many).filter_map(|_| id()).collect()
    }

    fn ack(&mut self, packet_type: PacketType) -> Ack {
        Ack { packet_id: self.id(), reason: self.reason(packet_type), properties: self.ack_properties() }
    }

    fn ack_properties(&mut self) -> Option<Box<AckProperties>> {
        let properties =
            AckProperties { reason_string: self.maybe(Self::text), user_properties: self.user_properties() };
        self.in_v5(properties)
    }

    /// Nothing stands for a section of properties that is empty.
    fn in_v5<T: Default + PartialEq>(&self, properties: T) -> Option<Box<T>> {
        (self.is_v5() && properties != T::default()).then(|| Box::new(properties))
    }

    fn subscribe(&mut self) -> Subscribe {
        let properties = SubscribeProperties {
            subscription_id: self.maybe(|it| SubscriptionId::new(it.chance.pick(&[1, 300]))).flatten(),
            user_properties: self.user_properties(),
        };
        let many = 1 + self.chance.below(3);
        let filters = (0..many).map(|_| self.subscribe_filter()).collect();
        Subscribe { packet_id: self.id(), filters, properties: self.in_v5(properties) }
    }

    fn subscribe_filter(&mut self) -> SubscribeFilter {
        let filter = self.filter();
        let is_shared = filter.starts_with("$share/");
        let mut options = SubscribeOptions { qos: self.qos(), ..SubscribeOptions::default() };
        if self.is_v5() {
            options.no_local = !is_shared && self.flag();
            options.retain_as_published = self.flag();
            options.retain_handling = self.chance.pick(&[
                RetainHandling::SendAlways,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ]);
        }
        SubscribeFilter { filter, options }
    }

    fn unsubscribe(&mut self) -> Unsubscribe {
        let properties = UnsubscribeProperties { user_properties: self.user_properties() };
        let many = 1 + self.chance.below(3);
        let filters = (0..many).map(|_| self.filter()).collect();
        Unsubscribe { packet_id: self.id(), filters, properties: self.in_v5(properties) }
    }

    fn disconnect(&mut self) -> Disconnect {
        if !self.is_v5() {
            return Disconnect::default();
        }
        let is_server = self.sender == Side::Server;
        let properties = DisconnectProperties {
            session_expiry_interval_s: self.maybe(Self::u32).filter(|_| !is_server),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            server_reference: self.maybe(Self::text).filter(|_| is_server),
        };
        Disconnect { reason: self.reason(PacketType::Disconnect), properties: self.in_v5(properties) }
    }

    fn auth(&mut self) -> Auth {
        let authentication_method = self.maybe(Self::text);
        let has_method = authentication_method.is_some();
        let properties = AuthProperties {
            authentication_method,
            authentication_data: self.maybe(|it| Secret::new(it.data())).filter(|_| has_method),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
        };
        Auth { reason: self.reason(PacketType::Auth), properties: self.in_v5(properties) }
    }
}
