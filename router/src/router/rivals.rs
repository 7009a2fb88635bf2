//! Two processes with one gateway's id. The newer one is believed, for good: the router can't tell a process that is back from
//! one that was never gone. But it can tell the older one, and a person.

use roost_wire::{Control, ControlReport, Now, Sighting, SightingReport};

use super::RouterCore;
use crate::{Output, Publication};

impl RouterCore {
    /// Something of a gateway's run has come that is not believed. If that is so because a newer run has voided it, and it says
    /// that it is alive, it is told so instead of being answered.
    pub(super) fn not_believed(&mut self, now: Now, report: &SightingReport) {
        let proof = self.limits.lapse();
        let SightingReport { gateway: id, incarnation: older, items, .. } = report;
        for item in items {
            let Sighting::Heartbeat(beat) = item else { continue };
            let Some(gateway) = self.gateways.get_mut(id).filter(|known| known.is_voided(*older)) else {
                return;
            };
            let (newer, is_alive) =
                (gateway.incarnation, gateway.rival_beats(now.boot, *older, beat.number, proof));
            let items = vec![Control::Superseded { by: newer }];
            let report = Box::new(ControlReport { shard: self.shard, run: self.run, items });
            let queue = beat.control.clone();
            self.publish_and_forget(self.run_lsn, Publication::Control { queue, report });
            if is_alive {
                self.say(Output::SameGatewayId { gateway: id.clone(), newer, older: *older });
            }
        }
    }
}
