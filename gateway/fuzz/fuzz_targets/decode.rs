//! Any bytes, in any pieces, from either side: no panic, the same packets however they were cut, and what is decoded
//! is encoded to something that decodes to the same.

#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roost_gateway::packet::{DecodeError, DecodeLimits, Decoder, Encoder, Packet, ProtocolVersion};

#[derive(Debug, Arbitrary)]
struct Input {
    to_server: bool,
    v5: bool,
    /// The lengths of the reads that the bytes come in.
    reads: Vec<u8>,
    bytes: Vec<u8>,
}

impl Input {
    fn decoder(&self) -> Decoder {
        let version = if self.v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 };
        match self.to_server {
            true => Decoder::for_server(DecodeLimits::default()),
            false => Decoder::for_client(version, DecodeLimits::default()),
        }
    }
}

/// Decodes all there is in the buffer; the error, if one ended it.
fn drain(decoder: &mut Decoder, buffer: &mut BytesMut, packets: &mut Vec<Packet>) -> Option<DecodeError> {
    loop {
        match decoder.decode(buffer) {
            Ok(Some(packet)) => {
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

fuzz_target!(|input: Input| {
    let (mut at_once, mut whole) = (input.decoder(), BytesMut::from(&input.bytes[..]));
    let mut expected = Vec::new();
    let expected_error = drain(&mut at_once, &mut whole, &mut expected);

    let (mut in_pieces, mut buffer) = (input.decoder(), BytesMut::new());
    let mut packets = Vec::new();
    let mut rest = &input.bytes[..];
    let mut reads = input.reads.iter().map(|&len| usize::from(len).max(1));
    let mut error = None;
    while !rest.is_empty() && error.is_none() {
        let (read, behind) = rest.split_at(reads.next().unwrap_or(rest.len()).min(rest.len()));
        buffer.extend_from_slice(read);
        rest = behind;
        error = drain(&mut in_pieces, &mut buffer, &mut packets);
    }
    assert_eq!(packets, expected);
    assert_eq!(error, expected_error);
});
