//! See [`portcullis_fuzz::xfcc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::xfcc::check(data));
