//! One packet at two decoders.

use std::panic::catch_unwind;

use roost_gateway::packet::{DecodeError, PacketType, ProtocolVersion, Side};

use crate::seen::Seen;
use crate::{ours, rmqtt_v3, rmqtt_v5, rumqttc_v4, rumqttc_v5};

/// Whose decoder the gateway's is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Library {
    Rumqttc,
    Rmqtt,
}

impl Library {
    pub(crate) const ALL: [Self; 2] = [Self::Rumqttc, Self::Rmqtt];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rumqttc => "rumqttc",
            Self::Rmqtt => "rmqtt",
        }
    }
}

/// What both made of the same bytes; `None`: more are needed.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) library: Library,
    pub(crate) version: ProtocolVersion,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ours: Result<Option<Seen>, DecodeError>,
    pub(crate) theirs: Result<Option<Seen>, String>,
}

/// How the two compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Both see the same.
    Same,
    /// Both refuse it.
    Refused,
    /// Both wait for more.
    Waiting,
    /// They differ.
    Different,
}

impl Comparison {
    pub(crate) fn new(library: Library, version: ProtocolVersion, sender: Side, bytes: &[u8]) -> Self {
        let ours = ours::decode(bytes, version, sender).map(|packet| packet.as_ref().map(ours::seen));
        Self { library, version, bytes: bytes.to_vec(), ours, theirs: decode(library, version, bytes) }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match (&self.ours, &self.theirs) {
            (Ok(None), Ok(None)) => Outcome::Waiting,
            (Err(_), Err(error)) if error != PANIC => Outcome::Refused,
            (Ok(ours), Ok(theirs)) if ours == theirs => Outcome::Same,
            _ => Outcome::Different,
        }
    }

    /// By the first byte.
    pub(crate) fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_number(self.bytes.first()? >> 4)
    }

    pub(crate) fn is(&self, packet_type: PacketType) -> bool {
        self.packet_type() == Some(packet_type)
    }

    /// What comes behind the fixed header.
    pub(crate) fn body(&self) -> &[u8] {
        let length_len = self.bytes.iter().skip(1).take_while(|byte| **byte >= 0x80).count() + 1;
        self.bytes.get(1 + length_len..).unwrap_or_default()
    }

    /// The gateway refuses what they take, for that reason.
    pub(crate) fn they_take(&self, why: impl FnOnce(&DecodeError) -> bool) -> bool {
        matches!((&self.ours, &self.theirs), (Err(error), Ok(Some(_))) if why(error))
    }

    /// They refuse what the gateway takes.
    pub(crate) fn they_refuse(&self) -> bool {
        matches!((&self.ours, &self.theirs), (Ok(Some(_)), Err(error)) if error != PANIC)
    }

    /// The names of the fields in which they differ, if both take it.
    pub(crate) fn differing(&self) -> Vec<String> {
        match (&self.ours, &self.theirs) {
            (Ok(Some(ours)), Ok(Some(theirs))) => ours.differing(theirs),
            _ => Vec::new(),
        }
    }
}

const PANIC: &str = "it panics";

fn decode(library: Library, version: ProtocolVersion, bytes: &[u8]) -> Result<Option<Seen>, String> {
    let bytes = bytes.to_vec();
    let decoded = catch_unwind(move || match (library, version) {
        (Library::Rumqttc, ProtocolVersion::V5) => {
            Ok(rumqttc_v5::decode(&bytes)?.map(|it| rumqttc_v5::seen(&it)))
        }
        (Library::Rumqttc, _) => Ok(rumqttc_v4::decode(&bytes)?.map(|it| rumqttc_v4::seen(&it))),
        (Library::Rmqtt, ProtocolVersion::V5) => Ok(rmqtt_v5::decode(&bytes)?.map(|it| rmqtt_v5::seen(&it))),
        (Library::Rmqtt, _) => Ok(rmqtt_v3::decode(&bytes)?.map(|it| rmqtt_v3::seen(&it))),
    });
    decoded.unwrap_or_else(|_| Err(PANIC.to_owned()))
}

/// The bytes of another encoder for what its decoder made of these; none if it does not take them.
pub(crate) fn encoded_by(
    library: Library,
    version: ProtocolVersion,
    bytes: &[u8],
) -> Option<Result<Vec<u8>, String>> {
    let bytes = bytes.to_vec();
    let encoded = catch_unwind(move || match (library, version) {
        (Library::Rumqttc, ProtocolVersion::V5) => {
            Some(rumqttc_v5::encode(&rumqttc_v5::decode(&bytes).ok()??))
        }
        (Library::Rumqttc, _) => Some(rumqttc_v4::encode(&rumqttc_v4::decode(&bytes).ok()??)),
        (Library::Rmqtt, ProtocolVersion::V5) => Some(rmqtt_v5::encode(&rmqtt_v5::decode(&bytes).ok()??)),
        (Library::Rmqtt, _) => Some(rmqtt_v3::encode(&rmqtt_v3::decode(&bytes).ok()??)),
    });
    encoded.unwrap_or_else(|_| Some(Err(PANIC.to_owned()))).map(|encoded| encoded.map(|bytes| bytes.to_vec()))
}

/// Whether the packet that is announced is all there.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    let lengths = bytes.iter().skip(1).take_while(|byte| **byte >= 0x80).count() + 1;
    let value = |(at, byte): (usize, &u8)| usize::from(byte & 0x7F) << (7 * at.min(4));
    let body: usize = bytes.iter().skip(1).take(lengths).enumerate().map(value).sum();
    bytes.len() > lengths && bytes.len() >= 1 + lengths + body
}
