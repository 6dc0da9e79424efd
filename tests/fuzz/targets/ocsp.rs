//! See [`portcullis_fuzz::ocsp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::ocsp::check(data));
