//! See `alknet::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alknet::fuzz::spare(data));
