//! The libFuzzer binary of [`aftercall_fuzz::twilio_signature`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::twilio_signature::run(data));
