//! Fuzzes `checks::irc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torsade_fuzz::check("irc", data));
