//! Sequences of operations on sessions, beside a naive broker.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Err(error) = roost_fuzzing::sessions::check(input) {
        panic!("{error}");
    }
});
