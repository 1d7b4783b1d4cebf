//! The libFuzzer binary of [`aftercall_fuzz::json`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::json::run(data));
