//! What a message says, in a few words, and about which devices and commands.

use roost_backend::contract;
use roost_backend::conversion::incoming;
use roost_backend::embedded::core::{Operation, Reply};
use roost_gateway::packet::{Delivery as PacketDelivery, Packet};
use roost_wire::mesh::Report as _;
use roost_wire::{
    Control, ControlReport, Delivery, Device, Event, Message, Receipt, SessionArrival, SessionHandOver,
    SettlementItem, SettlementReport, ShardId, Sighting, SightingReport,
};

use super::{Item, Story};
use crate::amqp::{FromBroker, ToBroker};
use crate::socket::Note;

/// What a packet says: the command that it is about, and words.
#[derive(Debug, Default)]
pub(crate) struct Words(Option<(Option<String>, String)>);

impl Words {
    /// As items about that device.
    pub(crate) fn about(self, device: usize) -> Vec<Item> {
        let item = |(command, words)| Item { device: Some(device), command, words };
        self.0.map(item).into_iter().collect()
    }

    fn some(command: Option<String>, words: String) -> Self {
        Self(Some((command, words)))
    }
}

impl Story {
    /// What a device writes.
    pub(crate) fn of_device(&self, packet: &Packet, note: Option<&Note>) -> Words {
        if !self.is_kept {
            return Words::default();
        }
        match packet {
            Packet::Connect(connect) => Words::some(None, format!("CONNECT, clean {}", connect.clean_start)),
            Packet::Subscribe(_) => Words::some(None, "SUBSCRIBE".to_owned()),
            Packet::Disconnect(_) => Words::some(None, "DISCONNECT".to_owned()),
            Packet::Publish(publish) => {
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                let is_answer = payload.starts_with('c');
                let words = format!("PUBLISH {payload}");
                Words::some(is_answer.then_some(payload), words)
            }
            Packet::Puback(ack) => match note {
                Some(Note::Acknowledges { command, .. }) => {
                    Words::some(Some(command.clone()), format!("PUBACK {command} {:?}", ack.reason))
                }
                None => Words::default(),
            },
            _ => Words::default(),
        }
    }

    /// What a gateway writes to a device.
    pub(crate) fn of_gateway(&self, packet: &Packet) -> Words {
        if !self.is_kept {
            return Words::default();
        }
        match packet {
            Packet::Connack(connack) => Words::some(
                None,
                format!("CONNACK {:?}, session present {}", connack.reason, connack.session_present),
            ),
            Packet::Suback(_) => Words::some(None, "SUBACK".to_owned()),
            Packet::Disconnect(disconnect) => {
                Words::some(None, format!("DISCONNECT {:?}", disconnect.reason))
            }
            Packet::Publish(publish) => {
                let command = String::from_utf8_lossy(&publish.payload).into_owned();
                let qos = if matches!(publish.delivery, PacketDelivery::AtMostOnce) { 0 } else { 1 };
                let words = format!("PUBLISH {command}, QoS {qos}");
                Words::some(Some(command), words)
            }
            _ => Words::default(),
        }
    }

    /// What an AMQP client writes.
    pub(crate) fn of_client(&mut self, frame: &ToBroker) -> Vec<Item> {
        match frame {
            ToBroker::Operation(_, Operation::Publish(publication)) if self.is_kept => {
                let publication = publication.as_ref();
                let message = incoming(
                    &publication.exchange,
                    &publication.routing_key,
                    &publication.properties,
                    publication.body.clone(),
                );
                self.message(&message)
            }
            ToBroker::Operation(..) | ToBroker::Open { .. } | ToBroker::Close => Vec::new(),
        }
    }

    /// What the broker writes.
    pub(crate) fn of_broker(&mut self, frame: &FromBroker) -> Vec<Item> {
        match frame {
            FromBroker::Reply(_, Reply::Deliver { delivery, .. }) if self.is_kept => {
                let message = &delivery.message;
                let message = incoming(
                    &message.exchange,
                    &message.routing_key,
                    &message.properties,
                    message.body.clone(),
                );
                let mut items = self.message(&message);
                if delivery.redelivered {
                    items.iter_mut().for_each(|item| item.words.push_str(" (again)"));
                }
                items
            }
            FromBroker::Reply(..) | FromBroker::Refused(_) | FromBroker::Blocked | FromBroker::Unblocked => {
                Vec::new()
            }
        }
    }

    fn message(&mut self, message: &Message) -> Vec<Item> {
        let (exchange, key) = (message.exchange.as_str(), message.routing_key.as_str());
        match exchange {
            contract::DOWN => self.command(message),
            contract::UP => Event::from_message(message).ok().map(event).into_iter().collect(),
            contract::RECEIPTS => receipt(message).into_iter().collect(),
            contract::ROUTERS => vec![Item { device: None, command: None, words: "a run begins".to_owned() }],
            contract::MESH if key == contract::sightings_key(ShardId(0)) => sightings(message),
            contract::MESH => self.settlements(message),
            "" if key.starts_with("roost.inbox.") => self.delivery(message),
            "" if key.starts_with("roost.control.") => controls(message),
            _ => Vec::new(),
        }
    }

    fn command(&self, message: &Message) -> Vec<Item> {
        let device = message.routing_key.rsplit('.').next().and_then(number_of);
        let command = message.properties.message_id.clone();
        let words = format!("command {}", command.as_deref().unwrap_or("?"));
        vec![Item { device, command, words }]
    }

    fn delivery(&mut self, message: &Message) -> Vec<Item> {
        if let Ok(moved) = SessionArrival::from_message(message) {
            return vec![Item {
                device: index_of(&moved.device),
                command: None,
                words: "its session".to_owned(),
            }];
        }
        let Ok(delivery) = Delivery::from_message(message) else { return Vec::new() };
        let command = String::from_utf8_lossy(&delivery.payload).into_owned();
        self.commands.insert(delivery.id.to_string(), command.clone());
        let Delivery { session, epoch, sync, attempt, .. } = &delivery;
        let words = format!("{command}: session {session}, epoch {epoch}, sync {sync}, attempt {attempt}");
        vec![Item { device: index_of(&delivery.device), command: Some(command), words }]
    }

    fn settlements(&self, message: &Message) -> Vec<Item> {
        let name = |id: String| self.commands.get(&id).cloned().unwrap_or(id);
        let (gateway, items) = match SettlementReport::from_body(&message.body) {
            Ok(SettlementReport::Gateway { gateway, items, .. }) => (gateway, items),
            Ok(SettlementReport::Marker { number, .. }) => {
                return vec![Item { device: None, command: None, words: format!("marker {number}") }];
            }
            Err(_) => return Vec::new(),
        };
        let mut told = Vec::new();
        for item in items {
            match item {
                SettlementItem::Settled(settled) => {
                    let command = name(settled.command.to_string());
                    let words = format!("{command} {:?}, epoch {}", settled.outcome, settled.epoch);
                    told.push(Item { device: index_of(&settled.device), command: Some(command), words });
                }
                SettlementItem::Subscribed { device, session } => {
                    let words = format!("subscribed, session {session}");
                    told.push(Item { device: index_of(&device), command: None, words });
                }
                SettlementItem::Sync { number, in_flight, .. } => {
                    let words = format!("sync {number} of {gateway}, {} in flight", in_flight.len());
                    told.push(Item { device: None, command: None, words });
                    told.extend(in_flight.into_iter().map(|listed| {
                        let command = name(listed.command.to_string());
                        let words = format!("sync {number}: {command} in flight, epoch {}", listed.epoch);
                        Item { device: index_of(&listed.device), command: Some(command), words }
                    }));
                }
            }
        }
        told
    }
}

fn event(event: Event) -> Item {
    let words = format!("event {}", String::from_utf8_lossy(&event.payload));
    Item { device: index_of(&event.device), command: None, words }
}

fn receipt(message: &Message) -> Option<Item> {
    let receipt: Receipt = serde_json::from_slice(&message.body).ok()?;
    let command = receipt.message_id.as_ref().map(|id| id.as_str().to_owned());
    let reason = receipt.reason.map(|reason| format!(" ({reason:?})")).unwrap_or_default();
    let words = format!("receipt {}: {}{reason}", command.as_deref().unwrap_or("?"), receipt.state);
    Some(Item { device: index_of(&receipt.device), command, words })
}

fn sightings(message: &Message) -> Vec<Item> {
    if let Ok(given) = SessionHandOver::from_message(message) {
        return vec![Item {
            device: index_of(&given.device),
            command: None,
            words: "its session".to_owned(),
        }];
    }
    let Ok(report) = SightingReport::from_body(&message.body) else { return Vec::new() };
    let mut told = Vec::new();
    let mut tell = |device: &Device, words: String| {
        told.push(Item { device: index_of(device), command: None, words });
    };
    for item in &report.items {
        match item {
            Sighting::Heartbeat(_) => {}
            Sighting::Accepted(present) => {
                tell(&present.device, format!("accepted, session {}", present.session))
            }
            Sighting::Gone { device, session } => tell(device, format!("gone, session {session}")),
            Sighting::Claim { present, .. } => {
                tell(&present.device, format!("claim, session {}", present.session))
            }
            Sighting::Absent { device, .. } => tell(device, "absent".to_owned()),
            Sighting::WantsSession { device, .. } => tell(device, "who has its session?".to_owned()),
            Sighting::HoldsSession { present, .. } => {
                tell(&present.device, format!("has its session {}", present.session))
            }
            Sighting::NoSession { device, reason, .. } => tell(device, format!("no session: {reason:?}")),
            Sighting::Snapshot { present, .. } => {
                for present in present {
                    tell(
                        &present.device,
                        format!("snapshot of {}: session {}", report.gateway, present.session),
                    );
                }
            }
        }
    }
    if report.items.iter().any(|item| matches!(item, Sighting::Snapshot { last: true, .. })) {
        told.push(Item {
            device: None,
            command: None,
            words: format!("snapshot of {} ends", report.gateway),
        });
    }
    told
}

fn controls(message: &Message) -> Vec<Item> {
    let Ok(report) = ControlReport::from_body(&message.body) else { return Vec::new() };
    let mut told = Vec::new();
    for item in report.items {
        let (device, words) = match item {
            Control::HeartbeatAnswer { .. } => continue,
            Control::Ask { device, .. } => (index_of(&device), "who has it?".to_owned()),
            Control::Sync => (None, "sync!".to_owned()),
            Control::Snapshot => (None, "snapshot!".to_owned()),
            Control::Close { device, session, .. } => (index_of(&device), format!("close session {session}")),
            Control::Forget { device, session } => (index_of(&device), format!("doubt session {session}")),
            Control::FindSession { device, .. } => (index_of(&device), "who has its session?".to_owned()),
            Control::MoveSession { device, session, .. } => {
                (index_of(&device), format!("hand session {session} over"))
            }
            Control::SessionAnswer { device, answer, .. } => {
                (index_of(&device), format!("about its session: {answer:?}"))
            }
            Control::Superseded { by } => (None, format!("superseded by {by}")),
        };
        told.push(Item { device, command: None, words });
    }
    told
}

/// The number that the simulation gave the device; none for one that never comes.
fn index_of(device: &Device) -> Option<usize> {
    number_of(device.id.as_str())
}

fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix("device-")?.parse().ok()
}
