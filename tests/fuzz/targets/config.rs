//! The libFuzzer binary of [`aftercall_fuzz::config`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::config::run(data));
