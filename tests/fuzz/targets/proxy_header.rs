//! Fuzzes `checks::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| torsade_fuzz::check("proxy_header", data));
