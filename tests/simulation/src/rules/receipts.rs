//! What senders are told: by the router alone, in an order that makes sense, and the same whenever it is told again.

use std::collections::BTreeMap;

use roost_wire::{CommandId, Message, Receipt, ReceiptState, RouterRun};

use crate::witness::Telling;

/// Whoever reads them can rely on who has written them: the broker vouches for the user.
pub(super) fn are_the_routers(messages: &[Message]) -> Vec<String> {
    let others = messages.iter().filter(|message| message.properties.user_id.as_deref() != Some("router"));
    let words = |message: &Message| {
        let Receipt { state, device, .. } = read(message);
        let user = message.properties.user_id.as_deref().unwrap_or("nobody");
        format!("a receipt for a command to {device}, {state}, comes from a {user}, not from the router")
    };
    others.map(words).collect()
}

/// Who has seen a message id need not read that receipt again. That a repetition says that it is one changes nothing; one of a
/// receipt that is not final says how things stand by then.
pub(super) fn say_the_same_again(messages: &[Message]) -> Vec<String> {
    let mut contents: BTreeMap<&str, Receipt> = BTreeMap::new();
    let mut broken = Vec::new();
    for message in messages {
        let receipt = read(message);
        if receipt.duplicate && !receipt.state.is_final() {
            continue;
        }
        let Some(id) = message.properties.message_id.as_deref() else {
            broken.push(format!("a receipt for a command to {} has no message id", receipt.device));
            continue;
        };
        let receipt = Receipt { duplicate: false, ..receipt };
        let first = contents.entry(id).or_insert_with(|| receipt.clone());
        if *first != receipt {
            broken.push(format!("the receipt {id} says two things: {first:?}, and {receipt:?}"));
        }
    }
    broken
}

/// First that the command is accepted, unless nothing but its end is told; nothing behind its end but that again; and attempts grow,
/// as far as the router remembers them, which is not beyond its run.
pub(super) fn come_in_order(tellings: &[Telling]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut commands: BTreeMap<CommandId, Told> = BTreeMap::new();
    for Telling { turn, is_its_own, receipt } in tellings.iter().filter(|telling| !telling.receipt.duplicate)
    {
        let Receipt { command_id, state, attempt, .. } = receipt;
        let what = || {
            let id = receipt.message_id.as_ref().map_or("?", |id| id.as_str());
            format!("of {id} ({command_id}) it was told {state}, attempt {attempt},")
        };
        let told = commands.entry(*command_id).or_default();
        let is_first = told.last.is_none();
        if is_first && *is_its_own && *state != ReceiptState::Accepted && !state.is_final() {
            broken.push(format!("{} before it was accepted", what()));
        }
        if !is_first && *state == ReceiptState::Accepted {
            broken.push(format!("{} after {:?}", what(), told.last));
        }
        if let Some(end) = told.end.as_ref().filter(|end| **end != receipt.id()) {
            broken.push(format!("{} after its end, {end}", what()));
        }
        if let Some((_, before)) = told.last.filter(|(of, before)| of == turn && before > attempt) {
            broken.push(format!("{} after attempt {before} in the same run", what()));
        }
        told.last = Some((*turn, *attempt));
        if state.is_final() {
            told.end.get_or_insert_with(|| receipt.id());
        }
    }
    broken
}

/// What was told of one command so far.
#[derive(Debug, Default)]
struct Told {
    last: Option<((u32, RouterRun), u32)>,
    end: Option<String>,
}

fn read(message: &Message) -> Receipt {
    serde_json::from_slice(&message.body).expect("receipts are readable")
}
