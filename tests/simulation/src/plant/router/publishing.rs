//! What the router says, altered.

use roost_router::{Publication, PublishToken, Queue, RouterCore};
use roost_wire::{
    Control, ControlReport, Delivery, Device, Epoch, GatewayId, Message, MessageId, Now, QuestionId,
    RouterRun, SessionId, ShardId, SyncNumber,
};

use super::{
    Break, Fate, Given, RouterPlant, UNCHECKED, absent, gateway_at, inbox_of, is_contested, made_up,
};
use crate::plant::ANY_SESSION;

impl RouterPlant {
    /// What becomes of what the core wants published.
    pub(crate) fn publishes(
        &mut self,
        core: &RouterCore,
        now: Now,
        token: PublishToken,
        what: Publication,
    ) -> Fate {
        let publish = |what| Fate::Publish(vec![(token, what)]);
        match (self.which, what) {
            (None, what) => publish(what),
            (Some(Break::MarkerReadAtOnce), what @ Publication::Marker { .. }) => {
                Fate::Swallow(vec![(Queue::Settlements, what.into_message(ShardId(0)))])
            }
            (Some(Break::ReceiptsOnce), what @ Publication::Receipt { .. }) => {
                self.once.insert(token);
                publish(what)
            }
            (Some(Break::DeadLettersUnchecked), Publication::Receipt { to, mut receipt }) => {
                let id = receipt.message_id.as_ref().and_then(|id| id.as_str().strip_suffix(UNCHECKED));
                if let Some(id) = id {
                    receipt.message_id = Some(MessageId::parse(id).expect("it was one"));
                }
                publish(Publication::Receipt { to, receipt })
            }
            (Some(_), Publication::Control { queue, report }) => {
                self.controls(core, now, token, (queue, report))
            }
            (Some(_), Publication::Delivery { gateway, inbox, delivery }) => {
                if let Some(location) = core.explain(now, &delivery.device).location {
                    let given = Given {
                        at: now.boot,
                        gateway: gateway.clone(),
                        incarnation: location.incarnation,
                        inbox: inbox.clone(),
                        delivery: delivery.clone(),
                    };
                    self.given.insert(delivery.id, given);
                }
                let device = delivery.device.clone();
                let is_set_aside = self.unsubscribed.remove(&delivery.id);
                let one = (token, Publication::Delivery { gateway, inbox, delivery });
                if is_set_aside {
                    self.aside.insert(device, one);
                    return Fate::Publish(Vec::new());
                }
                let behind = self.aside.remove(&device);
                Fate::Publish([one].into_iter().chain(behind).collect())
            }
            (Some(_), what) => publish(what),
        }
    }

    fn controls(
        &mut self,
        core: &RouterCore,
        now: Now,
        token: PublishToken,
        (queue, mut report): (String, Box<ControlReport>),
    ) -> Fate {
        let (mut others, run) = (Vec::new(), report.run);
        match self.which {
            Some(Break::RivalsStayOpen) => {
                report.items.retain(|item| !matches!(item, Control::Close { .. }));
            }
            Some(Break::AskOneOfTwo) => {
                if let Some(answer) = answer_for_the_asked(core, now, &queue, &report) {
                    return Fate::Swallow(vec![(Queue::Sightings, answer)]);
                }
            }
            Some(Break::NeverAsk) => report.items.retain(|item| !is_doubt(core, now, item)),
            Some(Break::CopiesInDoubt) => {
                for item in report.items.extract_if(.., |item| is_doubt(core, now, item)) {
                    if let Control::Ask { question, device } = item {
                        others.extend(self.copy(core, now, &queue, (question, run), &device));
                    }
                }
            }
            Some(Break::ResendAtTimeout) if report.items.contains(&Control::Sync) => {
                others.extend(self.unanswered_at(core, now, &queue));
            }
            Some(_) | None => {}
        }
        // Nobody waits for the outcome of a word, so one name does for all.
        let mut all: Vec<_> = others.into_iter().map(|other| (token, other)).collect();
        if !report.items.is_empty() {
            all.push((token, Publication::Control { queue, report }));
        }
        if all.is_empty() { Fate::Swallow(Vec::new()) } else { Fate::Publish(all) }
    }

    /// A copy of a device's first command for the gateway that was to be asked.
    fn copy(
        &mut self,
        core: &RouterCore,
        now: Now,
        queue: &str,
        (question, run): (QuestionId, RouterRun),
        device: &Device,
    ) -> Option<Publication> {
        let view = gateway_at(core, now, queue)?;
        let inbox = inbox_of(&view)?;
        let of_device = core.journal().live().filter(|live| live.command.request.device == *device);
        let first = of_device.min_by_key(|live| live.command.sequence)?;
        let (request, id) = (&first.command.request, core.journal().command_id(first.command.sequence));
        let remaining = first.command.deadline.since(now.wall).as_millis();
        let delivery = Box::new(Delivery {
            id,
            device: device.clone(),
            session: SessionId(ANY_SESSION),
            epoch: Epoch { run, counter: 0 },
            sync: SyncNumber::default(),
            attempt: 1,
            expires_in_ms: u64::try_from(remaining).unwrap_or(u64::MAX),
            topic: request.topic.clone(),
            payload: request.payload.clone(),
            qos: request.qos,
            content_type: None,
            correlation_id: None,
            user_properties: Vec::new(),
            trace: None,
        });
        self.copies.insert((view.gateway.clone(), id), (question, run));
        Some(Publication::Delivery { gateway: view.gateway, inbox, delivery })
    }

    /// What was given to the gateway so long ago that it is asked what it holds.
    fn unanswered_at(&mut self, core: &RouterCore, now: Now, queue: &str) -> Vec<Publication> {
        let Some(view) = gateway_at(core, now, queue) else { return Vec::new() };
        let timeout = self.settle_timeout;
        let is_overdue =
            |given: &&mut Given| given.gateway == view.gateway && now.boot.since(given.at) >= timeout;
        let again = |given: &mut Given| {
            given.at = now.boot;
            let Given { gateway, inbox, delivery, .. } = given.clone();
            Publication::Delivery { gateway, inbox, delivery }
        };
        self.given.values_mut().filter(is_overdue).map(again).collect()
    }
}

/// Whether it is the question who has a device of which nothing is known.
fn is_doubt(core: &RouterCore, now: Now, item: &Control) -> bool {
    matches!(item, Control::Ask { device, .. } if !is_contested(core, now, device))
}

/// Two gateways claim a device: the one that was heard of later is not asked, and "absent" is heard instead.
fn answer_for_the_asked(core: &RouterCore, now: Now, queue: &str, report: &ControlReport) -> Option<Message> {
    let [Control::Ask { question, device }] = report.items.as_slice() else { return None };
    let claimants: Vec<GatewayId> = core.explain(now, device).decision.gateways;
    let view = gateway_at(core, now, queue)?;
    let is_later =
        claimants.len() > 1 && claimants.iter().position(|claimant| *claimant == view.gateway)? > 0;
    if !is_later || !is_contested(core, now, device) {
        return None;
    }
    Some(made_up(&absent(view, *question, report.run, device.clone())))
}
