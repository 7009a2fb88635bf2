//! The tree of subscriptions beside a list.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = roost_fuzzing::subscriptions::check(input);
});
