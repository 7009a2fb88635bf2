//! What the router reads of commands, altered.

use roost_router::RouterCore;
use roost_wire::{
    GatewayId, Incarnation, LinkId, Now, Outcome, ReturnReason, Settlement, SettlementItem, SettlementReport,
};

use super::{Break, Given, Instead, RouterPlant, absent, is_contested};

impl RouterPlant {
    /// Item by item what is read instead.
    pub(super) fn settlements(
        &mut self,
        core: &RouterCore,
        now: Now,
        (gateway, incarnation, link): (GatewayId, Incarnation, LinkId),
        items: Vec<SettlementItem>,
    ) -> Vec<Instead> {
        let mut instead = Vec::new();
        for item in items {
            let one = match item {
                SettlementItem::Settled(settlement) => match self.settled(core, now, &gateway, settlement) {
                    Ok(settlement) => SettlementItem::Settled(settlement),
                    Err(other) => {
                        instead.extend(other);
                        continue;
                    }
                },
                SettlementItem::Subscribed { .. } if self.is(Break::NobodyTellsOfSubscribing) => continue,
                SettlementItem::Sync { number, first, last, .. } if self.is(Break::SyncForgetsTheListed) => {
                    SettlementItem::Sync { number, first, last, in_flight: Vec::new() }
                }
                SettlementItem::Sync { number, first, last: true, mut in_flight }
                    if self.is(Break::SyncKeepsTheMissing) =>
                {
                    let is_there =
                        |given: &Given| given.gateway == gateway && given.incarnation == incarnation;
                    let there = self.given.iter().filter(|(_, given)| is_there(given));
                    in_flight.extend(there.map(|(command, given)| given.in_flight(*command)));
                    SettlementItem::Sync { number, first, last: true, in_flight }
                }
                other @ (SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. }) => other,
            };
            let gateway = gateway.clone();
            let items = vec![one];
            instead.push(Instead::Settlements(SettlementReport::Gateway {
                gateway,
                incarnation,
                link,
                items,
            }));
        }
        instead
    }

    /// One answer, or what is read in its place.
    fn settled(
        &mut self,
        core: &RouterCore,
        now: Now,
        gateway: &GatewayId,
        mut settlement: Settlement,
    ) -> Result<Settlement, Option<Instead>> {
        let Settlement { command, device, epoch, outcome, .. } = settlement.clone();
        if let Some((question, run)) = self.copies.remove(&(gateway.clone(), command))
            && !outcome.is_success()
        {
            let view = core.gateways(now).into_iter().find(|view| view.gateway == *gateway);
            return Err(view.map(|view| Instead::Sightings(absent(view, question, run, device))));
        }
        let given = self.given.get(&command).cloned();
        let is_other = given.as_ref().is_some_and(|given| given.delivery.epoch != epoch);
        if !is_other {
            self.given.remove(&command);
        }
        match self.which {
            Some(Break::AnswersOfOtherHolds) => {
                if let Some(given) = given.filter(|_| is_other && !outcome.is_success()) {
                    let outcome = match outcome {
                        // Where the device is, is another question.
                        Outcome::Gone { .. } => Outcome::Returned { reason: ReturnReason::HoldEnded },
                        other => other,
                    };
                    return Err(Some(Instead::Settlements(given.settled(command, outcome))));
                }
            }
            Some(Break::DeliveredOfThisHoldOnly) => {
                let hold = core.explain(now, &device).mailbox.epoch;
                if outcome.is_success() && hold != Some(epoch) {
                    return Err(None);
                }
            }
            Some(Break::OvertakeTheUnsubscribed) => {
                if outcome == Outcome::NoSubscription {
                    self.unsubscribed.insert(command);
                }
            }
            // Nobody is to learn of it, and nothing is to go round in a circle: such commands rest for a second.
            Some(Break::ForwardToTheAway) => {
                if let Outcome::Gone { .. } = outcome {
                    settlement.outcome = Outcome::Returned { reason: ReturnReason::Draining };
                }
            }
            Some(Break::GoneIgnoredInAQuestion) => {
                if matches!(outcome, Outcome::Gone { .. }) && is_contested(core, now, &device) {
                    settlement.outcome = Outcome::Returned { reason: ReturnReason::HoldEnded };
                }
            }
            Some(_) | None => {}
        }
        Ok(settlement)
    }
}
