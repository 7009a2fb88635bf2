//! Every property in every packet: allowed where table 2-4 of MQTT 5 says so, refused elsewhere, and never twice.

use super::*;

/// A place where properties stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Connect,
    Will,
    Connack,
    PublishToServer,
    PublishToClient,
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK have the same.
    Ack(PacketType),
    Subscribe,
    Unsubscribe,
    DisconnectByClient,
    DisconnectByServer,
    Auth,
}

const PLACES: [Place; 16] = [
    Place::Connect,
    Place::Will,
    Place::Connack,
    Place::PublishToServer,
    Place::PublishToClient,
    Place::Ack(PacketType::Puback),
    Place::Ack(PacketType::Pubrec),
    Place::Ack(PacketType::Pubrel),
    Place::Ack(PacketType::Pubcomp),
    Place::Ack(PacketType::Suback),
    Place::Ack(PacketType::Unsuback),
    Place::Subscribe,
    Place::Unsubscribe,
    Place::DisconnectByClient,
    Place::DisconnectByServer,
    Place::Auth,
];

impl Place {
    fn packet_type(self) -> PacketType {
        match self {
            Self::Connect | Self::Will => PacketType::Connect,
            Self::Connack => PacketType::Connack,
            Self::PublishToServer | Self::PublishToClient => PacketType::Publish,
            Self::Ack(packet_type) => packet_type,
            Self::Subscribe => PacketType::Subscribe,
            Self::Unsubscribe => PacketType::Unsubscribe,
            Self::DisconnectByClient | Self::DisconnectByServer => PacketType::Disconnect,
            Self::Auth => PacketType::Auth,
        }
    }

    fn sender(self) -> Side {
        match self {
            Self::Connack | Self::PublishToClient | Self::DisconnectByServer => Side::Server,
            Self::Ack(PacketType::Suback | PacketType::Unsuback) => Side::Server,
            Self::Connect
            | Self::Will
            | Self::PublishToServer
            | Self::Ack(_)
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::DisconnectByClient
            | Self::Auth => Side::Client,
        }
    }

    /// What stands before and behind the properties in the body.
    fn around(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Connect => (b"\x00\x04MQTT\x05\x02\x00\x00", b"\x00\x01d"),
            Self::Will => (b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01d", b"\x00\x01w\x00\x00"),
            Self::Connack => (b"\x00\x00", b""),
            Self::PublishToServer | Self::PublishToClient => (b"\x00\x01t", b""),
            Self::Ack(PacketType::Suback | PacketType::Unsuback) => (b"\x00\x01", b"\x00"),
            Self::Ack(_) => (b"\x00\x01\x00", b""),
            Self::Subscribe => (b"\x00\x01", b"\x00\x01f\x00"),
            Self::Unsubscribe => (b"\x00\x01", b"\x00\x01f"),
            Self::DisconnectByClient | Self::DisconnectByServer => (b"\x00", b""),
            Self::Auth => (b"\x18", b""),
        }
    }

    fn decode(self, properties: &[u8]) -> Result<Option<Packet>, DecodeError> {
        let (before, behind) = self.around();
        let len = [u8::try_from(properties.len()).unwrap()];
        let body = [before, &len, properties, behind].concat();
        let first = self.packet_type().number() << 4 | self.packet_type().fixed_flags();
        let mut buffer = BytesMut::from(&[first, u8::try_from(body.len()).unwrap()][..]);
        buffer.extend_from_slice(&body);
        let mut decoder = match self {
            Self::Connect | Self::Will => Decoder::for_server(WIDE),
            _ => decoder(self.sender(), ProtocolVersion::V5, WIDE),
        };
        decoder.decode(&mut buffer)
    }
}

/// A valid value, and where the property may stand.
fn row(property: Property) -> (&'static [u8], Vec<Place>) {
    use Place::*;
    let acks = PLACES.into_iter().filter(|place| matches!(place, Ack(_)));
    let messages = vec![Will, PublishToServer, PublishToClient];
    let people = [Connack, DisconnectByClient, DisconnectByServer, Auth];
    match property {
        Property::PayloadFormatIndicator => (&[1], messages),
        Property::MessageExpiryInterval => (&[0, 0, 0, 9], messages),
        Property::ContentType => (b"\x00\x01c", messages),
        Property::ResponseTopic => (b"\x00\x01r", messages),
        Property::CorrelationData => (b"\x00\x01d", messages),
        Property::SubscriptionIdentifier => (&[7], vec![PublishToClient, Subscribe]),
        Property::SessionExpiryInterval => (&[0, 0, 0, 9], vec![Connect, Connack, DisconnectByClient]),
        Property::AssignedClientIdentifier => (b"\x00\x01d", vec![Connack]),
        Property::ServerKeepAlive => (&[0, 9], vec![Connack]),
        Property::AuthenticationMethod => (b"\x00\x01m", vec![Connect, Connack, Auth]),
        Property::AuthenticationData => (b"\x00\x01d", vec![Connect, Connack, Auth]),
        Property::RequestProblemInformation => (&[0], vec![Connect]),
        Property::WillDelayInterval => (&[0, 0, 0, 9], vec![Will]),
        Property::RequestResponseInformation => (&[1], vec![Connect]),
        Property::ResponseInformation => (b"\x00\x01r", vec![Connack]),
        Property::ServerReference => (b"\x00\x01s", vec![Connack, DisconnectByServer]),
        Property::ReasonString => (b"\x00\x01r", acks.chain(people).collect()),
        Property::ReceiveMaximum => (&[0, 9], vec![Connect, Connack]),
        Property::TopicAliasMaximum => (&[0, 9], vec![Connect, Connack]),
        Property::TopicAlias => (&[0, 9], vec![PublishToServer, PublishToClient]),
        Property::MaximumQos => (&[1], vec![Connack]),
        Property::RetainAvailable => (&[0], vec![Connack]),
        Property::UserProperty => (b"\x00\x01n\x00\x01v", PLACES.to_vec()),
        Property::MaximumPacketSize => (&[0, 0, 1, 0], vec![Connect, Connack]),
        Property::WildcardSubscriptionAvailable => (&[0], vec![Connack]),
        Property::SubscriptionIdentifierAvailable => (&[0], vec![Connack]),
        Property::SharedSubscriptionAvailable => (&[0], vec![Connack]),
    }
}

#[test]
fn each_property_is_allowed_where_the_specification_says_and_nowhere_else() {
    for &property in Property::ALL {
        let (value, allowed) = row(property);
        for place in PLACES {
            // Data needs a method beside it.
            let method: &[u8] = match property {
                Property::AuthenticationData if allowed.contains(&place) => b"\x15\x00\x01m",
                _ => b"",
            };
            let once = [method, &[property.id()], value].concat();
            let twice = [&once[..], &[property.id()], value].concat();
            let context = format!("{property} in {place:?}");
            if allowed.contains(&place) {
                let decoded = place.decode(&once).unwrap_or_else(|error| panic!("{context}: {error}"));
                let decoded = decoded.expect("a whole packet");
                let again = encoded(&decoded, ProtocolVersion::V5);
                let spelled = [&[property.id()], value].concat();
                assert!(again.windows(spelled.len()).any(|bytes| bytes == spelled), "{context} is lost");
                let may_repeat = property == Property::UserProperty
                    || (property, place) == (Property::SubscriptionIdentifier, Place::PublishToClient);
                match place.decode(&twice) {
                    Ok(_) => assert!(may_repeat, "{context} twice"),
                    Err(error) => assert_eq!(error, DecodeError::DuplicateProperty(property), "{context}"),
                }
            } else if (property, place) == (Property::SubscriptionIdentifier, Place::PublishToServer) {
                assert_eq!(place.decode(&once), Err(DecodeError::SubscriptionIdFromClient));
            } else {
                let packet_type = place.packet_type();
                let refused = DecodeError::PropertyNotAllowed { packet_type, property };
                assert_eq!(place.decode(&once), Err(refused), "{context}");
            }
        }
    }
}

#[test]
fn a_property_cut_short_never_borrows_from_what_follows() {
    for &property in Property::ALL {
        let (value, allowed) = row(property);
        for place in allowed {
            for len in 0..value.len() {
                let cut = [&[property.id()], &value[..len]].concat();
                assert_eq!(place.decode(&cut), Err(DecodeError::Truncated), "{property} in {place:?}");
            }
        }
    }
}
