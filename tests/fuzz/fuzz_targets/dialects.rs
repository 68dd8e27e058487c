#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| a11i_fuzz::dialects(data));
