//! A client that reads topic aliases as the specification says.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use super::World;
use crate::ConnectionId;
use crate::packet::{Packet, Text};

/// What a client knows of the gateway's aliases, on one connection.
#[derive(Default)]
pub(super) struct KnownAliases {
    /// What its CONNECT said.
    max: u16,
    topics: BTreeMap<NonZeroU16, Text>,
    /// The topics as they stood in the packets, and the aliases beside them.
    written: Vec<(String, Option<u16>)>,
}

impl KnownAliases {
    /// The client sends this.
    pub(super) fn note(&mut self, packet: &Packet) {
        if let Packet::Connect(connect) = packet {
            self.max = connect.properties.topic_alias_maximum.unwrap_or(0);
        }
    }

    /// Puts the topic into a PUBLISH that has an alias instead.
    pub(super) fn resolve(&mut self, packet: &mut Packet) {
        let Packet::Publish(publish) = packet else { return };
        let alias = publish.properties.as_ref().and_then(|properties| properties.topic_alias);
        self.written.push((publish.topic.to_string(), alias.map(NonZeroU16::get)));
        let Some(alias) = alias else { return };
        assert!(alias.get() <= self.max, "[MQTT-3.1.2-26]: {alias} of {}", self.max);
        match publish.topic.is_empty() {
            true => publish.topic = self.topics.get(&alias).expect("the client was told").clone(),
            false => _ = self.topics.insert(alias, publish.topic.clone()),
        }
    }
}

impl World {
    /// How the topics of all publishes to the client were told since the last call, with their aliases.
    pub(in crate::tests) fn spellings(&mut self, client: ConnectionId) -> Vec<(String, Option<u16>)> {
        std::mem::take(&mut self.clients.get_mut(&client).unwrap().aliases.written)
    }
}
