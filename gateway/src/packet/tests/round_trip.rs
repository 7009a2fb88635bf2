//! What is encoded is decoded again, however the bytes are cut.

use proptest::prelude::*;

use super::strategies::{sent_packet, side, version};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_survives_encode_and_decode((packet, sender, version) in sent_packet()) {
        let mut buffer = encoded(&packet, version);
        prop_assert_eq!(Encoder::new(version).encoded_len(&packet), Ok(buffer.len()));
        buffer.extend_from_slice(b"next");
        let decoded = decoder_for(&packet, sender, version).decode(&mut buffer);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert_eq!(&buffer[..], b"next");
    }

    #[test]
    fn a_packet_fed_byte_by_byte_comes_whole_at_its_last_byte((packet, sender, version) in sent_packet()) {
        let bytes = encoded(&packet, version);
        let mut decoder = decoder_for(&packet, sender, version);
        let mut buffer = BytesMut::new();
        for (index, byte) in bytes.iter().enumerate() {
            prop_assert_eq!(decoder.packet_len(&buffer).unwrap().filter(|&len| len != bytes.len()), None);
            buffer.extend_from_slice(&[*byte]);
            let decoded = decoder.decode(&mut buffer).unwrap();
            if index + 1 < bytes.len() {
                prop_assert_eq!(decoded, None);
            } else {
                prop_assert_eq!(decoded, Some(packet.clone()));
            }
        }
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn a_shortened_body_is_never_the_same_packet((packet, sender, version) in sent_packet()) {
        // The remaining length says less than the fields do: refused, or another packet, but no panic.
        let bytes = encoded(&packet, version);
        let (body_len, header_len) = super::super::reader::variable_integer(&bytes[1..]).unwrap().unwrap();
        for shorter in 0..body_len {
            let mut buffer = BytesMut::from(&bytes[..1]);
            let sink: &mut dyn super::super::sink::Sink = &mut buffer;
            sink.variable_integer(shorter);
            let start = 1 + header_len;
            buffer.extend_from_slice(&bytes[start..start + shorter as usize]);
            let decoded = decoder_for(&packet, sender, version).decode(&mut buffer);
            // A DISCONNECT's empty property length may be there or not (MQTT5 §3.14.2.2.1).
            let is_optional = matches!(packet, Packet::Disconnect(_)) && shorter == 1 && bytes[start + 1..] == [0];
            prop_assert!(is_optional || decoded != Ok(Some(packet.clone())), "{decoded:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_what_decodes_encodes_again(
        sender in side(),
        version in version(),
        first in any::<u8>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        // A right length in front, so that bodies are reached, not only headers.
        let mut framed = BytesMut::from(&[first][..]);
        let sink: &mut dyn super::super::sink::Sink = &mut framed;
        sink.variable_integer(bytes.len() as u32);
        framed.extend_from_slice(&bytes);
        for mut decoder in [decoder(sender, version, WIDE), Decoder::for_server(WIDE)] {
            for mut buffer in [framed.clone(), BytesMut::from(&bytes[..])] {
                if let Ok(Some(packet)) = decoder.clone().decode(&mut buffer) {
                    let mut again = encoded(&packet, decoder.version().unwrap_or(version));
                    if let Packet::Connect(connect) = &packet {
                        again = encoded(&packet, connect.version);
                    }
                    prop_assert_eq!(decoder.decode(&mut again), Ok(Some(packet)));
                }
            }
        }
    }

    #[test]
    fn a_detached_publish_is_equal_and_frees_the_read_buffer((packet, sender, version) in sent_packet()) {
        let mut buffer = encoded(&packet, version);
        let decoded = decoder_for(&packet, sender, version).decode(&mut buffer).unwrap().unwrap();
        if let Packet::Publish(publish) = decoded {
            let detached = publish.detached();
            prop_assert_eq!(&detached, &publish);
            drop(publish);
            // Alone again, the buffer can be had back whole.
            prop_assert!(buffer.try_reclaim(buffer.capacity() + 1));
        }
    }

    #[test]
    fn flipped_bytes_never_panic(
        (packet, sender, version) in sent_packet(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut buffer = encoded(&packet, version);
        for (index, byte) in flips {
            let index = index.index(buffer.len());
            buffer[index] = byte;
        }
        let len = buffer.len();
        let mut decoder = decoder_for(&packet, sender, version);
        if let Ok(Some(_)) = decoder.decode(&mut buffer) {
            prop_assert!(buffer.len() < len);
        }
    }
}

#[test]
fn several_packets_in_one_read_come_one_after_another() {
    let mut buffer = BytesMut::new();
    let mut decoder = Decoder::for_server(DecodeLimits::default());
    let connect: &[u8] = &[0x10, 0x0D, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'd'];
    buffer.extend_from_slice(connect);
    buffer.extend_from_slice(&[0xC0, 0x00, 0xC0]);
    assert!(matches!(decoder.decode(&mut buffer), Ok(Some(Packet::Connect(_)))));
    assert_eq!(decoder.version(), Some(ProtocolVersion::V311));
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(Packet::Pingreq)));
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    buffer.extend_from_slice(&[0x00]);
    assert_eq!(decoder.decode(&mut buffer), Ok(Some(Packet::Pingreq)));
}

#[test]
fn a_payload_shares_the_read_buffer() {
    let mut buffer = BytesMut::from(&[0x30, 5, 0, 1, b't', 0xCA, 0xFE][..]);
    let at = buffer[5..].as_ptr();
    let mut decoder = decoder(Side::Client, ProtocolVersion::V311, WIDE);
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut buffer) else { panic!("a publish") };
    assert_eq!(publish.payload.as_ptr(), at);
}

#[test]
fn a_connect_written_by_hand_decodes_field_by_field() {
    // By the layouts of MQTT311 §3.1.2 and MQTT5 §3.1.2: user name, password, will with QoS 1, clean session, 10 s.
    let v311 =
        b"\x10\x24\x00\x04MQTT\x04\xCE\x00\x0A\x00\x03cid\x00\x01w\x00\x04gone\x00\x04user\x00\x04pass";
    let v5 = b"\x10\x2B\x00\x04MQTT\x05\xCE\x00\x0A\x05\x11\x00\x00\x00\x0A\x00\x03cid\x00\x00\x01w\x00\x04gone\x00\x04user\x00\x04pass";
    for (bytes, version) in [(&v311[..], ProtocolVersion::V311), (&v5[..], ProtocolVersion::V5)] {
        let mut buffer = BytesMut::from(bytes);
        let decoded = Decoder::for_server(DecodeLimits::default()).decode(&mut buffer);
        let Ok(Some(Packet::Connect(connect))) = decoded else { panic!("{decoded:?}") };
        assert_eq!((connect.version, connect.keep_alive_s, connect.clean_start), (version, 10, true));
        assert_eq!(connect.client_id, "cid");
        let will = connect.will.as_ref().unwrap();
        assert_eq!((will.topic.as_str(), &will.payload[..]), ("w", &b"gone"[..]));
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, false));
        assert_eq!(connect.user_name.as_deref(), Some("user"));
        assert_eq!(&connect.password.as_ref().unwrap().expose()[..], b"pass");
        assert_eq!(&encoded(&Packet::Connect(connect), version)[..], bytes);
    }
}

#[test]
fn short_forms_are_used_and_understood() {
    // MQTT5 §3.4.2.1, §3.14.2.1, §3.15.2.1: reason and properties are left out where they say nothing.
    let id = PacketId::new(258).unwrap();
    let v5 = ProtocolVersion::V5;
    let cases: [(Packet, Side, &[u8]); 6] = [
        (Packet::Puback(Ack::success(id)), Side::Client, &[0x40, 2, 1, 2]),
        (
            Packet::Puback(Ack::with_reason(id, ReasonCode::NotAuthorized)),
            Side::Client,
            &[0x40, 3, 1, 2, 0x87],
        ),
        (Packet::Pubrel(Ack::success(id)), Side::Client, &[0x62, 2, 1, 2]),
        (Packet::Disconnect(Disconnect::default()), Side::Client, &[0xE0, 0]),
        (
            Packet::Disconnect(Disconnect { reason: ReasonCode::SessionTakenOver, properties: None }),
            Side::Server,
            // Its empty property length could be left out; clients in the field then misread the reason.
            &[0xE0, 2, 0x8E, 0],
        ),
        (Packet::Auth(Auth::default()), Side::Server, &[0xF0, 0]),
    ];
    for (packet, sender, bytes) in cases {
        assert_eq!(&encoded(&packet, v5)[..], bytes);
        assert_eq!(decoder(sender, v5, WIDE).decode(&mut BytesMut::from(bytes)), Ok(Some(packet)));
    }
    // The long form of success is as good.
    let long = BytesMut::from(&[0x40, 4, 1, 2, 0, 0][..]);
    let decoded = decoder(Side::Client, v5, WIDE).decode(&mut long.clone());
    assert_eq!(decoded, Ok(Some(Packet::Puback(Ack::success(id)))));
}
