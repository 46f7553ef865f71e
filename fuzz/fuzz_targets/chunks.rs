#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unibody::edge::properties::chunks(bytes));
