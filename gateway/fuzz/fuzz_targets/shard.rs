//! Anything that can happen to a shard.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = roost_fuzzing::shard::check(input);
});
