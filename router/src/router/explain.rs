//! The questions of people, answered from the state and changing nothing.

use std::time::Duration;

use roost_wire::{Device, MessageId, Now, Offline};

use super::RouterCore;
use crate::custody::Mailbox;
use crate::decide::{Decision, Facts, ParkReason, decide};
use crate::explain::{DecisionView, Explanation, GatewayView, LocationView, MailboxView};
use crate::gateway::Standing;
use crate::location::Location;
use crate::timeline::TimelineView;

impl RouterCore {
    /// Where a device is, how sure that is, what waits for it, and what a send would do right now.
    #[must_use]
    pub fn explain(&self, now: Now, device: &Device) -> Explanation {
        let found = self.locations.find(device);
        let mailbox = self.mailboxes.get(device);
        let fresh =
            Facts { offline: Offline::Park, unanswered: 0, unanswered_max: self.limits.unanswered_max };
        let decision = decide(&self.whereabouts(now, device), fresh);
        let waits = mailbox.is_some_and(|mailbox| mailbox.waiting_count() > 0);
        let blocked_by = match (&decision, waits) {
            (_, false) => None,
            (_, true) if mailbox.is_some_and(|mailbox| mailbox.is_resting) => Some(
                "the gateway gave the first command back a moment ago; it is offered again within a second"
                    .to_owned(),
            ),
            (Decision::Forward(_), true) => Some("the first command is being written to disk".to_owned()),
            (Decision::Ask(_) | Decision::Park(_) | Decision::Reject(_), true) => Some(decision.words()),
        };
        Explanation {
            device: device.clone(),
            online: found.map(|found| found.online),
            location: found.map(|found| self.location_view(now, device, found)),
            mailbox: MailboxView {
                blocked_by,
                ..mailbox.map(|mailbox| mailbox_view(now, mailbox)).unwrap_or_default()
            },
            decision: self.decision_view(device, &decision),
        }
    }

    /// What happened to the commands with that message id, the newest first; those for one device, if one is named. Empty if
    /// none is remembered: the router keeps the steps of those that it took last, since it started.
    #[must_use]
    pub fn why(&self, id: &MessageId, device: Option<&Device>) -> Vec<TimelineView> {
        let known = |sequence| {
            let of = |device: &Device, message_id: &MessageId| (device.clone(), message_id.clone());
            if let Some(live) = self.journal.command(sequence) {
                return Some(of(&live.command.request.device, &live.command.request.message_id));
            }
            let receipt = &self.journal.final_at(sequence)?.receipt;
            Some(of(&receipt.device, receipt.message_id.as_ref()?))
        };
        let view = |sequence| {
            let (its, message_id) = known(sequence)?;
            let is_meant = message_id == *id && device.is_none_or(|device| its == *device);
            let command_id = self.journal.command_id(sequence);
            is_meant.then(|| self.timelines.view(&its, &message_id, command_id)).flatten()
        };
        self.timelines.sequences().filter_map(view).collect()
    }

    /// The gateways that are known, in the order of their names.
    #[must_use]
    pub fn gateways(&self, now: Now) -> Vec<GatewayView> {
        let view = |(id, gateway): (&roost_wire::GatewayId, &crate::gateway::Gateway)| GatewayView {
            gateway: id.clone(),
            region: gateway.region.clone(),
            incarnation: gateway.incarnation,
            link: gateway.link(),
            standing: match gateway.standing(self.durable) {
                Standing::Ready => "ready",
                Standing::NotReady => "not_ready",
                Standing::Lapsed => "lapsed",
            },
            draining: gateway.draining,
            sessions: gateway.sessions,
            located: self.locations.at(id),
            holds: gateway.holding.len(),
            answered_ago_ms: gateway.answered_at.map(|at| millis(now.boot.since(at))),
            sync: gateway.sync_number(),
            offset_micros: gateway.bounds.offset_micros(now.boot),
        };
        self.gateways.iter().map(view).collect()
    }

    /// How many devices are in the location table.
    #[must_use]
    pub fn located(&self) -> usize {
        self.locations.len()
    }

    fn decision_view(&self, device: &Device, decision: &Decision) -> DecisionView {
        let (kind, reason) = decision.labels();
        let gateways = match decision {
            Decision::Forward(gateway) => vec![gateway.clone()],
            Decision::Ask(gateways) => gateways.clone(),
            Decision::Park(ParkReason::Contested) => self.locations.claimants(device),
            Decision::Park(_) | Decision::Reject(_) => Vec::new(),
        };
        DecisionView { kind, reason, words: decision.words(), gateways }
    }

    fn location_view(&self, now: Now, device: &Device, found: &Location) -> LocationView {
        let gateway = self.gateways.get(&found.gateway);
        let answered_ago = gateway.and_then(|gateway| gateway.answered_at).map(|at| now.boot.since(at));
        let lease_runs = gateway.is_some_and(|gateway| gateway.standing(self.durable) != Standing::Lapsed);
        let accepted_within_micros = found.interval.and_then(|interval| interval.width_micros());
        let sure = match (found.online, lease_runs, accepted_within_micros) {
            _ if self.locations.is_contested(device) => {
                let names = self.locations.claimants(device);
                let names: Vec<&str> = names.iter().map(roost_wire::GatewayId::as_str).collect();
                format!("not sure: {} claim it and are being asked; this is what was so before", names.join(" and "))
            }
            (false, _, _) => "sure: its gateway said that the session ended".to_owned(),
            (true, false, _) => "in doubt: its gateway's lease has lapsed".to_owned(),
            (true, true, Some(micros)) => {
                format!("sure: its gateway's lease runs, and the session's beginning is known within {micros} µs")
            }
            (true, true, None) => {
                "sure of the gateway, whose lease runs; the session's beginning can't be compared with another gateway's yet"
                    .to_owned()
            }
        };
        LocationView {
            gateway: found.gateway.clone(),
            region: found.region.clone(),
            incarnation: found.incarnation,
            session: found.session,
            since: found.since.wall,
            age_ms: millis(now.boot.since(found.since.boot)),
            accepted_within_micros,
            answered_ago_ms: answered_ago.map(millis),
            lease_runs,
            sure,
        }
    }
}

fn mailbox_view(now: Now, mailbox: &Mailbox) -> MailboxView {
    let hold = mailbox.hold.as_ref();
    MailboxView {
        waiting: mailbox.waiting_count(),
        waiting_bytes: mailbox.waiting_bytes(),
        outstanding: hold.map_or(0, |hold| hold.outstanding.len()),
        unanswered_ms: mailbox.oldest_given_at().map(|at| millis(now.boot.since(at))),
        epoch: hold.map(|hold| hold.epoch),
        held_by: hold.map(|hold| hold.gateway.clone()),
        hold_is_ending: hold.is_some_and(|hold| hold.is_ending),
        blocked_by: None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
