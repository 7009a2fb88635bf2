//! What a device does with what it gets.

use roost_gateway::packet::{Ack, Delivery, Packet, PacketId, Publish, ReasonCode};
use roost_wire::BootTime;

use super::{Device, Effects, State};
use crate::{Count, Kind, Plan, Span, Stamp};

impl Device {
    pub(super) fn receive(&mut self, plan: &Plan, now: BootTime, packet: Packet, effects: &mut Effects) {
        if !self.has_transport() {
            return; // it was hung up while this was on its way
        }
        match packet {
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => {
                self.accepted(plan, now, effects);
            }
            Packet::Connack(connack) => {
                effects.refused = Some(connack.reason);
                effects.figures.count(Count::ConnectRefused);
                self.hang_up(plan, now, effects);
            }
            Packet::Suback(suback) => {
                let refused = suback.reasons.iter().filter(|reason| is_error(**reason)).count();
                effects.figures.count_many(Count::SubscribeRefused, refused as u64);
                if matches!(self.state, State::Subscribing { .. }) {
                    self.come_online(plan, now, effects);
                }
            }
            Packet::Puback(ack) => self.acknowledged(now, &ack, effects),
            Packet::Publish(publish) => self.arrived(plan, now, &publish, effects),
            Packet::Pingresp => self.ping_sent = None,
            // The broker says why it goes; that it is gone follows.
            Packet::Disconnect(_) => {}
            Packet::Connect(_)
            | Packet::Pubrec(_)
            | Packet::Pubrel(_)
            | Packet::Pubcomp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::Unsuback(_)
            | Packet::Pingreq
            | Packet::Auth(_) => {
                effects.figures.count(Count::ProtocolError);
                self.hang_up(plan, now, effects);
            }
        }
    }

    fn acknowledged(&mut self, now: BootTime, ack: &Ack, effects: &mut Effects) {
        let Some(at) = self.in_flight.iter().position(|message| message.id == ack.packet_id) else {
            effects.figures.count(Count::ProtocolError);
            return;
        };
        let message = self.in_flight.remove(at).expect("it was found there");
        effects.figures.in_flight -= 1;
        // "No matching subscribers" is a success: the broker has it, and nobody wanted it.
        match is_error(ack.reason) {
            true => effects.figures.count(Count::PublishRefused),
            false => {
                effects.figures.count(Count::Acknowledged);
                effects.figures.took(Span::Publish, now.since(message.due));
                self.records.acknowledged.insert(message.sequence);
            }
        }
    }

    fn arrived(&mut self, plan: &Plan, now: BootTime, publish: &Publish, effects: &mut Effects) {
        if let Some(stamp) = Stamp::read(&publish.payload, plan.run) {
            self.note(now, stamp, effects);
        }
        match publish.delivery {
            Delivery::AtMostOnce => {}
            Delivery::AtLeastOnce { packet_id, .. } => self.answer(plan, now, packet_id, effects),
            Delivery::ExactlyOnce { .. } => {
                // It has subscribed with QoS 1. [MQTT-3.8.4-8]
                effects.figures.count(Count::ProtocolError);
                self.hang_up(plan, now, effects);
            }
        }
    }

    fn note(&mut self, now: BootTime, stamp: Stamp, effects: &mut Effects) {
        let (count, span, arrivals) = match stamp.kind {
            Kind::Command => (Count::CommandReceived, Span::Down, &mut self.records.commands),
            // On a topic that devices share, others' messages come as well: they are not counted.
            Kind::Event => (Count::EchoReceived, Span::Echo, &mut self.records.echoes),
        };
        if stamp.device != self.index {
            return;
        }
        effects.figures.count(count);
        if arrivals.note(stamp.sequence) {
            effects.figures.took(span, now.since(stamp.intended));
        }
    }

    fn answer(&mut self, plan: &Plan, now: BootTime, packet_id: PacketId, effects: &mut Effects) {
        self.last_written = now;
        self.write(plan, &Packet::Puback(Ack::success(packet_id)), effects);
    }
}

fn is_error(reason: ReasonCode) -> bool {
    reason.byte() >= 0x80
}
