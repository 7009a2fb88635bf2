//! What a device does with what it gets.

use roost_gateway::packet::{Ack, Delivery, Packet, PacketId, Publish, QoS, ReasonCode};
use roost_wire::BootTime;

use super::publishing::found;
use super::{Device, Effects, State, Trouble};
use crate::{Count, Kind, Plan, Span, Stamp};

impl Device {
    pub(super) fn receive(&mut self, plan: &Plan, now: BootTime, packet: Packet, effects: &mut Effects) {
        if !self.has_transport() {
            return; // it was hung up while this was on its way
        }
        let is_qos_2 = plan.traffic.qos() == QoS::ExactlyOnce;
        match packet {
            // It has asked for a clean start, and has none [MQTT-3.2.2-4].
            Packet::Connack(connack) if connack.session_present && !plan.mqtt.persistent => {
                self.protest(plan, now, effects);
            }
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => {
                self.accepted(plan, now, &connack, effects);
            }
            Packet::Connack(connack) => {
                effects.trouble = Some(Trouble::Refused(connack.reason));
                self.count_unless_leaving(Count::ConnectRefused, effects);
                self.hang_up(plan, now, effects);
            }
            Packet::Suback(suback) => {
                let refused = suback.reasons.iter().filter(|reason| reason.is_error()).count();
                effects.figures.count_many(Count::SubscribeRefused, refused as u64);
                if matches!(self.state, State::Subscribing { .. }) {
                    self.come_online(plan, now, effects);
                }
            }
            Packet::Puback(ack) => self.acknowledged(now, &ack, effects),
            Packet::Pubrec(ack) if is_qos_2 => self.received(plan, now, &ack, effects),
            Packet::Pubcomp(ack) if is_qos_2 => self.completed(now, &ack, effects),
            Packet::Pubrel(ack) if is_qos_2 => self.released(plan, now, ack.packet_id, effects),
            Packet::Publish(publish) => self.arrived(plan, now, &publish, effects),
            Packet::Pingresp => self.ping_sent = None,
            // The broker says why it goes; that it is gone follows.
            Packet::Disconnect(disconnect) => {
                effects.trouble = Some(Trouble::Disconnected(disconnect.reason));
            }
            Packet::Connect(_)
            | Packet::Pubrec(_)
            | Packet::Pubrel(_)
            | Packet::Pubcomp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Auth(_) => self.protest(plan, now, effects),
        }
    }

    fn arrived(&mut self, plan: &Plan, now: BootTime, publish: &Publish, effects: &mut Effects) {
        match publish.delivery {
            Delivery::AtMostOnce => self.take(plan, now, publish, effects),
            Delivery::AtLeastOnce { packet_id, .. } => {
                self.last_written = now;
                self.write(plan, &Packet::Puback(Ack::success(packet_id)), effects);
                self.take(plan, now, publish, effects);
            }
            Delivery::ExactlyOnce { packet_id, .. } if plan.traffic.qos() == QoS::ExactlyOnce => {
                self.last_written = now;
                self.write(plan, &Packet::Pubrec(Ack::success(packet_id)), effects);
                // One that comes again before its PUBREL is the same. [MQTT-4.3.3-10]
                if !self.unreleased.contains(&packet_id) {
                    self.unreleased.push(packet_id);
                    self.take(plan, now, publish, effects);
                }
            }
            // It has subscribed with QoS 1. [MQTT-3.8.4-8]
            Delivery::ExactlyOnce { .. } => self.protest(plan, now, effects),
        }
    }

    /// PUBREL.
    fn released(&mut self, plan: &Plan, now: BootTime, id: PacketId, effects: &mut Effects) {
        let at = self.unreleased.iter().position(|unreleased| *unreleased == id);
        if let Some(at) = at {
            self.unreleased.swap_remove(at);
        }
        self.last_written = now;
        self.write(plan, &Packet::Pubcomp(found(plan, id, at.is_some())), effects);
    }

    fn protest(&mut self, plan: &Plan, now: BootTime, effects: &mut Effects) {
        effects.figures.count(Count::ProtocolError);
        self.hang_up(plan, now, effects);
    }

    fn take(&mut self, plan: &Plan, now: BootTime, publish: &Publish, effects: &mut Effects) {
        let Some(stamp) = Stamp::read(&publish.payload, plan.run) else { return };
        let (count, span, arrivals, of) = match stamp.kind {
            Kind::Command => {
                (Count::CommandReceived, Span::Down, &mut self.records.commands, Some(self.index))
            }
            // On a topic that devices share, others' messages come as well: they are not counted.
            Kind::Event => {
                (Count::EchoReceived, Span::Echo, &mut self.records.echoes, plan.heard_by(self.index))
            }
            // It is the backend side's; this device has subscribed to where it sends them.
            Kind::Answer => return,
        };
        if of != Some(stamp.device) {
            return;
        }
        effects.figures.count(count);
        if stamp.kind == Kind::Command && self.last_command.replace(stamp.sequence) >= Some(stamp.sequence) {
            effects.figures.count(Count::CommandOutOfTurn);
        }
        if arrivals.note(stamp.sequence) {
            effects.figures.took(span, now.since(stamp.intended));
            if stamp.kind == Kind::Command {
                self.answer_command(plan, now, stamp, publish, effects);
            }
        }
    }
}
