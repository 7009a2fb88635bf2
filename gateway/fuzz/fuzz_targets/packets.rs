//! Any bytes to the codec, from either side.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = roost_fuzzing::packets::check(input);
});
