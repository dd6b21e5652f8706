//! Fuzzes `checks::bgp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torsade_fuzz::check("bgp", data));
