//! Topic aliases of a connection, both ways.

use bytes::BytesMut;

use super::Shard;
use super::connection::Client;
use super::publish::Unacceptable;
use crate::aliases::{AliasError, Spelling};
use crate::packet::{Publish, PublishProperties, PublishPropertiesRef, PublishRef, ReasonCode};
use crate::{ConnectionId, Count};

impl Shard {
    /// Puts the topic into a publish that has an alias, which is of no use behind this connection.
    pub(super) fn resolve_alias(
        &mut self,
        id: ConnectionId,
        publish: &mut Publish,
    ) -> Result<(), Unacceptable> {
        let Some(properties) = &mut publish.properties else { return Ok(()) };
        let Some(alias) = properties.topic_alias.take() else { return Ok(()) };
        if **properties == PublishProperties::default() {
            publish.properties = None;
        }
        // [MQTT-3.2.2-17], and [MQTT-3.2.2-18] where CONNACK has granted none.
        if alias.get() > self.config.limits.topic_alias_maximum {
            return Err(Unacceptable(Count::ClosedProtocol, ReasonCode::TopicAliasInvalid));
        }
        let Some(client) = self.connections.get_mut(&id).and_then(|c| c.client.as_deref_mut()) else {
            return Ok(());
        };
        let aliases = &mut client.aliases.get_or_insert_default().inbound;
        let topic = std::mem::take(&mut publish.topic);
        publish.topic = aliases.resolve(alias, topic).map_err(|error| match error {
            // [MQTT5 §3.3.2.3.4]
            AliasError::Unknown => Unacceptable(Count::ClosedProtocol, ReasonCode::ProtocolError),
            AliasError::TooLong => Unacceptable(Count::ClosedTopicAliases, ReasonCode::QuotaExceeded),
        })?;
        Ok(())
    }
}

impl Client {
    /// Appends a PUBLISH, with an alias where that makes it shorter; false, and nothing is appended, if it is too large for the client.
    /// Everything that is appended has to be sent, in this order: the next publish may need what this one says of an alias.
    pub(super) fn encode_publish(&mut self, publish: &PublishRef<'_>, out: &mut BytesMut) -> bool {
        let encoder = self.encoder;
        let as_it_is = |out: &mut BytesMut| encoder.encode_publish(publish, out).is_ok();
        // [MQTT-3.1.2-27]
        if self.topic_alias_max == 0 {
            return as_it_is(out);
        }
        let with = |topic: &str, alias, out: &mut BytesMut| {
            let properties = PublishPropertiesRef { topic_alias: Some(alias), ..publish.properties };
            encoder.encode_publish(&PublishRef { topic, properties, ..*publish }, out).is_ok()
        };
        let aliases = &mut self.aliases.get_or_insert_default().outbound;
        match aliases.spell(publish.topic, self.topic_alias_max) {
            Spelling::Whole => as_it_is(out),
            Spelling::Alias(alias) => with("", alias, out),
            Spelling::NewAlias(alias) => {
                if with(publish.topic, alias, out) {
                    aliases.told(alias, publish.topic);
                    return true;
                }
                // It may be the alias that makes it too large.
                as_it_is(out)
            }
        }
    }
}
