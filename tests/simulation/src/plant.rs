//! Rules broken on purpose, each by the shell and none by a core: the simulation must find every one of them.

use roost_router::RouterCore;
use roost_wire::mesh::Report as _;
use roost_wire::{Message, Now, Sighting, SightingReport};

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The router is told that a record is durable when it is only written: rule 2 of the flow down.
    AcknowledgeBeforeFsync,
    /// Gateways deliver for as long as they live, whatever their lease: rule 7 of the flow down.
    TwoHolders,
    /// "Gone" removes the location whoever said it, of whichever session: rule 4 of "which sighting is newer".
    ForgetWithoutCompare,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AcknowledgeBeforeFsync, Self::TwoHolders, Self::ForgetWithoutCompare];

    /// The break's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeFsync => "acknowledge-before-fsync",
            Self::TwoHolders => "two-holders",
            Self::ForgetWithoutCompare => "forget-without-compare",
        }
    }
}

/// The report as several, in each of which "gone" names the session and gateway that the router believes in, so that its
/// comparison always holds.
pub(crate) fn without_compare(core: &RouterCore, now: Now, message: &Message) -> Vec<Message> {
    let report = SightingReport::from_body(&message.body).expect("the gateways' are readable");
    let as_report = |report: &SightingReport| Message { body: report.to_body(), ..message.clone() };
    let mut reports = Vec::new();
    for item in report.items {
        let mut one = SightingReport {
            gateway: report.gateway.clone(),
            region: report.region.clone(),
            incarnation: report.incarnation,
            link: report.link,
            items: vec![item],
        };
        if let [Sighting::Gone { device, session }] = one.items.as_mut_slice()
            && let Some(location) = core.explain(now, device).location
        {
            *session = location.session;
            (one.gateway, one.region) = (location.gateway, location.region);
            one.incarnation = location.incarnation;
        }
        reports.push(as_report(&one));
    }
    reports
}
