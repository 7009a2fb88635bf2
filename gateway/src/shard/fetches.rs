//! Sessions that are asked for.
//!
//! ```text
//!              CONNECT, clean start 0          answer, arrival, bound
//!   (nothing) ─────────────────────► waiting ─────────────────────────► accepted
//!                                     ▲   │ its connection ends
//!                      CONNECT again, │   ▼
//!                      asked anew     └─ left ──── arrival ────► kept, away, asked about when its device comes
//!                                         └─ 30 s, any answer ─► forgotten
//! ```
//! A CONNECT of the same device takes the place of the one that waits; one that wants a clean start ends it, and what still comes
//! is dropped.

use std::collections::BTreeMap;

use roost_wire::{BootTime, Device, SessionRequest};

use crate::ConnectionId;
use crate::packet::Connect;

/// The sessions that a shard has asked for. Bounded by [`crate::Limits::fetches_max`].
#[derive(Debug, Default)]
pub(super) struct Fetches {
    by_device: BTreeMap<Device, Fetch>,
    by_request: BTreeMap<SessionRequest, Device>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) request: SessionRequest,
    /// The request before it and when that began, of a CONNECT whose place it has taken: its session may come still.
    pub(super) earlier: Option<(SessionRequest, BootTime)>,
    pub(super) began: BootTime,
    /// Whether the router was asked. It is not yet where none has spoken since the start, for a session that was read from the store.
    pub(super) is_asked: bool,
    /// Who waits; none if the device has left.
    pub(super) waiting: Option<(ConnectionId, Box<Connect>)>,
}

impl Fetches {
    pub(super) fn len(&self) -> usize {
        self.by_device.len()
    }

    pub(super) fn insert(&mut self, device: Device, fetch: Fetch) {
        self.by_request.insert(fetch.request, device.clone());
        self.by_device.insert(device, fetch);
    }

    /// Whether a CONNECT of that device waits.
    pub(super) fn has_waiting(&self, device: &Device) -> bool {
        self.by_device.get(device).is_some_and(|fetch| fetch.waiting.is_some())
    }

    /// Ends what is asked for a device.
    pub(super) fn remove(&mut self, device: &Device) -> Option<Fetch> {
        let fetch = self.by_device.remove(device)?;
        self.by_request.remove(&fetch.request);
        Some(fetch)
    }

    /// Ends one that is answered.
    pub(super) fn take(&mut self, request: SessionRequest, device: &Device) -> Option<Fetch> {
        self.by_device.get(device).filter(|fetch| fetch.request == request)?;
        self.remove(device)
    }

    /// When what is asked for a device was asked for under that number, if that was before the number that it has now.
    pub(super) fn earlier(&self, request: SessionRequest, device: &Device) -> Option<BootTime> {
        let (number, began) = self.by_device.get(device)?.earlier?;
        (number == request).then_some(began)
    }

    /// One that the router was not asked for yet.
    pub(super) fn next_unasked(&self) -> Option<Device> {
        self.by_device.iter().find(|(_, fetch)| !fetch.is_asked).map(|(device, _)| device.clone())
    }

    pub(super) fn find(&mut self, request: SessionRequest) -> Option<(Device, &mut Fetch)> {
        let device = self.by_request.get(&request)?.clone();
        let fetch = self.by_device.get_mut(&device)?;
        Some((device, fetch))
    }
}
