//! libFuzzer's way into [`aftercall_fuzz::reader`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::reader::run(data));
