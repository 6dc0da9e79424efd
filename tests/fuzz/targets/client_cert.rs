//! See [`portcullis_fuzz::client_cert`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::client_cert::check(data));
