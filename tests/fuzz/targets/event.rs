//! The libFuzzer binary of [`aftercall_fuzz::event`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| aftercall_fuzz::event::run(data));
