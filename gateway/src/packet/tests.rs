//! The codec as a whole: round trips, every way of cutting, every kind of malformed packet.

mod limits;
mod malformed;
mod property_table;
mod round_trip;
mod strategies;

use bytes::BytesMut;

use super::*;

/// Limits that no generated packet reaches.
const WIDE: DecodeLimits = DecodeLimits {
    packet_bytes_max: 4 * 1024 * 1024,
    connect_bytes_max: 4 * 1024 * 1024,
    auth_bytes_max: 4 * 1024 * 1024,
    user_properties_max: 100_000,
    filters_max: 100_000,
};

/// A decoder for what `sender` sends, with the CONNECT already behind it.
fn decoder(sender: Side, version: ProtocolVersion, limits: DecodeLimits) -> Decoder {
    match sender {
        Side::Server => Decoder::for_client(version, limits),
        Side::Client => {
            let mut decoder = Decoder::for_server(limits);
            let mut buffer = BytesMut::new();
            let connect = Packet::Connect(Box::new(Connect {
                version,
                clean_start: true,
                keep_alive_s: 0,
                client_id: Text::from_static("d"),
                will: None,
                user_name: None,
                password: None,
                properties: ConnectProperties::default(),
            }));
            Encoder::new(version).encode(&connect, &mut buffer).unwrap();
            decoder.decode(&mut buffer).unwrap().unwrap();
            decoder
        }
    }
}

/// A decoder that this packet can be given to.
fn decoder_for(packet: &Packet, sender: Side, version: ProtocolVersion) -> Decoder {
    match packet {
        Packet::Connect(_) => Decoder::for_server(WIDE),
        _ => decoder(sender, version, WIDE),
    }
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut buffer = BytesMut::new();
    Encoder::new(version).encode(packet, &mut buffer).unwrap();
    buffer
}
