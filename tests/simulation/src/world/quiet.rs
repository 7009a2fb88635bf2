//! Whether all is over, and whether nothing is beyond its bound.

use super::World;
use crate::service::WORK;
use crate::socket::{Socket, SocketId};

impl World {
    /// What is not as it should be when all is over, in words.
    pub(crate) fn unquiet(&self) -> Vec<String> {
        let mut unquiet = Vec::new();
        // In words only what is not so: it is asked every second.
        let mut expect = |is_so: bool, what: &dyn Fn() -> String| {
            if !is_so {
                unquiet.push(what());
            }
        };
        expect(self.broker.is_up(), &|| "the broker is down".to_owned());
        for queue in ["roost.router.0", "roost.expired.0", "roost.settle.0", WORK] {
            let depth = self.broker.depth(queue);
            expect(depth == Some((0, 0)), &|| format!("{queue} is not empty: {depth:?}"));
        }
        for gateway in &self.gateways {
            expect(gateway.is_quiet(), &|| format!("{} is not quiet: {:?}", gateway.id, gateway.gauges()));
        }
        expect(self.router.is_quiet(), &|| {
            format!("the router is not quiet, in custody: {:?}", self.router.in_custody(self.at))
        });
        // Who is cut off still may announce a session whose device has left it without a word.
        expect(self.router.hears(self.at) == self.gateways.len(), &|| "a gateway is not heard".to_owned());
        expect(self.service.is_settled(), &|| "the service's commands are not all accepted".to_owned());
        for device in &self.devices {
            expect(device.settled_at().is_some() || device.is_retired(), &|| {
                format!("{} is not settled: {device:?}", device.name)
            });
        }
        // One that its device knows nothing of any more would be the only one if that device left now.
        let is_left_over = |(id, socket): &(&SocketId, &Socket)| {
            let is_live = socket.at_gateway && self.gateways[socket.gateway].life == socket.life;
            is_live && self.devices[socket.device].settled_at() != Some(**id)
        };
        let left_over = self.sockets.iter().find(is_left_over);
        expect(left_over.is_none(), &|| format!("a connection is there without its device: {left_over:?}"));
        unquiet
    }

    pub(super) fn witness_bounds(&mut self) {
        for gateway in &self.gateways {
            let Some(gauges) = gateway.gauges() else { continue };
            let limits = gateway.limits();
            if gauges.commands > limits.commands_max || gauges.uplink_events > limits.uplink_events_max {
                self.witness.violation(format!("{} is beyond its bounds: {gauges:?}", gateway.id));
            }
        }
        if let Some(core) = self.router.core() {
            let (commands, limits) = (core.journal().commands(), self.router.limits());
            if commands > limits.commands_max.saturating_add(limits.prefetch) {
                self.witness.violation(format!("the router has {commands} commands in custody"));
            }
        }
    }
}
