//! What a witness wants to know of what the router publishes.

use roost_router::{Publication, ReceiptAddress};
use roost_wire::{Control, RouterRun};

use super::read::Read;
use crate::effect::Effect;

pub(super) fn tell_witness(read: &Read, run: RouterRun, what: &Publication, effects: &mut Vec<Effect>) {
    match what {
        Publication::Delivery { gateway, inbox, delivery } => {
            effects.extend(read.forbids(inbox, delivery).map(|what| Effect::Broken { what }));
            effects.push(Effect::Forwarded {
                device: delivery.device.clone(),
                gateway: gateway.clone(),
                epoch: delivery.epoch,
            });
        }
        Publication::Control { queue, report } => {
            effects.extend(report.items.iter().filter_map(|item| match item {
                Control::Ask { device, .. } => Some(Effect::Asks { device: device.clone() }),
                Control::Close { device, session, .. } => {
                    Some(Effect::Closes { queue: queue.clone(), device: device.clone(), session: *session })
                }
                Control::HeartbeatAnswer { .. }
                | Control::Forget { .. }
                | Control::FindSession { .. }
                | Control::MoveSession { .. }
                | Control::SessionAnswer { .. }
                | Control::Sync
                | Control::Snapshot
                | Control::Superseded { .. } => None,
            }));
        }
        Publication::Presence(presence) => {
            effects.push(Effect::Says { run, presence: presence.clone() });
        }
        Publication::Receipt { to: ReceiptAddress::Exchange, receipt } => {
            let is_its_own = read.has_taken(receipt.command_id.sequence);
            effects.push(Effect::Told { run, is_its_own, receipt: receipt.clone() });
        }
        Publication::RunBegun { .. }
        | Publication::SessionOrder { .. }
        | Publication::Session { .. }
        | Publication::Receipt { to: ReceiptAddress::Queue(_), .. }
        | Publication::Marker { .. }
        | Publication::Answer { .. }
        | Publication::DeadLetter { .. } => {}
    }
}
