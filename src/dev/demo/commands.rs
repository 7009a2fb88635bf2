//! What receipts tell of each command: to which gateways it went, and how it ended.

use std::collections::{BTreeMap, VecDeque};

use roost_fleet::NumberSet;
use roost_wire::{CommandId, GatewayId, Receipt, ReceiptReason, ReceiptState};

/// A command: its device and its serial number there.
pub(super) type Key = (u32, u32);

/// Ends that are remembered, to find a second, different one.
const ENDS_MAX: usize = 100_000;

/// All commands of a demo.
#[derive(Debug, Default)]
pub(super) struct Commands {
    open: BTreeMap<Key, Open>,
    ends: BTreeMap<Key, (CommandId, ReceiptState)>,
    /// The same by age.
    ended: VecDeque<Key>,
    /// Those that the mesh answers for, by device.
    pub(super) confirmed: BTreeMap<u32, NumberSet>,
    /// Those with a final receipt.
    pub(super) finals: BTreeMap<u32, NumberSet>,
    /// Those whose final receipt says that the device has them.
    pub(super) delivered: BTreeMap<u32, NumberSet>,
    pub(super) tally: Tally,
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Published.
    pub(crate) sent: u64,
    /// Confirmed by the broker: the mesh answers for them.
    pub(crate) confirmed: u64,
    /// Refused or returned by the broker: nobody answers for them.
    pub(crate) refused: u64,
    /// Ended, having been given to exactly one gateway.
    pub(crate) one_gateway: u64,
    /// Ended, having been given to the other gateway as well, after the first had given them back or was lost.
    pub(crate) in_turn: u64,
    /// Given to two gateways in one attempt. This must never be.
    pub(crate) at_once: u64,
    /// Ended without having been given to any.
    pub(crate) no_gateway: u64,
    /// Those for which all gateways were asked first.
    pub(crate) asked: u64,
    /// Ended as delivered.
    pub(crate) delivered: u64,
    /// Ended otherwise, which their sender was told.
    pub(crate) told: u64,
    /// Ended twice, in different ways. This must never be.
    pub(crate) ended_twice: u64,
}

/// A command without a final receipt.
#[derive(Debug, Default)]
struct Open {
    /// Attempt and gateway.
    given: Vec<(u32, GatewayId)>,
    asked: bool,
}

impl Commands {
    /// It was published.
    pub(super) fn sent(&mut self, key: Key) {
        self.tally.sent += 1;
        self.open.insert(key, Open::default());
    }

    /// The mesh has it.
    pub(super) fn confirmed(&mut self, (device, number): Key) {
        self.tally.confirmed += u64::from(self.confirmed.entry(device).or_default().insert(number));
    }

    /// The mesh has it not.
    pub(super) fn refused(&mut self, key: Key) {
        self.tally.refused += 1;
        self.open.remove(&key);
    }

    /// Those that have not ended.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// A receipt. Those before the final one may be missing: nobody vouches for them.
    pub(super) fn receipt(&mut self, key: Key, receipt: &Receipt) {
        let state = receipt.state;
        let Some(open) = self.open.get_mut(&key) else {
            // The same again is a repeat, as AMQP has them.
            let other = self.ends.get(&key).filter(|end| **end != (receipt.command_id, state));
            self.tally.ended_twice += u64::from(state.is_final() && other.is_some());
            return;
        };
        if state == ReceiptState::Parked && receipt.reason == Some(ReceiptReason::Asking) {
            open.asked = true;
        }
        let was_given = match state {
            ReceiptState::Forwarded | ReceiptState::Delivered | ReceiptState::Sent => true,
            ReceiptState::Accepted
            | ReceiptState::Parked
            | ReceiptState::Expired
            | ReceiptState::Rejected
            | ReceiptState::Superseded
            | ReceiptState::Unreachable
            | ReceiptState::Unknown => false,
        };
        let given = receipt.gateway.clone().filter(|_| was_given).map(|gateway| (receipt.attempt, gateway));
        if let Some(given) = given.filter(|given| !open.given.contains(given)) {
            open.given.push(given);
        }
        if state.is_final() {
            self.end(key, receipt.command_id, state);
        }
    }

    fn end(&mut self, key: Key, id: CommandId, state: ReceiptState) {
        let Some(open) = self.open.remove(&key) else { return };
        let tally = &mut self.tally;
        let elsewhere = |(_, gateway): &(u32, GatewayId)| *gateway != open.given[0].1;
        let same_attempt = |(attempt, gateway): &(u32, GatewayId)| {
            open.given.iter().any(|(other, at)| other == attempt && at != gateway)
        };
        match () {
            () if open.given.is_empty() => tally.no_gateway += 1,
            () if open.given.iter().any(same_attempt) => tally.at_once += 1,
            () if open.given.iter().any(elsewhere) => tally.in_turn += 1,
            () => tally.one_gateway += 1,
        }
        tally.asked += u64::from(open.asked);
        let (device, number) = key;
        self.finals.entry(device).or_default().insert(number);
        match state {
            ReceiptState::Delivered | ReceiptState::Sent => {
                tally.delivered += 1;
                self.delivered.entry(device).or_default().insert(number);
            }
            ReceiptState::Accepted
            | ReceiptState::Parked
            | ReceiptState::Forwarded
            | ReceiptState::Expired
            | ReceiptState::Rejected
            | ReceiptState::Superseded
            | ReceiptState::Unreachable
            | ReceiptState::Unknown => tally.told += 1,
        }
        self.ends.insert(key, (id, state));
        self.ended.push_back(key);
        if self.ended.len() > ENDS_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use roost_wire::{Device, WallTime};

    use super::*;

    fn receipt(state: ReceiptState, gateway: Option<&str>, attempt: u32) -> Receipt {
        let device: Device = "main/d".parse().unwrap();
        let json = serde_json::json!({
            "version": 1, "state": state, "tenant": device.tenant, "device": device.id, "message_id": "m",
            "command_id": "00000001-2", "gateway": gateway, "attempt": attempt,
            "accepted_at": WallTime::from_millis(1), "at": WallTime::from_millis(1),
        });
        serde_json::from_value(json).unwrap()
    }

    fn story(receipts: &[(ReceiptState, Option<&str>, u32)]) -> Tally {
        let mut commands = Commands::default();
        commands.sent((1, 0));
        commands.confirmed((1, 0));
        for (state, gateway, attempt) in receipts {
            commands.receipt((1, 0), &receipt(*state, *gateway, *attempt));
        }
        commands.tally
    }

    #[test]
    fn one_gateway_in_turn_and_at_once_are_told_apart() {
        use ReceiptState::{Delivered, Forwarded, Parked};
        let (eu, us) = (Some("eu-1"), Some("us-1"));
        let one = story(&[(Forwarded, eu, 1), (Delivered, eu, 1), (Delivered, eu, 1)]);
        assert_eq!((one.one_gateway, one.in_turn, one.at_once, one.ended_twice), (1, 0, 0, 0));
        let again = story(&[(Forwarded, eu, 1), (Parked, eu, 1), (Forwarded, eu, 2), (Delivered, eu, 2)]);
        assert_eq!((again.one_gateway, again.in_turn), (1, 0));
        let turn = story(&[(Forwarded, eu, 1), (Forwarded, us, 2), (Delivered, us, 2)]);
        assert_eq!((turn.one_gateway, turn.in_turn, turn.at_once), (0, 1, 0));
        let both = story(&[(Forwarded, eu, 1), (Forwarded, us, 1), (Delivered, us, 1)]);
        assert_eq!((both.at_once, both.delivered), (1, 1));
    }

    #[test]
    fn a_second_end_is_found_and_what_was_never_given_is_no_gateways() {
        use ReceiptState::{Delivered, Expired};
        let twice = story(&[(Delivered, Some("eu-1"), 1), (Expired, None, 1)]);
        assert_eq!((twice.ended_twice, twice.delivered, twice.told), (1, 1, 0));
        let never = story(&[(Expired, None, 0)]);
        assert_eq!((never.no_gateway, never.told, never.one_gateway), (1, 1, 0));
    }
}
