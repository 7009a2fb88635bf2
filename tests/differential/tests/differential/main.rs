//! The same bytes to the gateway's decoder and to those of rumqttc and rmqtt: they see the same, or the difference has a name and a clause.

mod classes;
mod comparison;
mod ours;
mod page;
mod rmqtt_v3;
mod rmqtt_v5;
mod rumqttc_v4;
mod rumqttc_v5;
mod seen;
mod tally;

use bytes::BytesMut;
use classes::{CLASSES, classify};
use comparison::{Comparison, Library, Outcome, encoded_by};
use roost_differential::{Chance, Mutation, TYPES, mutate, packet};
use roost_gateway::packet::{DecodeError, Encoder, PacketType, ProtocolVersion, Side};
use seen::Seen;
use tally::Tally;

/// Packets, each to two decoders; `tests/long differential` takes another number.
const PACKETS: u64 = 80_000;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V311, ProtocolVersion::V5];

/// A packet of that seed, and what was done to it.
fn case(seed: u64) -> (ProtocolVersion, Side, Mutation, Vec<u8>) {
    let mut chance = Chance::new(seed);
    let version = chance.pick(&VERSIONS);
    let (packet_type, sender) = loop {
        let (packet_type, sender) = (chance.pick(&TYPES), chance.pick(&[Side::Client, Side::Server]));
        if packet_type.is_sent_by(sender, version) {
            break (packet_type, sender);
        }
    };
    let packet = packet(packet_type, version, sender, &mut chance);
    let mut bytes = BytesMut::new();
    Encoder::new(version).encode(&packet, &mut bytes).expect("it is a valid packet");
    let mutation = chance.pick(&Mutation::ALL);
    (version, sender, mutation, mutate(&bytes, mutation, &mut chance))
}

/// How a library's own encoder fares with a packet that it has taken.
fn compare_encoded(
    library: Library,
    version: ProtocolVersion,
    sender: Side,
    bytes: &[u8],
    tally: &mut Tally,
) {
    let before = Comparison::new(library, version, sender, bytes);
    if before.outcome() != Outcome::Same {
        return;
    }
    let Some(encoded) = encoded_by(library, version, bytes) else { return };
    let after = encoded.map(|encoded| Comparison::new(library, version, sender, &encoded).ours);
    match after {
        Ok(Ok(after)) if Ok(&after) == before.ours.as_ref() => tally.encoded_alike(library),
        Ok(after) if is_lost_login(&before, &after) => {}
        after => tally.encoded_differently(&before, &format!("{after:?}")),
    }
}

/// To rumqttc an empty user name or password is none, so it does not send it.
fn is_lost_login(before: &Comparison, after: &Result<Option<Seen>, DecodeError>) -> bool {
    let of_login = |name: &String| name == "user name" || name == "password";
    let is_of_login = match (&before.ours, after) {
        (Ok(Some(before)), Ok(Some(after))) => before.differing(after).iter().all(of_login),
        (_, Err(error)) => *error == DecodeError::PasswordWithoutUserName,
        _ => false,
    };
    before.library == Library::Rumqttc && before.is(PacketType::Connect) && is_of_login
}

fn run(packets: u64) -> Tally {
    // Decoders that panic are told of as such.
    std::panic::set_hook(Box::new(|_| {}));
    let mut tally = Tally::default();
    for seed in 0..packets {
        let (version, sender, mutation, bytes) = case(seed);
        for library in Library::ALL {
            tally.add(&Comparison::new(library, version, sender, &bytes), seed, mutation);
            compare_encoded(library, version, sender, &bytes, &mut tally);
        }
    }
    for class in CLASSES {
        let (version, bytes) = class.example;
        for (library, sender) in
            Library::ALL.into_iter().flat_map(|it| [(it, Side::Client), (it, Side::Server)])
        {
            tally.add(&Comparison::new(library, version, sender, bytes), packets, Mutation::None);
        }
    }
    let _ = std::panic::take_hook();
    tally
}

#[test]
fn three_decoders_see_the_same_or_the_difference_is_explained() {
    let packets = std::env::var("ROOST_DIFFERENTIAL").ok().map(|packets| packets.parse().unwrap());
    let packets = packets.unwrap_or(PACKETS);
    let tally = run(packets);
    assert!(tally.unexplained.is_empty(), "unexplained:\n{}", tally.unexplained.join("\n"));
    for library in Library::ALL {
        for version in VERSIONS {
            for packet_type in TYPES {
                let exists = packet_type != PacketType::Auth || version == ProtocolVersion::V5;
                // To rumqttc an AUTH is no packet.
                let is_known = packet_type != PacketType::Auth || library == Library::Rmqtt;
                let of = |outcome| tally.outcome(library, version, packet_type, outcome);
                let met = format!("{} {version:?} {packet_type}", library.name());
                assert!(!exists || !is_known || of(Outcome::Same) > 0, "{met}: never the same");
                assert!(!exists || of(Outcome::Refused) > 0, "{met}: never refused by both");
                assert!(!exists || of(Outcome::Waiting) > 0, "{met}: never waited for by both");
            }
        }
    }
    for class in CLASSES {
        assert!(tally.of_class(class.name) > 0, "never met: {}", class.name);
    }
    if let Ok(folder) = std::env::var("ROOST_FIGURES") {
        std::fs::write(std::path::Path::new(&folder).join("differential.md"), page::page(&tally, packets))
            .unwrap();
    }
}

#[test]
fn each_class_has_an_example() {
    std::panic::set_hook(Box::new(|_| {}));
    for class in CLASSES {
        let (version, bytes) = class.example;
        let cases = Library::ALL.into_iter().flat_map(|it| [(it, Side::Client), (it, Side::Server)]);
        let differences: Vec<_> = cases
            .map(|(library, sender)| Comparison::new(library, version, sender, bytes))
            .filter(|comparison| comparison.outcome() == Outcome::Different)
            .collect();
        let is_it = |it: &Comparison| classify(it).is_some_and(|found| found.name == class.name);
        assert!(differences.iter().any(is_it), "{}: {differences:?}", class.name);
    }
    let _ = std::panic::take_hook();
}

#[test]
fn what_the_gateway_sends_is_read_alike() {
    for seed in 0..40_000 {
        let (version, sender, mutation, bytes) = case(seed);
        if mutation != Mutation::None {
            continue;
        }
        for library in Library::ALL {
            let comparison = Comparison::new(library, version, sender, &bytes);
            let is_alike = comparison.outcome() == Outcome::Same;
            assert!(is_alike || classify(&comparison).is_some(), "seed {seed}: {comparison:?}");
        }
    }
}
