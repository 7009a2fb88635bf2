//! AMQP connections between processes and the broker.

use roost_backend::embedded::core::{Operation, Reply};

use super::World;
use crate::amqp::broker::BrokerEffects;
use crate::amqp::consumer::consumed_on;
use crate::amqp::{FromBroker, ToBroker, WireId};
use crate::event::{End, Event, NodeId};
use crate::fault::Direction;
use crate::story::{Actor, Channel};
use crate::time::{MILLI, Micros, SECOND};

/// One TCP connection to the broker.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) node: NodeId,
    pub(super) end: End,
    /// Nothing passes any more, and neither end needs to know.
    pub(super) is_cut: bool,
    /// What the client writes is lost: a connection that is about to break.
    pub(super) loses_writes: bool,
    /// What the broker writes is lost: a connection that is about to break.
    pub(super) loses_reads: bool,
    /// What the client writes arrives no sooner.
    pub(super) stuck_until: Micros,
    /// Whether the client believes in it.
    at_client: bool,
    /// What is written arrives in order.
    to_broker_free: Micros,
    to_client_free: Micros,
}

impl World {
    pub(super) fn connect(&mut self, node: NodeId, life: u32, end: End) {
        if self.life(node) != life || !self.is_up(node) || self.ends.contains_key(&(node, end)) {
            return;
        }
        let unreachable_until = self.troubles.get(&node).map_or(0, |trouble| trouble.unreachable_until);
        if !self.broker.is_up() || unreachable_until > self.at {
            return self.connect_later(node, end);
        }
        let wire = WireId(self.next_wire);
        let effects = match node {
            NodeId::Gateway(index) => self.gateways[index].connect(end),
            NodeId::Router => self.router.connect(end),
            NodeId::Service => self.service.connect(end),
        };
        if effects.is_empty() {
            return;
        }
        self.next_wire += 1;
        self.ends.insert((node, end), wire);
        let made = Wire {
            node,
            end,
            is_cut: false,
            loses_writes: false,
            loses_reads: false,
            stuck_until: 0,
            at_client: true,
            to_broker_free: 0,
            to_client_free: 0,
        };
        self.wires.insert(wire, made);
        self.perform(node, effects);
    }

    pub(super) fn connect_later(&mut self, node: NodeId, end: End) {
        let (life, at) = (self.life(node), self.at + self.chance.between(50 * MILLI, 2 * SECOND));
        self.agenda.put(at, Event::Connect { node, life, end });
    }

    pub(super) fn write(&mut self, node: NodeId, end: End, frames: Vec<ToBroker>) {
        let Some(&wire) = self.ends.get(&(node, end)) else { return };
        for frame in frames {
            self.carry(wire, frame);
        }
    }

    fn carry(&mut self, wire: WireId, frame: ToBroker) {
        let latency = self.latency();
        let Some(made) = self.wires.get_mut(&wire) else { return };
        let between = (Actor::of(made.node), Actor::Broker);
        let items = self.story.of_client(&frame);
        if made.is_cut || made.loses_writes {
            return self.story.lost(self.at, between, items);
        }
        self.story.sent(Channel::ToBroker(wire), self.at, between, items);
        let delayed_until = self.troubles.get(&made.node).map_or(0, |trouble| trouble.out_until);
        let free = made.to_broker_free.max(self.at + latency);
        made.to_broker_free = free.max(delayed_until).max(made.stuck_until);
        self.agenda.put(made.to_broker_free, Event::BrokerReads { wire, frame });
    }

    pub(super) fn broker_reads(&mut self, wire: WireId, frame: ToBroker) {
        let passes = self.wires.get(&wire).is_some_and(|made| !made.is_cut) && self.broker.is_up();
        self.story.arrives(Channel::ToBroker(wire), self.at, passes);
        if self.wires.get(&wire).is_none_or(|made| made.is_cut) {
            return;
        }
        let is_taken = passes && !self.broker.is_blocked(wire);
        if let (true, ToBroker::Operation(_, Operation::Publish(publication))) = (is_taken, &frame) {
            self.witness.broker_has(self.at, &publication.routing_key, &publication.body);
        }
        let closes = matches!(frame, ToBroker::Close);
        let effects = self.broker.handle(self.at, wire, frame);
        if closes {
            self.wires.remove(&wire);
        }
        self.broker_wants(effects);
    }

    pub(super) fn broker_loses(&mut self, wire: WireId) {
        if self.wires.get(&wire).is_some_and(|made| !made.at_client) {
            self.wires.remove(&wire);
        }
        let effects = self.broker.lost(self.at, wire);
        self.broker_wants(effects);
    }

    pub(super) fn broker_wants(&mut self, effects: BrokerEffects) {
        let life = self.broker.life;
        for (wire, frame) in effects.to_clients {
            let latency = self.latency();
            let Some(made) = self.wires.get_mut(&wire) else { continue };
            let between = (Actor::Broker, Actor::of(made.node));
            let items = self.story.of_broker(&frame);
            if made.is_cut || made.loses_reads {
                self.story.lost(self.at, between, items);
                continue;
            }
            self.story.sent(Channel::FromBroker(wire, channel_of(&frame)), self.at, between, items);
            let delayed_until = self.troubles.get(&made.node).map_or(0, |trouble| trouble.in_until);
            made.to_client_free = made.to_client_free.max(self.at + latency).max(delayed_until);
            let mut at = made.to_client_free;
            if (made.node, made.end) == (NodeId::Router, End::Reports) {
                let queues = self.stalled_until.iter();
                let stalled = queues.filter(|(queue, _)| consumed_on(queue.place()) == channel_of(&frame));
                at = stalled.map(|(_, until)| *until).fold(at, Micros::max);
            }
            self.agenda.put(at, Event::ClientReads { wire, frame });
        }
        if let Some(lsn) = effects.sync {
            let at = self.at + self.chance.between(100, self.settings.sync_max);
            self.agenda.put(at, Event::BrokerSynced { life, lsn });
        }
        if let Some(at) = effects.tick {
            self.agenda.put(at, Event::BrokerTick { life });
        }
    }

    pub(super) fn client_reads(&mut self, wire: WireId, frame: FromBroker) {
        let passes = self.wires.get(&wire).is_some_and(|made| !made.is_cut && made.at_client);
        self.story.arrives(Channel::FromBroker(wire, channel_of(&frame)), self.at, passes);
        let Some(made) = self.wires.get(&wire).filter(|made| !made.is_cut && made.at_client) else { return };
        let (node, end) = (made.node, made.end);
        if let FromBroker::Reply(_, Reply::Deliver { delivery, .. }) = &frame {
            let effects = self.broker.taken(self.at, wire, delivery.cost_bytes());
            self.broker_wants(effects);
        }
        let effects = match node {
            NodeId::Gateway(index) => self.gateways[index].hear(self.at, end, frame),
            NodeId::Router => self.router.hear(self.at, end, frame),
            NodeId::Service => self.service.hear(self.at, end, frame),
        };
        self.perform(node, effects);
    }

    pub(super) fn client_loses(&mut self, wire: WireId) {
        let Some(made) = self.wires.get_mut(&wire).filter(|made| made.at_client) else { return };
        made.at_client = false;
        let (node, end) = (made.node, made.end);
        self.client_lost(node, end);
    }

    /// The client closes its connection, if it has one, and perhaps makes another.
    pub(super) fn hang_up(&mut self, node: NodeId, end: End, again: bool) {
        if let Some(wire) = self.ends.remove(&(node, end)) {
            self.carry(wire, ToBroker::Close);
            if let Some(made) = self.wires.get_mut(&wire) {
                made.at_client = false;
                if made.loses_writes {
                    // The broker does not read the farewell either.
                    self.cut_wire(wire);
                }
            }
        }
        if again {
            self.connect_later(node, end);
        }
    }

    /// The client gives up links that do not answer.
    pub(super) fn give_up_overdue(&mut self) {
        let mut overdue: Vec<(NodeId, End)> = Vec::new();
        for (index, gateway) in self.gateways.iter_mut().enumerate() {
            let node = NodeId::Gateway(index);
            overdue.extend(gateway.overdue(self.at).into_iter().map(|end| (node, end)));
        }
        overdue.extend(self.router.overdue(self.at).into_iter().map(|end| (NodeId::Router, end)));
        if self.service.is_overdue(self.at) {
            overdue.push((NodeId::Service, End::Publisher));
        }
        for (node, end) in overdue {
            if self.troubles.get(&node).is_some_and(|trouble| trouble.is_paused) {
                continue;
            }
            self.witness.note("a confirm was overdue");
            self.client_lost(node, end);
        }
    }

    fn client_lost(&mut self, node: NodeId, end: End) {
        let effects = match node {
            NodeId::Gateway(index) => self.gateways[index].lost(self.at, end),
            NodeId::Router => self.router.lost(self.at, end),
            NodeId::Service => self.service.lost(self.at, end),
        };
        self.perform(node, effects);
    }

    /// The connection breaks; each side finds out in its own time.
    pub(super) fn cut(&mut self, node: NodeId, end: End) -> bool {
        let Some(&wire) = self.ends.get(&(node, end)) else { return false };
        self.cut_wire(wire);
        true
    }

    fn cut_wire(&mut self, wire: WireId) {
        let Some(made) = self.wires.get_mut(&wire).filter(|made| !made.is_cut) else { return };
        made.is_cut = true;
        for event in [Event::BrokerLoses { wire }, Event::ClientLoses { wire }] {
            let at = self.at + self.finds_out_after();
            self.agenda.put(at, event);
        }
    }

    /// Every connection of a process breaks.
    pub(super) fn cut_all(&mut self, node: NodeId) {
        let wires: Vec<WireId> =
            self.wires.iter().filter(|(_, made)| made.node == node).map(|(wire, _)| *wire).collect();
        for wire in wires {
            self.cut_wire(wire);
        }
    }

    /// The connections of a process that pass in one direction only break.
    pub(super) fn connections_break(&mut self, node: NodeId) {
        let is_meant = |made: &Wire| made.node == node && (made.loses_writes || made.loses_reads);
        let wires: Vec<WireId> =
            self.wires.iter().filter(|(_, made)| is_meant(made)).map(|(wire, _)| *wire).collect();
        for wire in wires {
            self.cut_wire(wire);
        }
    }

    /// From now on nothing passes in that direction, until they break.
    pub(super) fn go_one_way(&mut self, node: NodeId, lost: Direction) {
        for made in self.wires.values_mut().filter(|made| made.node == node) {
            match lost {
                Direction::Out => made.loses_writes = true,
                Direction::In => made.loses_reads = true,
            }
        }
    }

    /// A process is gone: the broker finds out in its own time, and reads what was on its way before.
    pub(super) fn client_crashed(&mut self, node: NodeId) {
        self.ends.retain(|(of, _), _| *of != node);
        let wires = self.wires.iter_mut().filter(|(_, made)| made.node == node && made.at_client);
        let mut gone = Vec::new();
        for (wire, made) in wires {
            made.at_client = false;
            if !made.is_cut {
                gone.push((*wire, made.to_broker_free));
            }
        }
        for (wire, after) in gone {
            let at = after.max(self.at) + self.finds_out_after();
            self.agenda.put(at, Event::BrokerLoses { wire });
        }
    }

    /// The broker is gone.
    pub(super) fn broker_crashed(&mut self) {
        let wires: Vec<WireId> = self.wires.keys().copied().collect();
        for wire in wires {
            let Some(made) = self.wires.get_mut(&wire) else { continue };
            if !made.at_client {
                self.wires.remove(&wire);
                continue;
            }
            let is_news = !made.is_cut;
            made.is_cut = true;
            if is_news {
                let at = self.at + self.finds_out_after();
                self.agenda.put(at, Event::ClientLoses { wire });
            }
        }
    }

    /// At once when a machine resets the connection, late when nothing answers.
    pub(super) fn finds_out_after(&mut self) -> Micros {
        match self.chance.one_in(2) {
            true => self.chance.between(100, 50 * MILLI),
            false => self.chance.between(50 * MILLI, 15 * SECOND),
        }
    }
}

/// On which channel a message is delivered; 0 for everything else.
fn channel_of(frame: &FromBroker) -> u16 {
    match frame {
        FromBroker::Reply(channel, Reply::Deliver { .. }) => channel.0,
        FromBroker::Reply(..) | FromBroker::Refused(_) | FromBroker::Blocked | FromBroker::Unblocked => 0,
    }
}
