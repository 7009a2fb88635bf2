//! What can go wrong with a packet's bytes.

use crate::Chance;

/// What was done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Nothing.
    None,
    /// A bit of it is another.
    Bit,
    /// A byte is another.
    Byte,
    /// The last bytes are gone; the length says so.
    Truncated,
    /// There are more bytes; the length says so.
    Extended,
    /// A length field in it is one off.
    LengthOff,
    /// A property, whole or not, stands where none stood, and all lengths say so.
    Spliced,
    /// A part stands twice; the length says so.
    Repeated,
    /// There is no sense in it behind its first byte.
    Noise,
    /// Its last bytes have not come yet.
    Cut,
    /// Its length takes more bytes than it needs, or than there may be.
    LengthLong,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::None,
        Self::Bit,
        Self::Byte,
        Self::Truncated,
        Self::Extended,
        Self::LengthOff,
        Self::Spliced,
        Self::Repeated,
        Self::Noise,
        Self::Cut,
        Self::LengthLong,
    ];
}

/// Properties as they stand in a packet, valid by themselves or not.
const PROPERTIES: [&[u8]; 34] = [
    b"\x01\x00",
    b"\x01\x01",
    b"\x01\x02",
    b"\x02\x00\x00\x00\x00",
    b"\x02\x00\x00\x00\x09",
    b"\x03\x00\x01t",
    b"\x08\x00\x01r",
    b"\x08\x00\x01+",
    b"\x08\x00\x00",
    b"\x09\x00\x01c",
    b"\x0B\x01",
    b"\x0B\x00",
    b"\x0B\xFF\xFF\xFF\x7F",
    b"\x0B\x81\x00",
    b"\x11\x00\x00\x00\x01",
    b"\x12\x00\x01i",
    b"\x13\x00\x05",
    b"\x15\x00\x01m",
    b"\x16\x00\x01d",
    b"\x17\x00",
    b"\x17\x02",
    b"\x18\x00\x00\x00\x02",
    b"\x19\x01",
    b"\x1A\x00\x01f",
    b"\x1C\x00\x01s",
    b"\x1F\x00\x01w",
    b"\x21\x00\x00",
    b"\x22\x00\x07",
    b"\x23\x00\x00",
    b"\x24\x01",
    b"\x24\x02",
    b"\x26\x00\x01n\x00\x01v",
    b"\x27\x00\x00\x00\x00",
    b"\x7F\x00",
];

/// Changes the bytes of one packet. A decoder still finds its end, but for one that is cut.
#[must_use]
pub fn mutate(packet: &[u8], mutation: Mutation, chance: &mut Chance) -> Vec<u8> {
    let (first, body_at) = split(packet);
    let mut body = packet[body_at..].to_vec();
    let mut first = first;
    match mutation {
        Mutation::None => {}
        Mutation::Bit => match chance.below(8) {
            0 => first ^= 1 << chance.below(4),
            _ if body.is_empty() => {}
            _ => {
                let at = chance.below(body.len());
                body[at] ^= 1 << chance.below(8);
            }
        },
        Mutation::Byte if !body.is_empty() => {
            let at = chance.below(body.len());
            body[at] = if chance.one_in(3) {
                chance.pick(&[0, 1, 2, b'+', b'#', 0x80, 0xFF])
            } else {
                chance.byte()
            };
        }
        Mutation::Truncated => body.truncate(chance.below(body.len() + 1)),
        Mutation::Extended => {
            let more = 1 + chance.below(4);
            body.extend(chance.bytes(more));
        }
        Mutation::LengthOff if !body.is_empty() => {
            let at = chance.below(body.len().min(24));
            body[at] = if chance.one_in(2) { body[at].wrapping_add(1) } else { body[at].wrapping_sub(1) };
        }
        Mutation::Spliced => splice(&mut body, chance),
        Mutation::Repeated if !body.is_empty() => {
            let from = chance.below(body.len());
            let to = from + 1 + chance.below(body.len() - from);
            let part = body[from..to].to_vec();
            body.splice(to..to, part);
        }
        Mutation::Noise => {
            let len = chance.below(12);
            body = chance.bytes(len);
        }
        Mutation::Cut => {
            let mut bytes = join(first, &body);
            bytes.truncate(1 + chance.below(bytes.len()));
            return bytes;
        }
        Mutation::LengthLong => return join_long(first, &body, chance.pick(&[1, 1, 4])),
        Mutation::Byte | Mutation::LengthOff | Mutation::Repeated => {}
    }
    join(first, &body)
}

/// Puts a property behind the byte that may be the length of properties, and adds to that.
fn splice(body: &mut Vec<u8>, chance: &mut Chance) {
    let property = chance.pick(&PROPERTIES);
    let may_be_length = |at: &usize| usize::from(body[*at]) < body.len() - at && body[*at] < 0x70;
    let places: Vec<usize> = (0..body.len()).filter(may_be_length).collect();
    if places.is_empty() {
        return body.extend(property);
    }
    let at = chance.pick(&places);
    body[at] += u8::try_from(property.len()).unwrap_or(0);
    body.splice(at + 1..at + 1, property.iter().copied());
}

/// The first byte, and where the body begins.
fn split(packet: &[u8]) -> (u8, usize) {
    let length_len = packet[1..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    (packet[0], 1 + length_len)
}

fn join(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    while rest >= 0x80 {
        packet.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    packet.push(rest as u8);
    packet.extend(body);
    packet
}

/// With so many bytes more of the length than it needs.
fn join_long(first: u8, body: &[u8], more: usize) -> Vec<u8> {
    let mut packet = join(first, body);
    let body_at = packet.len() - body.len();
    packet[body_at - 1] |= 0x80;
    let mut padding = vec![0x80; more - 1];
    padding.push(0);
    packet.splice(body_at..body_at, padding);
    packet
}
