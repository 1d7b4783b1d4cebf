//! The libFuzzer binary of [`aftercall_fuzz::source`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::source::run(data));
