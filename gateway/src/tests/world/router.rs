//! The backend and the router, as a test plays them.

use bytes::Bytes;
use roost_wire::{
    BootTime, CommandId, Control, ControlReport, Delivery as Command, Device, Epoch, LinkId, Outcome, Qos,
    RouterRun, SessionId, SettlementItem, ShardId, Sighting, SyncNumber, Topic,
};

use super::World;
use crate::ConnectionId;
use crate::link::LinkInput;
use crate::shard::{Backend, Input};

impl World {
    pub(in crate::tests) fn backend(&mut self, backend: Backend) {
        self.link.handle(self.now, LinkInput::Backend(backend));
        self.input(Input::Backend(backend));
    }

    pub(in crate::tests) fn link_up(&mut self, n: u32) {
        self.link_id = LinkId(n);
        let (inbox, control) = (format!("inbox.{n}"), format!("control.{n}"));
        self.link_input(LinkInput::Up { link: self.link_id, inbox, control });
    }

    pub(in crate::tests) fn link_down(&mut self) {
        self.link_input(LinkInput::Down { link: self.link_id });
    }

    pub(in crate::tests) fn router_says(&mut self, run: u64, items: Vec<Control>) {
        let report = ControlReport { shard: ShardId(0), run: RouterRun(run), items };
        self.link_input(LinkInput::Control { link: self.link_id, report });
    }

    /// The router answers what heartbeats it has read.
    pub(in crate::tests) fn answer_heartbeats(&mut self, run: u64) {
        let answers = self.heartbeats.drain(..).map(|h| Control::HeartbeatAnswer {
            number: h.number,
            answered_at: BootTime::from_micros(5),
            moves_sessions: self.roams,
        });
        let items: Vec<_> = answers.collect();
        if !items.is_empty() {
            self.router_says(run, items);
        }
    }

    /// The newest sync that the router has read in whole: its number, and what it listed.
    pub(in crate::tests) fn last_sync(&self) -> (SyncNumber, Vec<u64>) {
        let mut syncs = self.settlements.iter().filter_map(|item| match item {
            SettlementItem::Sync { number, in_flight, .. } => {
                Some((*number, in_flight.iter().map(|c| c.command.sequence).collect()))
            }
            SettlementItem::Settled(_) | SettlementItem::Subscribed { .. } => None,
        });
        syncs.next_back().expect("a sync was read")
    }

    /// A new command for the device's present session, with the number of the last sync that the router read.
    pub(in crate::tests) fn new_command(&mut self, device: &str, epoch: Epoch) -> Command {
        self.next_command += 1;
        self.command(self.next_command, device, epoch)
    }

    pub(in crate::tests) fn command(&self, sequence: u64, device: &str, epoch: Epoch) -> Command {
        let device: Device = device.parse().unwrap();
        Command {
            id: CommandId { journal: 1, sequence },
            session: self.session(&device),
            topic: Topic::default_for_commands(&device.id),
            device,
            epoch,
            sync: self.last_sync().0,
            attempt: 1,
            expires_in_ms: 60_000,
            payload: Bytes::from(sequence.to_string()),
            qos: Qos::AtLeastOnce,
            content_type: None,
            correlation_id: None,
            user_properties: Vec::new(),
            trace: None,
        }
    }

    pub(in crate::tests) fn deliver(&mut self, command: Command) {
        self.input(Input::Delivery { link: self.link_id, delivery: Box::new(command) });
    }

    pub(in crate::tests) fn deliver_through(&mut self, link: u32, command: Command) {
        self.input(Input::Delivery { link: LinkId(link), delivery: Box::new(command) });
    }

    /// The session that the router heard of last.
    pub(in crate::tests) fn session(&self, device: &Device) -> SessionId {
        let accepted = |sighting: &Sighting| match sighting {
            Sighting::Accepted(present) if present.device == *device => Some(present.session),
            Sighting::Snapshot { present, .. } => {
                present.iter().find(|p| p.device == *device).map(|p| p.session)
            }
            _ => None,
        };
        self.sightings.iter().rev().find_map(accepted).unwrap_or_default()
    }

    /// The outcomes of commands that the router has read since the last call, with the commands' numbers.
    pub(in crate::tests) fn outcomes(&mut self) -> Vec<(u64, Outcome)> {
        let settled = |item: &SettlementItem| match item {
            SettlementItem::Settled(settlement) => Some((settlement.command.sequence, settlement.outcome)),
            SettlementItem::Subscribed { .. } | SettlementItem::Sync { .. } => None,
        };
        let outcomes = self.settlements.iter().filter_map(settled).collect();
        self.settlements.retain(|item| settled(item).is_none());
        outcomes
    }

    /// The payloads of the commands and messages that the client has read, each acknowledged if `acknowledge`.
    pub(in crate::tests) fn take_publishes(
        &mut self,
        client: ConnectionId,
        acknowledge: bool,
    ) -> Vec<String> {
        let mut payloads = Vec::new();
        loop {
            let publishes = self.read_publishes(client);
            if publishes.is_empty() {
                return payloads;
            }
            for publish in publishes {
                payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                if let (true, Some(packet_id)) = (acknowledge, publish.delivery.packet_id()) {
                    self.puback(client, packet_id);
                }
            }
        }
    }
}
