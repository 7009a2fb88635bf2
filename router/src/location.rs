//! Where each device is, as far as the router knows.
//!
//! A record says at which gateway, in which session, and whether it is still there. The newer of two acceptances wins: within
//! one incarnation by its own clock; between gateways by intervals on the router's clock if these are disjoint, however late the
//! sighting arrived; and if they overlap, the last to arrive wins, until both can be asked. A device that has gone is known
//! to be *away*, which refuses nothing: the next acceptance of any session takes its place.

use std::collections::{BTreeMap, BTreeSet};

use roost_wire::{BootTime, Device, GatewayId, Incarnation, Now, Region, SessionId};

use crate::clock::Interval;

/// Where one device is, or was last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// At which gateway.
    pub gateway: GatewayId,
    /// In which region.
    pub region: Region,
    /// In which run of the gateway.
    pub incarnation: Incarnation,
    /// In which session.
    pub session: SessionId,
    /// When that session's CONNECT was accepted, on the incarnation's clock.
    pub accepted_at: BootTime,
    /// The same on the router's clock; none while that clock has no bounds.
    pub interval: Option<Interval>,
    /// When the router learnt it.
    pub since: Now,
    /// Whether the session is connected. If not, `since` is when it went.
    pub online: bool,
}

/// What became of an acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It is the device's location now.
    Taken {
        /// The location before, if that session was online.
        rival: Option<Box<Location>>,
        /// The device that is forgotten to make room.
        forgotten: Option<Device>,
    },
    /// It was the location already.
    Known,
    /// The location is newer: the session that was announced must be closed.
    Older,
}

/// The table. Bounded by [`crate::Limits::locations_max`]: then the device that has been away longest becomes unknown, and if none
/// is away, the one that was learnt longest ago. A command for it is a question, and no message is lost.
#[derive(Debug, Default)]
pub struct Locations {
    by_device: BTreeMap<Device, Location>,
    by_gateway: BTreeMap<GatewayId, BTreeSet<Device>>,
    /// Who is forgotten first: those that are away, then those that were heard of longest ago.
    order: BTreeSet<(bool, BootTime, Device)>,
    online: usize,
    max: usize,
}

impl Locations {
    /// An empty table for at most `max` devices.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Where a device is.
    #[must_use]
    pub fn find(&self, device: &Device) -> Option<&Location> {
        self.by_device.get(device)
    }

    /// How many devices are recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_device.len()
    }

    /// How many of them are connected.
    #[must_use]
    pub fn online(&self) -> usize {
        self.online
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_device.is_empty()
    }

    /// How many devices are recorded at a gateway, away ones included.
    #[must_use]
    pub fn at(&self, gateway: &GatewayId) -> usize {
        self.by_gateway.get(gateway).map_or(0, BTreeSet::len)
    }

    /// How many devices are recorded as connected at a gateway. It looks at each.
    #[must_use]
    pub fn online_at(&self, gateway: &GatewayId) -> usize {
        let recorded = self.by_gateway.get(gateway).into_iter().flatten();
        recorded.filter(|device| self.by_device.get(*device).is_some_and(|found| found.online)).count()
    }

    /// Takes in an acceptance.
    pub fn accept(&mut self, device: &Device, new: Location) -> Acceptance {
        let mut forgotten = None;
        let rival = match self.by_device.get(device) {
            None => {
                forgotten = (self.by_device.len() >= self.max).then(|| self.forget_one()).flatten();
                None
            }
            Some(old) if !old.online => None,
            Some(old) if old.is_same_session(&new) => return Acceptance::Known,
            Some(old) if new.is_older_than(old) => return Acceptance::Older,
            Some(old) => Some(Box::new(old.clone())),
        };
        self.insert(device, new);
        Acceptance::Taken { rival, forgotten }
    }

    /// A session has ended: compare and mark away. The location as it was, if it was this session's.
    pub fn gone(
        &mut self,
        now: Now,
        device: &Device,
        gateway: &GatewayId,
        incarnation: Incarnation,
        session: SessionId,
    ) -> Option<Location> {
        let found = self.by_device.get_mut(device)?;
        let same = found.gateway == *gateway && found.incarnation == incarnation && found.session == session;
        if !same || !found.online {
            return None;
        }
        self.order.remove(&found.place_in_order(device));
        found.online = false;
        self.online -= 1;
        found.since = now;
        self.order.insert(found.place_in_order(device));
        Some(found.clone())
    }

    /// A complete list of the gateway's sessions has been read: devices that are recorded there and not listed are away. Those
    /// that were online.
    pub fn keep_only(
        &mut self,
        now: Now,
        gateway: &GatewayId,
        listed: &BTreeSet<Device>,
    ) -> Vec<(Device, Location)> {
        let Some(recorded) = self.by_gateway.get(gateway) else { return Vec::new() };
        let missing: Vec<Device> = recorded.difference(listed).cloned().collect();
        let mut gone = Vec::new();
        for device in missing {
            let Some(found) = self.by_device.get(&device) else { continue };
            let (incarnation, session) = (found.incarnation, found.session);
            if let Some(location) = self.gone(now, &device, gateway, incarnation, session) {
                gone.push((device, location));
            }
        }
        gone
    }

    /// A new incarnation of a gateway: all records of older ones are void, and their devices unknown. Those that were online.
    pub fn void(&mut self, gateway: &GatewayId, incarnation: Incarnation) -> Vec<(Device, Location)> {
        let Some(recorded) = self.by_gateway.get(gateway) else { return Vec::new() };
        let is_old = |device: &&Device| {
            self.by_device.get(*device).is_some_and(|location| location.incarnation != incarnation)
        };
        let old: Vec<Device> = recorded.iter().filter(is_old).cloned().collect();
        let removed = old.into_iter().filter_map(|device| self.remove(&device).map(|was| (device, was)));
        removed.collect::<Vec<_>>().into_iter().filter(|(_, was)| was.online).collect()
    }

    fn insert(&mut self, device: &Device, new: Location) {
        self.remove(device);
        self.by_gateway.entry(new.gateway.clone()).or_default().insert(device.clone());
        self.order.insert(new.place_in_order(device));
        self.online += usize::from(new.online);
        self.by_device.insert(device.clone(), new);
    }

    fn remove(&mut self, device: &Device) -> Option<Location> {
        let old = self.by_device.remove(device)?;
        self.order.remove(&old.place_in_order(device));
        self.online -= usize::from(old.online);
        if let Some(recorded) = self.by_gateway.get_mut(&old.gateway) {
            recorded.remove(device);
            if recorded.is_empty() {
                self.by_gateway.remove(&old.gateway);
            }
        }
        Some(old)
    }

    fn forget_one(&mut self) -> Option<Device> {
        let (_, _, device) = self.order.first().cloned()?;
        self.remove(&device).map(|_| device)
    }
}

impl Location {
    fn place_in_order(&self, device: &Device) -> (bool, BootTime, Device) {
        (self.online, self.since.boot, device.clone())
    }

    fn is_same_session(&self, other: &Self) -> bool {
        self.gateway == other.gateway
            && self.incarnation == other.incarnation
            && self.session == other.session
    }

    /// The rule for which of two acceptances is the newer one, said of the one that arrives later.
    fn is_older_than(&self, other: &Self) -> bool {
        if self.gateway == other.gateway {
            // Of another incarnation there is no record: it was voided when this one was first seen.
            return (self.accepted_at, self.session) < (other.accepted_at, other.session);
        }
        match (&self.interval, &other.interval) {
            (Some(this), Some(that)) => that.is_after(this),
            (None, _) | (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests;
