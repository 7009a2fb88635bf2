//! What goes to `roost.dead`: a message that is not taken, as it came, with the reason.

use roost_wire::envelope::header;
use roost_wire::{Device, HeaderValue, Headers, Message, RoutingKey};

use crate::Publication;

/// What the headers may take together, as AMQP writes them. They travel in one frame of 128 KiB, which the router must not
/// overrun with what it adds or writes in another way than it came: such a letter could never be published, and its source
/// never be acknowledged.
const HEADERS_BYTES_MAX: usize = 96 * 1024;

/// Lists within lists: deeper ones are nobody's, and the link refuses them.
const DEPTH_MAX: usize = 16;

/// The most that is said of what is wrong: it quotes the sender, and is remembered with the receipt.
const REASON_BYTES_MAX: usize = 1_024;

/// The message for `roost.dead`, with the reason in its headers and nothing that would make it expire there too. Headers that
/// AMQP could not carry with that are left out, strangers' first.
pub(super) fn dead_letter(mut message: Message, device: Option<&Device>, reason: &str) -> Publication {
    message.exchange = "roost.dead".to_owned();
    if let Some(device) = device {
        message.routing_key = RoutingKey::for_device(device).as_str().to_owned();
    }
    message.properties.expiration = None;
    message.properties.user_id = None;
    message.properties.headers = those_that_fit(std::mem::take(&mut message.properties.headers));
    message.properties.set(header::REASON, cut(reason.to_owned()));
    Publication::DeadLetter { message: Box::new(message) }
}

/// A text that people read, at its bound.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > REASON_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        text.push('…');
    }
    text
}

fn those_that_fit(headers: Headers) -> Headers {
    let (ours, theirs): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, _)| name.starts_with("roost-"));
    let mut left = HEADERS_BYTES_MAX;
    let fits = |(name, value): &(String, HeaderValue)| {
        let bytes = value_bytes(value, 0).map(|bytes| 1 + name.len() + bytes);
        let rest = bytes.and_then(|bytes| left.checked_sub(bytes));
        left = rest.unwrap_or(left);
        rest.is_some()
    };
    ours.into_iter().chain(theirs).filter(fits).collect()
}

/// What a value takes in AMQP, or more; none if it nests too deep.
fn value_bytes(value: &HeaderValue, depth: usize) -> Option<usize> {
    if depth > DEPTH_MAX {
        return None;
    }
    let bytes = match value {
        HeaderValue::Void
        | HeaderValue::Bool(_)
        | HeaderValue::Int(_)
        | HeaderValue::Double(_)
        | HeaderValue::Timestamp(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
        HeaderValue::Bytes(bytes) => 4 + bytes.len(),
        HeaderValue::List(values) => {
            4 + values.iter().map(|value| value_bytes(value, depth + 1)).sum::<Option<usize>>()?
        }
        HeaderValue::Table(headers) => {
            let entry = |(name, value): (&String, _)| Some(1 + name.len() + value_bytes(value, depth + 1)?);
            4 + headers.iter().map(entry).sum::<Option<usize>>()?
        }
    };
    Some(1 + bytes)
}
