//! The libFuzzer binary of [`aftercall_fuzz::reader`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::reader::run(data));
