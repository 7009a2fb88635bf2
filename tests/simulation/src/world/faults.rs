//! What goes wrong, done.

use super::World;
use crate::event::{Event, NodeId};
use crate::fault::FaultKind;
use crate::socket::SocketId;
use crate::time::MILLI;

impl World {
    pub(super) fn begin(&mut self, number: usize) {
        let kind = self.faults[number].kind;
        let at = self.at;
        self.trace.note(at, format_args!("{kind:?}"));
        let happened = match kind {
            FaultKind::GatewayCrash { gateway, away } => {
                let node = NodeId::Gateway(gateway);
                let was_up = self.is_up(node);
                if was_up {
                    self.gateways[gateway].crash(&mut self.chance);
                    self.witness.crashed(node, at);
                    self.sockets_crashed(gateway);
                    self.crashed(node, away);
                }
                was_up
            }
            FaultKind::RouterCrash { away } => {
                let was_up = self.is_up(NodeId::Router);
                if was_up {
                    self.router.crash(&mut self.chance);
                    self.witness.crashed(NodeId::Router, at);
                    self.crashed(NodeId::Router, away);
                }
                was_up
            }
            FaultKind::BrokerCrash { away } => {
                let was_up = self.broker.is_up();
                if was_up {
                    self.broker.crash(&mut self.chance);
                    self.broker_crashed();
                    self.agenda.put(at + away, Event::BrokerStarts);
                }
                was_up
            }
            FaultKind::CutConnection { node, end } => self.cut(node, end),
            FaultKind::Partition { node, lasts } => {
                let trouble = self.troubles.entry(node).or_default();
                trouble.unreachable_until = trouble.unreachable_until.max(at + lasts);
                self.cut_all(node);
                true
            }
            FaultKind::Delay { node, lasts } => {
                let trouble = self.troubles.entry(node).or_default();
                trouble.delayed_until = trouble.delayed_until.max(at + lasts);
                true
            }
            FaultKind::Duplicate { node, end, after } => {
                let made = self.ends.get(&(node, end)).and_then(|wire| self.wires.get_mut(wire));
                let happens = made.is_some();
                if let Some(made) = made {
                    made.loses_writes = true;
                    self.faults.push(crate::fault::Fault {
                        at: at + after,
                        kind: FaultKind::CutConnection { node, end },
                    });
                    self.agenda.put(at + after, Event::Fault { number: self.faults.len() - 1 });
                }
                happens
            }
            FaultKind::Storm { gateway } => self.cut_sockets(|_, of| of == gateway, true),
            FaultKind::HalfOpen { one_in } => {
                let draw = self.chance.bits();
                self.cut_sockets(|id, _| (id.0 ^ draw).is_multiple_of(one_in), false)
            }
            FaultKind::Pause { node, lasts } => {
                let trouble = self.troubles.entry(node).or_default();
                let happens = !trouble.is_paused;
                if happens {
                    trouble.is_paused = true;
                    self.agenda.put(at + lasts, Event::Resume { node });
                }
                happens
            }
            FaultKind::SlowDisk { lasts } => {
                self.slow_disk_until = self.slow_disk_until.max(at + lasts);
                true
            }
        };
        if happened {
            self.witness.fault(kind.name());
        }
    }

    pub(super) fn resume(&mut self, node: NodeId) {
        let Some(trouble) = self.troubles.get_mut(&node) else { return };
        trouble.is_paused = false;
        let waiting = std::mem::take(&mut trouble.waiting);
        for event in waiting {
            self.step(event);
        }
    }

    /// A process is gone and comes back later.
    fn crashed(&mut self, node: NodeId, away: u64) {
        self.client_crashed(node);
        let life = self.life(node);
        self.agenda.put(self.at + away, Event::Starts { node, life });
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
