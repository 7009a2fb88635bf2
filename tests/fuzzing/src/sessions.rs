//! Sessions as sequences of operations: the gateway's shard beside a naive broker.
//!
//! Four clients of MQTT 5 and 3.1.1 connect (anew, again, over each other), subscribe, publish at every quality of service, acknowledge in and
//! out of order or not at all, break off and say goodbye, with wills and retained messages, while time passes and sockets take nothing. After
//! each operation each client must have read what the naive broker says that it reads, and the gateway holds as many sessions, subscriptions,
//! waiting, unacknowledged and retained messages, wills and events. In the end all come back and acknowledge, and leave, and nothing is left.
//!
//! Left out: what makes publishers wait (a client that acknowledges nothing has all the room there is), commands, groups that share, and
//! sessions that move. They have walks of their own in the gateway's tests.

mod fault;
mod met;
mod model;
mod operation;
mod packets;
mod walk;

pub use fault::Fault;
pub use met::Met;
use model::{Settings, WhenFull};
use operation::Operation;
use walk::Walk;

/// Longer sequences are cut: no two operations are to share a millisecond of their second.
const OPERATIONS_MAX: usize = 600;

/// Runs a sequence: two bytes for the limits of the gateway, then four for each operation.
///
/// # Errors
/// The first difference between gateway and model.
pub fn check(input: &[u8]) -> Result<Met, String> {
    run(input, None)
}

/// The same with a broken rule.
///
/// # Errors
/// As with [`check`]: here it is what is wanted.
pub fn check_with(input: &[u8], fault: Fault) -> Result<Met, String> {
    run(input, Some(fault))
}

fn run(input: &[u8], fault: Option<Fault>) -> Result<Met, String> {
    let Some((&[first, second], operations)) = input.split_first_chunk() else { return Ok(Met::default()) };
    let settings = Settings {
        inflight_max: 1 + u16::from(first % 4),
        queue_max: 1 + usize::from(first >> 2) % 4,
        when_full: [WhenFull::DropNewest, WhenFull::DropOldest, WhenFull::Refuse][usize::from(second) % 3],
    };
    let mut walk = Walk::new(settings, fault);
    let operations = operations.as_chunks().0.iter().take(OPERATIONS_MAX);
    for (at, operation) in operations.map(|bytes| Operation::decode(*bytes)).enumerate() {
        walk.step(operation).map_err(|error| format!("operation {at}, {operation:?}: {error}"))?;
    }
    walk.finish().map_err(|error| format!("in the end: {error}"))?;
    Ok(walk.into_met())
}

/// What a sequence does, one operation a line.
#[must_use]
pub fn describe(input: &[u8]) -> String {
    let operations = input.get(2..).unwrap_or_default().as_chunks().0;
    operations.iter().map(|bytes| format!("{:?}\n", Operation::decode(*bytes))).collect()
}

/// The shortest sequence found that fails like this one, by leaving out what is not needed.
#[must_use]
pub fn shorten(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut shortest = input.to_vec();
    let mut many = shortest.len() / 8;
    while many > 0 {
        let mut at = 0;
        while 2 + (at + many) * 4 <= shortest.len() {
            let mut shorter = shortest.clone();
            shorter.drain(2 + at * 4..2 + (at + many) * 4);
            if fails(&shorter) {
                shortest = shorter;
            } else {
                at += many;
            }
        }
        many /= 2;
    }
    shortest
}
