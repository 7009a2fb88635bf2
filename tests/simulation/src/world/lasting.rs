//! What lasts while everybody is in touch has to be right: by then whoever has to hear of it has heard.

use std::collections::BTreeMap;

use roost_router::decide::ParkReason;
use roost_wire::{Device, Epoch};

use super::World;
use crate::gateway::HEARTBEAT;
use crate::service::ghosts;
use crate::socket::SocketId;
use crate::time::{Micros, SECOND};

/// How long is long: many round trips, and a question that is asked again.
const LONG: Micros = 15 * SECOND;
/// An answer to a heartbeat may be so late.
const LATE: Micros = 2 * SECOND;

/// How things have stood since when; nothing while somebody is out of touch.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    in_touch_since: Option<Micros>,
    devices: BTreeMap<Device, (Micros, Stand)>,
}

/// How things stand with one device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stand {
    /// Its connections that gateways have accepted and believe in.
    live: Vec<(SocketId, String)>,
    /// Where the router believes that it is connected.
    believed: Option<String>,
    /// The connection over which it has subscribed.
    subscribed: Option<SocketId>,
    /// Why a command for it would wait.
    waits: &'static str,
    /// The hold that has had a command outstanding for long, at a gateway which has none at all.
    missing: Option<(String, Epoch)>,
}

impl World {
    /// Looks at everything once a second.
    pub(super) fn witness_lasting(&mut self) {
        let mut live = self.live();
        // What a gateway does not name is not known where it has more to name than the router reads.
        let named = |index: usize| live.values().flatten().filter(|(_, at)| *at == index).count();
        let list_max = self.router.limits().list_max;
        let fits = (0..self.gateways.len()).all(|index| named(index) <= list_max);
        if !fits || !self.is_in_touch() {
            self.lasting = Lasting::default();
            return;
        }
        let in_touch_since = *self.lasting.in_touch_since.get_or_insert(self.at);
        let in_touch_long = self.at - in_touch_since >= LONG;
        let names = self.devices.iter().map(|device| device.name.clone()).chain(ghosts());
        let names: Vec<Device> = names.collect();
        for (index, name) in names.into_iter().enumerate() {
            let live = live.remove(&index).unwrap_or_default();
            let Some(mut stand) = self.stand(index, &name, live) else { continue };
            stand.missing.take_if(|_| !in_touch_long);
            let lasts = self.lasting.devices.entry(name.clone()).or_insert_with(|| (self.at, stand.clone()));
            if lasts.1 != stand {
                *lasts = (self.at, stand);
                continue;
            }
            let broken = stand.broken(&name, self.at - lasts.0);
            // It is told once, and again only if it lasts as long once more.
            if let Some(broken) = broken {
                lasts.0 = self.at;
                self.witness.violation(format!("{broken}, at {} µs", self.at));
            }
        }
    }

    /// Whether nothing is wrong with any process, disk or connection, and everybody is answered in time.
    fn is_in_touch(&self) -> bool {
        let (at, lease) = (self.at, self.settings.lease);
        let is_over = |until: &Micros| *until <= at;
        let is_well = self.troubles.values().all(|trouble| {
            let untils = [trouble.unreachable_until, trouble.out_until, trouble.in_until];
            !trouble.is_paused && untils.iter().all(is_over)
        });
        let takes_all = self.slow_disk_until <= at
            && self.full_until.values().all(is_over)
            && self.stalled_until.values().all(is_over);
        let is_heard = |gateway: &crate::gateway::GatewayNode| {
            let left = gateway.lease_left(at);
            gateway.is_up() && left + HEARTBEAT + std::time::Duration::from_micros(LATE) >= lease
        };
        is_well
            && takes_all
            && self.broker.is_up()
            && self.router.core().is_some_and(|core| core.has_run() && core.is_recovered())
            && self.gateways.iter().all(is_heard)
            && self.router.hears(at) == self.gateways.len()
    }

    /// Each device's connections that gateways have accepted and believe in, and at which gateways.
    fn live(&self) -> BTreeMap<usize, Vec<(SocketId, usize)>> {
        let mut live: BTreeMap<usize, Vec<(SocketId, usize)>> = BTreeMap::new();
        for (id, socket) in &self.sockets {
            let is_live = socket.at_gateway && socket.is_accepted;
            if is_live && self.gateways[socket.gateway].life == socket.life {
                live.entry(socket.device).or_default().push((*id, socket.gateway));
            }
        }
        live
    }

    fn stand(&self, index: usize, name: &Device, live: Vec<(SocketId, usize)>) -> Option<Stand> {
        let explained = self.router.core()?.explain(self.router.clock.read(self.at), name);
        let gateway = |index: usize| self.gateways[index].id.as_str().to_owned();
        let live = live.into_iter().map(|(id, index)| (id, gateway(index))).collect();
        let believed = explained.location.filter(|_| explained.online == Some(true));
        let mailbox = explained.mailbox;
        let holder = self.gateways.iter().find(|gateway| Some(&gateway.id) == mailbox.held_by.as_ref());
        let has_none = holder.and_then(super::GatewayNode::gauges).is_some_and(|gauges| gauges.commands == 0);
        // On a long path each is there only for a moment, one after the other.
        let is_old = mailbox.unanswered_ms.is_some_and(|ms| ms * 1000 >= LONG);
        let missing = mailbox.held_by.zip(mailbox.epoch).filter(|_| has_none && is_old);
        Some(Stand {
            live,
            believed: believed.map(|location| location.gateway.as_str().to_owned()),
            subscribed: self.devices.get(index).and_then(super::Device::settled_at),
            waits: explained.decision.reason,
            missing: missing.map(|(gateway, epoch)| (gateway.as_str().to_owned(), epoch)),
        })
    }
}

impl Stand {
    /// What is wrong if it has stood so for so long, in words.
    fn broken(&self, name: &Device, lasts: Micros) -> Option<String> {
        let Self { live, believed, subscribed, waits, missing } = self;
        if let Some((gateway, epoch)) = missing {
            return Some(format!(
                "a command of {name} has been at {gateway} in epoch {epoch} for {} s and more, and it has none",
                LONG / SECOND
            ));
        }
        if lasts < LONG {
            return None;
        }
        let for_long = format!("for {} s, and everybody is in touch", lasts / SECOND);
        if live.len() > 1 {
            return Some(format!("{name} has had the sessions {live:?} {for_long}"));
        }
        let real = live.first().map(|(_, gateway)| gateway);
        if real != believed.as_ref() {
            return Some(format!("{name} has been at {real:?} {for_long}, the router believes {believed:?}"));
        }
        if *waits == ParkReason::Asking.as_str() {
            return Some(format!("the router has asked who has {name} {for_long}"));
        }
        // One that has its commands gets more of them; how long it takes to answer is its own affair.
        let is_its_own = ["", ParkReason::WindowFull.as_str(), ParkReason::HoldEnding.as_str()];
        if subscribed.is_some() && real.is_some() && !is_its_own.contains(waits) {
            return Some(format!("{name} has subscribed, and its commands have waited {for_long}: {waits}"));
        }
        None
    }
}
