//! What one life of the router has read and taken, word for word: what it believes and publishes afterwards has to agree with that.

use std::collections::{BTreeMap, BTreeSet};

use roost_router::{Lsn, Queue, RouterCore};
use roost_wire::mesh::Report as _;
use roost_wire::{
    CommandId, Delivery, Device, GatewayId, Incarnation, Message, Now, Outcome, SessionId, SettlementItem,
    SettlementReport, Sighting, SightingReport,
};

/// Notes it, and says what contradicts it.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Sessions that are gone, each with the last record at that moment: what was decided before is published when that is on disk.
    gone: BTreeMap<Session, Lsn>,
    /// Commands that were delivered or sent, the same way.
    delivered: BTreeMap<CommandId, Lsn>,
    /// Everything that waited for records up to this one is published.
    published: Lsn,
    /// The places of the commands that were taken into custody.
    taken: BTreeSet<u64>,
}

/// A session by all its names: its gateway's run as inboxes are named after it.
type Session = (Device, String, SessionId);

impl Read {
    /// Everything that waited for records up to this one is published.
    pub(super) fn has_published(&mut self, lsn: Lsn) {
        self.published = lsn;
    }

    /// A command is taken into custody.
    pub(super) fn takes(&mut self, sequence: u64) {
        self.taken.insert(sequence);
    }

    pub(super) fn has_taken(&self, sequence: u64) -> bool {
        self.taken.contains(&sequence)
    }

    /// The core has read a message. What it believes against that, in words.
    pub(super) fn note(
        &mut self,
        core: &RouterCore,
        now: Now,
        queue: Queue,
        message: &Message,
    ) -> Option<String> {
        match queue {
            Queue::Sightings => {
                let report = SightingReport::from_body(&message.body).ok()?;
                self.sightings(core, now, report)
            }
            Queue::Settlements => {
                let Ok(SettlementReport::Gateway { gateway, incarnation, items, .. }) =
                    SettlementReport::from_body(&message.body)
                else {
                    return None;
                };
                let settled = items.into_iter().filter_map(|item| match item {
                    SettlementItem::Settled(settlement) => Some(settlement),
                    SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. } => None,
                });
                for settlement in settled {
                    match settlement.outcome {
                        Outcome::Delivered | Outcome::Sent => {
                            self.delivered.entry(settlement.command).or_insert(core.last());
                        }
                        Outcome::Gone { .. } => {
                            let run = inboxes(&gateway, incarnation);
                            self.gone.insert((settlement.device, run, settlement.session), core.last());
                        }
                        _ => {}
                    }
                }
                None
            }
            Queue::Commands | Queue::Expired => None,
        }
    }

    fn sightings(&mut self, core: &RouterCore, now: Now, report: SightingReport) -> Option<String> {
        let SightingReport { gateway, incarnation, items, .. } = report;
        let run = inboxes(&gateway, incarnation);
        let mut ended = BTreeSet::new();
        for item in items {
            let present = match item {
                Sighting::Gone { device, session } => {
                    self.gone.insert((device.clone(), run.clone(), session), core.last());
                    ended.insert((device, session));
                    continue;
                }
                // Whatever it says is there is there again, since everything may be delivered again.
                Sighting::Accepted(present)
                | Sighting::Claim { present, .. }
                | Sighting::HoldsSession { present, connected: true, .. } => vec![present],
                Sighting::Snapshot { present, .. } => present,
                _ => continue,
            };
            for present in present {
                self.gone.remove(&(present.device.clone(), run.clone(), present.session));
                ended.remove(&(present.device, present.session));
            }
        }
        ended.into_iter().find_map(|(device, session)| {
            let explained = core.explain(now, &device);
            let believed = explained.location.filter(|_| explained.online == Some(true))?;
            let is_it = believed.gateway == gateway
                && believed.incarnation == incarnation
                && believed.session == session;
            let what = format!("session {session} of {device} at {gateway}");
            is_it.then(|| format!("the router has read that {what} is gone, and believes in it"))
        })
    }

    /// What is wrong with giving this command to that inbox, in words.
    pub(super) fn forbids(&self, inbox: &str, delivery: &Delivery) -> Option<String> {
        let is_before = |lsn: &Lsn| *lsn <= self.published;
        let Delivery { id, device, session, payload, .. } = delivery;
        let what = format!("{} for {device} is given to {inbox}", String::from_utf8_lossy(payload));
        if self.delivered.get(id).is_some_and(is_before) {
            return Some(format!("{what}, and the router has read that it was delivered"));
        }
        let (run, _) = inbox.rsplit_once('.')?;
        let gone = self.gone.get(&(device.clone(), run.to_owned(), *session));
        gone.is_some_and(is_before)
            .then(|| format!("{what}, and the router has read that session {session} is gone"))
    }
}

/// What the names of a run's inboxes have before their links.
fn inboxes(gateway: &GatewayId, incarnation: Incarnation) -> String {
    format!("roost.inbox.{gateway}.{incarnation}")
}
