//! What goes wrong, done.

use super::World;
use crate::event::{End, Event, NodeId};
use crate::fault::{Direction, Disk, Fate, Fault, FaultKind, draw_kind};
use crate::socket::{Socket, SocketId};
use crate::story::Actor;
use crate::time::{MILLI, Micros};

impl World {
    pub(super) fn begin(&mut self, number: usize) {
        let kind = self.faults[number].kind;
        self.trace.note(self.at, format_args!("{kind:?}"));
        if self.goes_wrong(kind) {
            self.witness.fault(kind.name());
            self.story.mark(self.at, Actor::of_fault(kind), || format!("FAULT: {}", kind.name()));
        } else if number < self.settings.faults {
            // There was nothing to break: something else goes wrong, soon.
            let at = self.at + self.chance.between(50 * MILLI, 900 * MILLI);
            if at < self.settings.heals_at {
                self.faults[number].kind = draw_kind(&self.settings, &mut self.chance);
                self.agenda.put(at, Event::Fault { number });
            }
        }
    }

    /// False if there was nothing to break.
    fn goes_wrong(&mut self, kind: FaultKind) -> bool {
        let at = self.at;
        match kind {
            FaultKind::GatewayCrash { gateway, away } => self.gateway_crashes(gateway, away),
            FaultKind::RouterCrash { away } => self.router_crashes(away),
            FaultKind::BrokerCrash { away } => {
                let was_up = self.broker.is_up();
                if was_up {
                    self.broker.crash(&mut self.chance);
                    self.witness.broker_crashed(at);
                    self.broker_crashed();
                    self.agenda.put(at + away, Event::BrokerStarts);
                }
                was_up
            }
            FaultKind::CutConnection { node, end } => self.cut(node, end),
            FaultKind::Partition { node, lasts } => {
                self.is_unreachable(node, lasts);
                self.cut_all(node);
                true
            }
            FaultKind::OneWay { node, lost, fate, lasts } => {
                // Nobody shakes hands over one way.
                self.is_unreachable(node, lasts);
                match fate {
                    Fate::Survives => {
                        self.delay(node, Some(lost), lasts);
                        self.devices_may_slip_away(node);
                    }
                    Fate::Breaks => {
                        self.go_one_way(node, lost);
                        self.agenda.put(at + lasts, Event::ConnectionsBreak { node });
                    }
                }
                true
            }
            FaultKind::OneWayDevices { lost, one_in, lasts } => self.devices_go_one_way(lost, one_in, lasts),
            FaultKind::Delay { node, lasts } => {
                self.delay(node, None, lasts);
                self.devices_may_slip_away(node);
                true
            }
            FaultKind::Duplicate { node, end, after } => self.answers_are_lost(node, end, after),
            FaultKind::Storm { gateway } => self.cut_sockets(|_, of| of == gateway, true),
            FaultKind::HalfOpen { one_in } => {
                let draw = self.chance.bits();
                self.cut_sockets(|id, _| (id.0 ^ draw).is_multiple_of(one_in), false)
            }
            FaultKind::Pause { node, lasts } => self.stands_still(node, lasts),
            FaultKind::Sleep { node, lasts } => {
                let happens = self.stands_still(node, lasts);
                if happens {
                    self.cut_all(node);
                    if let NodeId::Gateway(gateway) = node {
                        self.cut_sockets(|_, of| of == gateway, false);
                    }
                }
                happens
            }
            FaultKind::Calendar { node, by_ms } => {
                match node {
                    NodeId::Gateway(index) => self.gateways[index].clock.ahead_ms += by_ms,
                    NodeId::Router => self.router.clock.ahead_ms += by_ms,
                    NodeId::Service => return false,
                }
                true
            }
            FaultKind::SlowDisk { lasts } => {
                self.slow_disk_until = self.slow_disk_until.max(at + lasts);
                true
            }
            FaultKind::FullDisk { disk: Disk::Spool(_), .. } if self.settings.spool.is_none() => false,
            FaultKind::FullDisk { disk, lasts } => {
                let until = self.full_until.entry(disk).or_default();
                *until = (*until).max(at + lasts);
                true
            }
            FaultKind::StalledQueue { queue, lasts } => {
                let until = self.stalled_until.entry(queue).or_default();
                *until = (*until).max(at + lasts);
                true
            }
            FaultKind::SlowDevices { one_in, lasts } => self.devices_do_not_read(one_in, lasts),
            FaultKind::SlowService { lasts } => {
                self.service.is_slow_until(at + lasts);
                self.agenda.put(at + lasts, Event::ServiceGoesOn);
                true
            }
            FaultKind::StuckConnection { node, end, lasts } => self.is_stuck(node, end, lasts),
            FaultKind::SlipAway { gateway } => self.devices_slip_away(gateway, true),
            FaultKind::Burst { burst, gateway, other } => {
                for (after, kind) in burst.faults(gateway, other, &mut self.chance) {
                    self.goes_wrong_later(after, kind);
                }
                true
            }
        }
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        let Some(trouble) = self.troubles.get_mut(&node) else { return };
        trouble.is_paused = false;
        self.story.mark(self.at, Some(Actor::of(node)), || "goes on".to_owned());
        let waiting = std::mem::take(&mut trouble.waiting);
        for event in waiting {
            self.step(event);
        }
    }

    /// Devices' connections that pass in one direction only break.
    pub(super) fn sockets_break(&mut self, sockets: &[SocketId]) {
        for &socket in sockets {
            if let Some(found) = self.sockets.get_mut(&socket) {
                found.is_cut = true;
            }
            for event in [Event::GatewayLoses { socket }, Event::DeviceLoses { socket }] {
                let at = self.at + self.finds_out_after();
                self.agenda.put(at, event);
            }
        }
    }

    fn gateway_crashes(&mut self, gateway: usize, away: Micros) -> bool {
        let node = NodeId::Gateway(gateway);
        let was_up = self.is_up(node);
        if was_up {
            self.gateways[gateway].crash(&mut self.chance);
            self.witness.crashed(node, self.at);
            self.sockets_crashed(gateway);
            self.crashed(node, away);
        }
        was_up
    }

    fn router_crashes(&mut self, away: Micros) -> bool {
        let was_up = self.is_up(NodeId::Router);
        if was_up {
            self.router.crash(&mut self.chance);
            self.witness.crashed(NodeId::Router, self.at);
            self.crashed(NodeId::Router, away);
        }
        was_up
    }

    /// A process is gone and comes back later.
    fn crashed(&mut self, node: NodeId, away: Micros) {
        self.client_crashed(node);
        let life = self.life(node);
        self.agenda.put(self.at + away, Event::Starts { node, life });
    }

    fn is_unreachable(&mut self, node: NodeId, lasts: Micros) {
        let until = self.at + lasts;
        let trouble = self.troubles.entry(node).or_default();
        trouble.unreachable_until = trouble.unreachable_until.max(until);
    }

    /// What passes takes so long, in one direction or in both.
    fn delay(&mut self, node: NodeId, which: Option<Direction>, lasts: Micros) {
        let until = self.at + lasts;
        let trouble = self.troubles.entry(node).or_default();
        if which != Some(Direction::In) {
            trouble.out_until = trouble.out_until.max(until);
        }
        if which != Some(Direction::Out) {
            trouble.in_until = trouble.in_until.max(until);
        }
    }

    /// Whoever does not reach the broker does not reach its devices either, half of the time. They find out and go elsewhere; the gateway
    /// believes in them until their keep alive is over.
    fn devices_may_slip_away(&mut self, node: NodeId) {
        let NodeId::Gateway(gateway) = node else { return };
        if self.chance.one_in(2) {
            return;
        }
        self.devices_slip_away(gateway, false);
    }

    /// A gateway's devices find out that they have lost it, loudly or in their own time; it does not. False if it has none.
    fn devices_slip_away(&mut self, gateway: usize, is_loud: bool) -> bool {
        let of_gateway = |socket: &Socket| socket.gateway == gateway && socket.at_device && !socket.is_cut;
        let sockets = self.sockets.iter_mut().filter(|(_, socket)| of_gateway(socket));
        let slipped: Vec<SocketId> = sockets
            .map(|(id, socket)| {
                socket.is_cut = true;
                *id
            })
            .collect();
        let happens = !slipped.is_empty();
        for socket in slipped {
            let after = if is_loud { self.chance.below(200 * MILLI) } else { self.finds_out_after() };
            self.agenda.put(self.at + after, Event::DeviceLoses { socket });
        }
        happens
    }

    /// What is written on a process's connection is late, on that one alone. False if there is none.
    fn is_stuck(&mut self, node: NodeId, end: End, lasts: Micros) -> bool {
        let made = self.ends.get(&(node, end)).and_then(|wire| self.wires.get_mut(wire));
        let Some(made) = made.filter(|made| !made.is_cut) else { return false };
        made.stuck_until = made.stuck_until.max(self.at + lasts);
        true
    }

    fn goes_wrong_later(&mut self, after: Micros, kind: FaultKind) {
        let at = self.at + after;
        self.faults.push(Fault { at, kind });
        self.agenda.put(at, Event::Fault { number: self.faults.len() - 1 });
    }

    fn answers_are_lost(&mut self, node: NodeId, end: End, after: Micros) -> bool {
        let Some(made) = self.ends.get(&(node, end)).and_then(|wire| self.wires.get_mut(wire)) else {
            return false;
        };
        made.loses_writes = true;
        self.goes_wrong_later(after, FaultKind::CutConnection { node, end });
        true
    }

    fn stands_still(&mut self, node: NodeId, lasts: Micros) -> bool {
        let trouble = self.troubles.entry(node).or_default();
        let happens = !trouble.is_paused;
        if happens {
            trouble.is_paused = true;
            self.agenda.put(self.at + lasts, Event::Resume { node });
        }
        happens
    }

    fn devices_go_one_way(&mut self, lost: Direction, one_in: u64, lasts: Micros) -> bool {
        let sockets = self.live_sockets(one_in);
        for socket in &sockets {
            let Some(socket) = self.sockets.get_mut(socket) else { continue };
            match lost {
                Direction::Out => socket.loses_to_gateway = true,
                Direction::In => socket.loses_to_device = true,
            }
        }
        let happens = !sockets.is_empty();
        self.agenda.put(self.at + lasts, Event::SocketsBreak { sockets });
        happens
    }

    fn devices_do_not_read(&mut self, one_in: u64, lasts: Micros) -> bool {
        let sockets = self.live_sockets(one_in);
        for id in &sockets {
            if let Some(socket) = self.sockets.get_mut(id) {
                (socket.deaf_until, socket.unread_bytes) = (self.at + lasts, 0);
            }
        }
        !sockets.is_empty()
    }

    /// One in so many of the connections that both ends believe in.
    fn live_sockets(&mut self, one_in: u64) -> Vec<SocketId> {
        let draw = self.chance.bits();
        let live = self.sockets.iter().filter(|(id, socket)| {
            let is_drawn = (id.0 ^ draw).is_multiple_of(one_in);
            is_drawn && socket.at_gateway && socket.at_device && !socket.is_cut
        });
        live.map(|(id, _)| *id).collect()
    }

    /// Devices' connections break; if it is loud, both ends know soon.
    fn cut_sockets(&mut self, which: impl Fn(SocketId, usize) -> bool, is_loud: bool) -> bool {
        let cut: Vec<SocketId> = self
            .sockets
            .iter_mut()
            .filter(|(id, socket)| {
                socket.at_gateway && socket.at_device && !socket.is_cut && which(**id, socket.gateway)
            })
            .map(|(id, socket)| {
                socket.is_cut = true;
                *id
            })
            .collect();
        for &socket in &cut {
            for event in [Event::GatewayLoses { socket }, Event::DeviceLoses { socket }] {
                let after = if is_loud { self.chance.below(200 * MILLI) } else { self.finds_out_after() };
                self.agenda.put(self.at + after, event);
            }
        }
        !cut.is_empty()
    }
}
