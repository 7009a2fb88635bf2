//! What the mesh tells anybody who listens: a device has come or gone, fenced by the location table.

use serde::{Deserialize, Serialize};

use crate::{
    DeliveryMode, Device, GatewayId, Incarnation, Message, Properties, Region, RoutingKey, SessionId,
    WallTime,
};

/// One change of a device's location, as JSON on `roost.presence`, published after the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Always 1 in this version of the contract.
    pub version: u8,
    /// Which device.
    #[serde(flatten)]
    pub device: Device,
    /// Whether it is there now.
    pub state: PresenceState,
    /// The gateway it came to or went from.
    pub gateway: GatewayId,
    /// That gateway's region.
    pub region: Region,
    /// That gateway's run.
    pub incarnation: Incarnation,
    /// Which of its sessions.
    pub session: SessionId,
    /// When the router changed the location, in milliseconds since 1970.
    pub at: WallTime,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// It has a session.
    Online,
    /// It has none.
    Offline,
}

impl Presence {
    /// The change as an AMQP message to `exchange`, with the key `tenant.device.online|offline`.
    #[must_use]
    pub fn to_message(&self, exchange: &str) -> Message {
        let state = match self.state {
            PresenceState::Online => "online",
            PresenceState::Offline => "offline",
        };
        let properties = Properties {
            content_type: Some("application/json".to_owned()),
            delivery_mode: DeliveryMode::Persistent,
            timestamp_s: Some(self.at.as_millis() / 1_000),
            ..Properties::default()
        };
        Message {
            exchange: exchange.to_owned(),
            routing_key: RoutingKey::for_state(&self.device, state).as_str().to_owned(),
            properties,
            body: serde_json::to_vec(self).expect("a presence has no map with keys that are not text").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_addressed_by_device_and_state() {
        let presence = Presence {
            version: 1,
            device: "d".parse().unwrap(),
            state: PresenceState::Offline,
            gateway: "eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            incarnation: Incarnation(1),
            session: SessionId(1),
            at: WallTime::from_millis(5),
        };
        let message = presence.to_message("roost.presence");
        assert_eq!(message.routing_key, "main.d.offline");
        assert_eq!(serde_json::from_slice::<Presence>(&message.body).unwrap(), presence);
    }
}
