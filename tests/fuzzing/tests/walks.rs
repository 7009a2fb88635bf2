//! The same as the fuzz targets, with bytes by chance, from fixed seeds; and the broken rules that must be found so.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use roost_fuzzing::sessions::{self, Fault, Met};
use roost_fuzzing::{packets, shard, subscriptions};

/// Sequences of operations on sessions: some seconds of one core.
const SEQUENCES: u64 = 1_500;
/// Among the first so many each broken rule must be found.
const SEQUENCES_TO_FIND: u64 = 400;

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// From a few to four hundred operations.
fn sequence(seed: u64) -> Vec<u8> {
    let operations = 10 + usize::try_from(seed * 7 % 390).expect("it is small");
    bytes(seed, 2 + operations * 4)
}

/// Bytes of few values, behind a packet's first two: what is random all through is hardly ever one.
fn mostly_packets(seed: u64) -> Vec<u8> {
    const HEADERS: [u8; 15] =
        [0x20, 0x30, 0x31, 0x32, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xE0, 0xF0];
    const LIKELY: [u8; 16] = [0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 0x26, 0x1F, 0x0B, b'a', b'/', 0x80];
    let mut bytes = bytes(seed, 4 + usize::try_from(seed % 12).expect("it is small"));
    for byte in &mut bytes[4..] {
        *byte = LIKELY[usize::from(*byte) % LIKELY.len()];
    }
    let connected = 1 + bytes[0] % 2;
    bytes[0] = bytes[0] & !3 | connected;
    bytes[2] = HEADERS[usize::from(bytes[2]) % HEADERS.len()];
    bytes[3] = u8::try_from(seed % 12).expect("it is small");
    bytes
}

fn outcome(check: impl FnOnce() -> Result<Met, String>) -> Result<Met, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("it panics".to_owned()))
}

#[test]
fn every_client_reads_what_a_naive_broker_says() {
    let mut met = Met::default();
    for seed in 0..SEQUENCES {
        let input = sequence(seed);
        match outcome(|| sessions::check(&input)) {
            Ok(more) => met.add(&more),
            Err(error) => {
                let shortest = sessions::shorten(&input, |input| outcome(|| sessions::check(input)).is_err());
                let shorter_error = outcome(|| sessions::check(&shortest));
                panic!("seed {seed}: {error}\n{}{shorter_error:?}", sessions::describe(&shortest));
            }
        }
    }
    for what in Met::ALL {
        println!("{:>8} {what}", met.of(what));
    }
    let missing: Vec<_> = Met::ALL.into_iter().filter(|what| met.of(what) < 10).collect();
    assert!(missing.is_empty(), "hardly ever met: {missing:?}");
}

#[test]
fn every_broken_rule_is_found() {
    let finds = |fault: Fault| {
        (0..SEQUENCES_TO_FIND)
            .find_map(|seed| Some((seed, outcome(|| sessions::check_with(&sequence(seed), fault)).err()?)))
    };
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        match finds(fault) {
            Some((seed, error)) => println!("{fault:?}: seed {seed}: {error}"),
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn any_bytes_become_the_same_packets_in_whatever_pieces() {
    let found = (0..60_000).map(|seed| packets::check(&mostly_packets(seed)));
    let (mut packets, mut refused) = (0, 0);
    for found in found {
        packets += found.packets;
        refused += usize::from(found.is_refused);
    }
    assert!(packets > 2_000 && refused > 20_000, "{packets} packets, {refused} refusals");
}

#[test]
fn the_tree_of_subscriptions_matches_as_a_list_does() {
    let steps: u64 = (0..1_000).map(|seed| subscriptions::check(&bytes(seed, 1_000))).sum();
    assert!(steps > 100_000, "{steps} steps");
}

#[test]
fn whatever_happens_to_a_shard_its_effects_can_be_performed() {
    let steps: u64 = (0..1_000).map(|seed| shard::check(&bytes(seed, 800))).sum();
    assert!(steps > 100_000, "{steps} steps");
}
