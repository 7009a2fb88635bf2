//! The rules, as arithmetic over what was sent, what arrived and what was said. Asked once, when all is quiet.

mod receipts;

use std::collections::{BTreeMap, BTreeSet};

use roost_backend::contract;
use roost_gateway::UplinkOrder;
use roost_wire::{Device, Event, GatewayId, Message, PresenceState, Receipt, ReceiptReason, ReceiptState};

use crate::service::{ANSWERS, EVENTS, RECEIPTS};
use crate::time::Micros;
use crate::witness::Arrival;
use crate::world::World;

/// Every broken rule of a run that is over, in words.
pub(crate) fn check(world: &mut World) -> Vec<String> {
    let mut broken = std::mem::take(&mut world.witness.violations);
    if !world.broker.is_up() {
        return broken;
    }
    let events = world.broker.drain(world.at, EVENTS);
    let receipts = world.broker.drain(world.at, RECEIPTS);
    let answers = world.broker.drain(world.at, ANSWERS);
    let dead = world.broker.drain(world.at, contract::DEAD);
    broken.extend(receipts::are_the_routers(&receipts));
    broken.extend(receipts::say_the_same_again(&receipts));
    broken.extend(receipts::come_in_order(&world.witness.tellings));
    let receipts: Vec<Receipt> = receipts
        .iter()
        .map(|message| serde_json::from_slice(&message.body).expect("the router's receipts are readable"))
        .collect();
    let judged = Judged::new(world, receipts);
    broken.extend(events_are_all_there(world, &events));
    broken.extend(events_are_worked_or_dead(world, &dead));
    broken.extend(events_are_in_order(world, &events));
    broken.extend(judged.finals());
    broken.extend(judged.answers_are_with_their_senders(world, &answers));
    broken.extend(judged.receipts_are_honest(world));
    broken.extend(judged.commands_are_in_order(world));
    broken.extend(judged.order_is_as_sent(world));
    broken.extend(judged.duplicates_are_excused(world));
    broken.extend(judged.commands_have_one_id(world));
    broken.extend(one_session_each(world));
    broken.extend(locations_are_right(world));
    broken.extend(presence_is_right(world));
    broken.extend(queues_are_empty(world));
    broken
}

/// Acknowledged − arrived = lost.
fn events_are_all_there(world: &World, events: &[Message]) -> Vec<String> {
    let arrived: BTreeSet<(Device, String)> = events.iter().map(event).collect();
    let safe = world.witness.safe_events.iter();
    let lost = safe.filter(|(device, number)| {
        !arrived.contains(&(world.devices[*device].name.clone(), number.to_string()))
    });
    lost.map(|(device, number)| format!("event {number} of device {device} was acknowledged and is lost"))
        .collect()
}

/// What a service's full queue refused is with the dead; everything else was taken.
fn events_are_worked_or_dead(world: &World, dead: &[Message]) -> Vec<String> {
    // Rejected commands are there too.
    let dead = dead.iter().filter_map(|message| Event::from_message(message).ok());
    let dead: BTreeSet<(Device, String)> =
        dead.map(|event| (event.device, String::from_utf8_lossy(&event.payload).into_owned())).collect();
    let mut broken = Vec::new();
    for (device, number) in &world.witness.safe_events {
        let event = (world.devices[*device].name.clone(), number.to_string());
        if !world.service.worked.contains(&event) && !dead.contains(&event) {
            broken
                .push(format!("event {number} of device {device} is neither taken by the service nor dead"));
        }
    }
    broken
}

/// The first arrivals of a device's events are in the order in which it sent them. What is spooled is safe at one gateway while the
/// device publishes on at another: then this holds of what came through each; and with `fresh` the newest come first.
fn events_are_in_order(world: &World, events: &[Message]) -> Vec<String> {
    let order = world.settings.spool.as_ref().map(|(order, _)| *order);
    if order == Some(UplinkOrder::Fresh) {
        return Vec::new();
    }
    let mut newest: BTreeMap<(Device, Option<GatewayId>), u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for message in events {
        let (device, payload) = event(message);
        let gateway = order.map(|_| Event::from_message(message).expect("it was read before").gateway);
        let number: u64 = payload.parse().expect("devices publish numbers");
        if !seen.insert((device.clone(), gateway.clone(), number)) {
            continue;
        }
        let newest = newest.entry((device.clone(), gateway)).or_default();
        if number < *newest {
            broken.push(format!("event {number} of {device} came first after event {newest}"));
        }
        *newest = (*newest).max(number);
    }
    broken
}

fn event(message: &Message) -> (Device, String) {
    let event = Event::from_message(message).expect("the gateways' events are readable");
    (event.device, String::from_utf8_lossy(&event.payload).into_owned())
}

/// The receipts of each command, and what is known of it.
struct Judged {
    by_command: BTreeMap<String, Vec<Receipt>>,
    accepted: BTreeSet<String>,
}

impl Judged {
    fn new(world: &World, receipts: Vec<Receipt>) -> Self {
        let mut by_command: BTreeMap<String, Vec<Receipt>> = BTreeMap::new();
        for receipt in receipts.into_iter().chain(world.witness.http_finals.iter().cloned()) {
            let id = receipt.message_id.as_ref().expect("every command has an id").as_str().to_owned();
            by_command.entry(id).or_default().push(receipt);
        }
        let accepted = world.service.accepted.iter();
        Self { by_command, accepted: accepted.map(|number| format!("c{number}")).collect() }
    }

    /// The one final state, if there is one.
    fn outcome(&self, command: &str) -> Option<&Receipt> {
        self.by_command.get(command)?.iter().find(|receipt| receipt.state.is_final())
    }

    /// A command's place in custody, if it came there.
    fn place(&self, command: &str) -> Option<u64> {
        let outcome = self.outcome(command)?;
        (outcome.reason != Some(ReceiptReason::ExpiredInQueue)).then_some(outcome.command_id.sequence)
    }

    /// Every accepted command ends in exactly one distinct final receipt; none other in more than one.
    fn finals(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.accepted.iter().chain(self.by_command.keys()).collect();
        let mut broken = Vec::new();
        for command in all {
            let receipts = self.by_command.get(command).map_or(&[][..], Vec::as_slice);
            let finals: BTreeSet<String> =
                receipts.iter().filter(|receipt| receipt.state.is_final()).map(Receipt::id).collect();
            if finals.len() > 1 || (finals.is_empty() && self.accepted.contains(command)) {
                broken.push(format!("{command} was accepted and has the final receipts {finals:?}"));
            }
        }
        broken
    }

    /// A receipt says what happened: delivered only if the device acknowledged, expired or unreachable only if it never got it.
    fn receipts_are_honest(&self, world: &World) -> Vec<String> {
        let got: BTreeSet<&str> =
            world.witness.arrivals.iter().map(|arrival| arrival.command.as_str()).collect();
        let acknowledged = |is_success: bool| -> BTreeSet<&str> {
            let of = world.witness.acknowledgements.iter().filter(move |ack| ack.is_success == is_success);
            of.map(|ack| ack.command.as_str()).collect()
        };
        let (taken, refused) = (acknowledged(true), acknowledged(false));
        let mut broken = Vec::new();
        for command in self.by_command.keys() {
            let Some(outcome) = self.outcome(command) else { continue };
            let command = command.as_str();
            let is_honest = match outcome.state {
                ReceiptState::Delivered => taken.contains(command),
                // Written to the socket: whether it arrived is nobody's to know.
                ReceiptState::Sent => !taken.contains(command),
                ReceiptState::Expired | ReceiptState::Unreachable => !got.contains(command),
                ReceiptState::Rejected => match outcome.reason {
                    Some(ReceiptReason::DeviceRefused) => refused.contains(command),
                    Some(ReceiptReason::DeliveryLimit) => true,
                    _ => !got.contains(command),
                },
                ReceiptState::Superseded => {
                    !got.contains(command) && self.was_replaced(world, command, outcome)
                }
                ReceiptState::Unknown => true,
                ReceiptState::Accepted | ReceiptState::Parked | ReceiptState::Forwarded => false,
            };
            if !is_honest {
                let (state, reason) = (outcome.state, outcome.reason);
                let (got, taken) = (got.contains(command), taken.contains(command));
                broken.push(format!(
                    "{command} ended as {state} ({reason:?}), but: arrived {got}, acknowledged {taken}"
                ));
            }
        }
        broken
    }

    /// Whether a later command for the same device has the same key, and the receipt names it.
    fn was_replaced(&self, world: &World, command: &str, outcome: &Receipt) -> bool {
        let order = |command: &str| {
            let number: usize = command.strip_prefix('c')?.parse().ok()?;
            world.service.orders.get(number).map(|order| &order.request)
        };
        let by = outcome.detail.as_deref().and_then(|detail| detail.strip_prefix("message id "));
        let Some(by) = by.and_then(|detail| detail.strip_suffix(" took its place")) else { return false };
        let (Some(old), Some(new)) = (order(command), order(by)) else { return false };
        let is_later = self.place(by).is_some_and(|place| place > outcome.command_id.sequence);
        is_later
            && old.device == new.device
            && old.supersede_key.is_some()
            && old.supersede_key == new.supersede_key
    }

    /// An answer that its device was told is safe is with its sender, once or as itself again, and is that of its command.
    fn answers_are_with_their_senders(&self, world: &World, answers: &[Message]) -> Vec<String> {
        let mut ids: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
        let mut broken = Vec::new();
        for answer in answers {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            let about = answer.properties.correlation_id.clone().unwrap_or_default();
            if about != body {
                broken.push(format!("the answer to {body} came as the one to {about}"));
            }
            ids.entry(about).or_default().insert(answer.properties.message_id.clone());
        }
        let twice = ids.iter().filter(|(_, ids)| ids.len() > 1);
        broken.extend(twice.map(|(command, ids)| format!("{command} has the answers {ids:?}")));
        // Whoever refused it, or never acknowledged it, has no answer to it.
        let is_rejected = |command: &str| {
            self.outcome(command).is_some_and(|outcome| outcome.state == ReceiptState::Rejected)
        };
        let safe = world.witness.safe_answers.iter();
        let lost = safe.filter(|command| !ids.contains_key(*command) && !is_rejected(command));
        broken.extend(lost.map(|command| format!("the answer to {command} was acknowledged and is lost")));
        broken
    }

    /// On each connection commands come in the order of custody, each once; and first arrivals do over all connections.
    fn commands_are_in_order(&self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        let (mut on_socket, mut of_device) = (BTreeMap::new(), BTreeMap::new());
        let mut seen = BTreeSet::new();
        for Arrival { at, device, socket, command, .. } in &world.witness.arrivals {
            let Some(place) = self.place(command) else {
                broken.push(format!("{command} reached device {device}, and no receipt knows its place"));
                continue;
            };
            if let Some(before) = on_socket.insert(socket, place).filter(|before| *before >= place) {
                broken.push(format!(
                    "{command} (place {place}) came to device {device} on one connection after place {before}, at {at} µs"
                ));
            }
            if !seen.insert(command) {
                continue;
            }
            let (newest, which) = of_device.entry(device).or_insert((0, command));
            if *newest > place {
                broken.push(format!(
                    "{command} (place {place}) first came to device {device} after {which} (place {newest})"
                ));
            } else {
                (*newest, *which) = (place, command);
            }
        }
        broken
    }

    /// Commands for one device, sent over AMQP by one sender, are in custody in the order in which it sent them. (Of one that is
    /// sent twice, by the service or by its publisher, the first copy may expire on its way.)
    fn order_is_as_sent(&self, world: &World) -> Vec<String> {
        let mut newest: BTreeMap<&Device, (u64, usize)> = BTreeMap::new();
        let mut broken = Vec::new();
        for number in world.service.sent_over_amqp() {
            let Some(place) = self.place(&format!("c{number}")) else { continue };
            let device = &world.service.orders[number].request.device;
            let (before, which) = newest.get(device).copied().unwrap_or_default();
            if place < before {
                broken.push(format!(
                    "c{number} for {device} has place {place}, c{which} before it has {before}"
                ));
            }
            newest.insert(device, (place.max(before), if place > before { number } else { which }));
        }
        broken
    }

    /// A command comes twice only on another connection; and, if its acknowledgement had reached the gateway, only if that
    /// gateway crashed or a lease lapsed since.
    fn duplicates_are_excused(&self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        let mut last: BTreeMap<(usize, &str), &Arrival> = BTreeMap::new();
        for arrival in &world.witness.arrivals {
            let Some(before) = last.insert((arrival.device, &arrival.command), arrival) else { continue };
            let Arrival { device, command, .. } = arrival;
            if before.socket == arrival.socket {
                broken.push(format!("{command} came twice to device {device} on one connection"));
            }
            let acknowledged =
                world.witness.acknowledgements.iter().find(|ack| {
                    ack.socket == before.socket && ack.device == *device && ack.command == *command
                });
            if let Some(ack) = acknowledged
                && !world.witness.was_troubled(ack.gateway, before.at, self.excused_until(world, arrival))
            {
                broken.push(format!(
                    "{command} came again to device {device} at {} µs, though gateway {} had its acknowledgement at {} µs",
                    arrival.at, ack.gateway, ack.at
                ));
            }
        }
        broken
    }

    fn excused_until(&self, world: &World, again: &Arrival) -> Micros {
        let outcome = self.outcome(&again.command);
        outcome.map_or(again.at, |outcome| world.witness.excused_until(outcome.command_id, again.at))
    }

    /// The command id is the same in every packet and every receipt.
    fn commands_have_one_id(&self, world: &World) -> Vec<String> {
        let mut broken = Vec::new();
        for Arrival { command, command_id, .. } in &world.witness.arrivals {
            let expected = self.outcome(command).map(|outcome| outcome.command_id.to_string());
            if command_id.is_some() && *command_id != expected {
                broken.push(format!(
                    "{command} came with the id {command_id:?}, its receipt says {expected:?}"
                ));
            }
        }
        broken
    }
}

/// Two live sessions of one device never last.
fn one_session_each(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for (index, device) in world.devices.iter().enumerate() {
        let live = world.sockets.iter().filter(|(_, socket)| {
            let gateway = &world.gateways[socket.gateway];
            socket.device == index && socket.at_gateway && socket.is_accepted && gateway.life == socket.life
        });
        let live: Vec<_> = live.map(|(id, socket)| (id.0, socket.gateway)).collect();
        let expected = usize::from(device.settled_at().is_some());
        if live.len() != expected {
            broken.push(format!("{} has the live sessions {live:?}, expected {expected}", device.name));
        }
    }
    broken
}

/// The router believes what is so.
fn locations_are_right(world: &World) -> Vec<String> {
    let Some(core) = world.router.core() else { return vec!["there is no router".to_owned()] };
    let now = world.router.clock.read(world.at);
    let mut broken = Vec::new();
    for device in &world.devices {
        let explained = core.explain(now, &device.name);
        let believed = explained.location.as_ref().filter(|_| explained.online == Some(true));
        let believed = believed.map(|location| location.gateway.as_str().to_owned());
        let real = device.settled_at().map(|socket| world.sockets[&socket].gateway);
        let real = real.map(|gateway| world.gateways[gateway].id.as_str().to_owned());
        if believed != real {
            broken.push(format!("{} is at {real:?}, the router believes {believed:?}", device.name));
        }
    }
    broken
}

/// What the router has said last of a device's coming and going is so. A run of it knows only what is there: that somebody has gone
/// before it had heard of them, nobody says, and what an earlier run has said last stands.
fn presence_is_right(world: &World) -> Vec<String> {
    let Some(core) = world.router.core() else { return Vec::new() };
    let mut broken = Vec::new();
    for device in &world.devices {
        let said = world.witness.presences.get(&device.name);
        let online = said.filter(|(_, presence)| presence.state == PresenceState::Online);
        let real = device.settled_at().map(|socket| world.sockets[&socket].gateway);
        let real = real.map(|gateway| world.gateways[gateway].id.as_str());
        let is_untold = real.is_none() && online.is_some_and(|(run, _)| *run < core.run());
        let (said, name) = (online.map(|(_, presence)| presence.gateway.as_str()), &device.name);
        if said != real && !is_untold {
            broken.push(format!("{name} is at {real:?}, and was last said to be at {said:?}"));
        }
    }
    broken
}

/// Nothing is left in the mesh's own queues, and nothing was dropped into the others.
fn queues_are_empty(world: &World) -> Vec<String> {
    let queues =
        ["roost.router.0", "roost.expired.0", "roost.sightings.0", "roost.settle.0", "roost.unrouted"];
    let depth = |queue: &'static str| (queue, world.broker.depth(queue));
    // Heartbeats come and go: a handful may be on its way.
    let bound = |queue: &str| if queue == "roost.sightings.0" { 4 } else { 0 };
    let left = queues.map(depth).into_iter().filter(|(queue, depth)| {
        depth.is_none_or(|(ready, unacknowledged)| ready + unacknowledged > bound(queue))
    });
    left.map(|(queue, depth)| format!("{queue} is not empty: {depth:?}")).collect()
}
