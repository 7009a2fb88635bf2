//! What the router reads of where devices are, altered.

use roost_router::{Queue, RouterCore};
use roost_wire::{
    BootTime, CommandId, GatewayId, Heartbeat, Message, Now, Outcome, Present, ReturnReason,
    SettlementReport, Sighting, SightingReport,
};

use super::{Break, Given, RouterPlant, is_contested, like};

/// By how much a wrong bound is off.
const OFF: std::time::Duration = std::time::Duration::from_secs(5);

impl RouterPlant {
    pub(super) fn sightings(
        &mut self,
        core: &RouterCore,
        now: Now,
        mut report: SightingReport,
        message: &Message,
    ) -> Vec<(Queue, Message)> {
        let runs = self.runs.entry(report.gateway.clone()).or_default();
        if !runs.contains(&report.incarnation) {
            runs.push(report.incarnation);
        }
        let newest = runs.last().copied().filter(|newest| *newest != report.incarnation);
        let offset =
            || core.gateways(now).into_iter().find(|view| view.gateway == report.gateway)?.offset_micros;
        let mut behind = Vec::new();
        match self.which {
            Some(Break::ForgetWithoutCompare) => {
                return without_compare(core, now, report, message);
            }
            Some(Break::ForwardToTheAway) => {
                report.items.retain(|item| !matches!(item, Sighting::Gone { .. }));
            }
            Some(Break::GoneIgnoredInAQuestion) => report.items.retain(
                |item| !matches!(item, Sighting::Gone { device, .. } if is_contested(core, now, device)),
            ),
            Some(Break::BelieveTheVoided) => {
                if let Some(newest) = newest {
                    report.incarnation = newest;
                    report.items.retain(|item| !matches!(item, Sighting::Heartbeat(_)));
                }
            }
            Some(Break::LastToArriveWins) => {
                if let Some((low, _)) = offset() {
                    for item in &mut report.items {
                        if let Sighting::Accepted(present) = item {
                            // Behind everything that was ever read.
                            let moment = now.boot.as_micros() as i64 - low;
                            present.accepted_at = BootTime::from_micros(moment.max(0) as u64);
                        }
                    }
                }
            }
            Some(Break::ClocksAsTheyAre) => beats(&mut report).for_each(|beat| {
                beat.sent_at = now.boot;
                if let Some(echo) = &mut beat.echo {
                    echo.read_at = echo.answered_at;
                }
            }),
            Some(Break::BoundsWithoutTheMoment) if report.gateway.as_str() == "eu-1" => {
                beats(&mut report).for_each(|beat| {
                    beat.sent_at = beat.sent_at + OFF;
                    if let Some(echo) = &mut beat.echo {
                        echo.read_at = echo.read_at + OFF;
                    }
                });
            }
            Some(Break::AnnouncementsOnlyAdd) => {
                for item in &mut report.items {
                    if let Sighting::Snapshot { last, .. } = item {
                        *last = false;
                    }
                }
            }
            Some(Break::NextHoldAtOnce) => {
                for item in &report.items {
                    if let Sighting::Accepted(present) = item {
                        behind.extend(self.returned_for(&report.gateway, present));
                    }
                }
            }
            Some(_) | None => {}
        }
        let first = (Queue::Sightings, like(message, &report));
        [first]
            .into_iter()
            .chain(behind.into_iter().map(|report| (Queue::Settlements, like(message, &report))))
            .collect()
    }

    /// What is outstanding for a device that has been seen in another session, as if it had come back.
    fn returned_for(&mut self, at: &GatewayId, present: &Present) -> Vec<SettlementReport> {
        let is_left = |given: &Given| {
            given.delivery.device == present.device
                && (given.gateway != *at || given.delivery.session != present.session)
        };
        let left: Vec<CommandId> =
            self.given.iter().filter(|(_, given)| is_left(given)).map(|(command, _)| *command).collect();
        let returned = |command| {
            let given = self.given.remove(&command)?;
            let outcome = Outcome::Returned { reason: ReturnReason::HoldEnded };
            Some(given.settled(command, outcome))
        };
        left.into_iter().filter_map(returned).collect()
    }
}

fn beats(report: &mut SightingReport) -> impl Iterator<Item = &mut Heartbeat> {
    report.items.iter_mut().filter_map(|item| match item {
        Sighting::Heartbeat(beat) => Some(beat),
        _ => None,
    })
}

/// The report as several, in each of which "gone" names the session and gateway that the router believes in, so that its
/// comparison always holds.
fn without_compare(
    core: &RouterCore,
    now: Now,
    report: SightingReport,
    message: &Message,
) -> Vec<(Queue, Message)> {
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
        reports.push((Queue::Sightings, like(message, &one)));
    }
    reports
}
