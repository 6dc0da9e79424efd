//! See [`portcullis_fuzz::crl`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::crl::check(data));
