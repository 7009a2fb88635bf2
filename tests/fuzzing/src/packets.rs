//! Any bytes, in any pieces, from either side: no panic, the same packets however they were cut, and what is decoded
//! is encoded to something that decodes to the same.

use bytes::BytesMut;
use roost_gateway::packet::{DecodeError, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion};

/// How many packets there were, and whether an error ended them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Packets.
    pub packets: usize,
    /// Whether the bytes were refused in the end.
    pub is_refused: bool,
}

/// Decodes bytes: the first says from which side they are and in which version, the second in which pieces they come.
///
/// # Panics
/// If any of that does not hold.
#[must_use]
pub fn check(input: &[u8]) -> Found {
    let Some((&[way, cut], bytes)) = input.split_first_chunk() else { return Found::default() };
    let version =
        [ProtocolVersion::V5, ProtocolVersion::V311, ProtocolVersion::V31][usize::from(way >> 2) % 3];
    let decoder = match way & 3 {
        0 => Decoder::for_server(DecodeLimits::default()),
        1 => Decoder::for_connected_server(version, DecodeLimits::default()),
        _ => Decoder::for_client(version, DecodeLimits::default()),
    };
    let (mut at_once, mut whole) = (decoder.clone(), BytesMut::from(bytes));
    let mut expected = Vec::new();
    let expected_error = drain(&mut at_once, &mut whole, &mut expected);

    let (mut in_pieces, mut buffer) = (decoder, BytesMut::new());
    let mut packets = Vec::new();
    let mut error = None;
    let mut lengths = [1 + usize::from(cut & 15), 1 + usize::from(cut >> 4)].into_iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() && error.is_none() {
        let (read, behind) = rest.split_at(lengths.next().unwrap_or(1).min(rest.len()));
        buffer.extend_from_slice(read);
        rest = behind;
        error = drain(&mut in_pieces, &mut buffer, &mut packets);
    }
    assert_eq!(packets, expected);
    assert_eq!(error, expected_error);
    Found { packets: packets.len(), is_refused: error.is_some() }
}

/// Decodes all there is in the buffer; the error, if one ended it.
fn drain(decoder: &mut Decoder, buffer: &mut BytesMut, packets: &mut Vec<Packet>) -> Option<DecodeError> {
    loop {
        let len = decoder.packet_len(buffer);
        let before = buffer.len();
        match decoder.decode(buffer) {
            Ok(Some(packet)) => {
                assert_eq!(len, Ok(Some(before - buffer.len())));
                encodes_to_the_same(decoder, &packet);
                packets.push(packet);
            }
            Ok(None) => return None,
            Err(error) => {
                assert!(!error.clause().is_empty() && error.reason().is_error());
                return Some(error);
            }
        }
    }
}

fn encodes_to_the_same(decoder: &Decoder, packet: &Packet) {
    let version = decoder.version().expect("known once a packet is decoded");
    let encoder = Encoder::new(version);
    let mut out = BytesMut::new();
    encoder.encode(packet, &mut out).expect("what was received can be sent");
    assert_eq!(encoder.encoded_len(packet), Ok(out.len()));
    let again = match packet {
        Packet::Connect(_) => Decoder::for_server(DecodeLimits::default()).decode(&mut out),
        _ => decoder.clone().decode(&mut out),
    };
    match again {
        Ok(Some(again)) => assert_eq!(&again, packet),
        // Our form may be a few bytes longer than the one received, at the very limit.
        Err(DecodeError::PacketTooLarge { .. }) => {}
        other => panic!("{packet:?} became {other:?}"),
    }
}
