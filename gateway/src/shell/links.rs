//! How the gateway's three AMQP links fare.

use roost_backend::shell::{DownKind, DownReason};
use roost_ops::LinkCounts;

/// Which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkName {
    /// Publishes events.
    Uplink,
    /// Publishes sightings and settlements.
    Mesh,
    /// Consumes commands and what the router says.
    Inbox,
}

/// The counts of all three.
#[derive(Debug)]
pub(super) struct Links {
    uplink: LinkCounts,
    mesh: LinkCounts,
    inbox: LinkCounts,
}

impl Links {
    pub(super) fn new() -> Self {
        let counts = |link| LinkCounts::new(link, DownKind::ALL.map(DownKind::as_str));
        Self { uplink: counts("uplink"), mesh: counts("mesh"), inbox: counts("inbox") }
    }

    pub(super) fn up(&mut self, link: LinkName) {
        self.of(link).up();
    }

    pub(super) fn down(&mut self, link: LinkName, reason: &DownReason) {
        self.of(link).down(reason.kind().as_str());
    }

    pub(super) fn blocked(&mut self, link: LinkName, is_blocked: bool) {
        self.of(link).blocked(is_blocked);
    }

    pub(super) fn counts(&self) -> Vec<LinkCounts> {
        vec![self.uplink.clone(), self.mesh.clone(), self.inbox.clone()]
    }

    fn of(&mut self, link: LinkName) -> &mut LinkCounts {
        match link {
            LinkName::Uplink => &mut self.uplink,
            LinkName::Mesh => &mut self.mesh,
            LinkName::Inbox => &mut self.inbox,
        }
    }
}
