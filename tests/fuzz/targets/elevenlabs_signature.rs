//! The libFuzzer binary of [`aftercall_fuzz::elevenlabs_signature`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::elevenlabs_signature::run(data));
