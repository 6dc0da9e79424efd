//! What a ClientHello offers for resumption: read in front of rustls.

use portcullis::tls::fuzzing;

/// Reads the input.
pub fn check(data: &[u8]) {
    let _ = fuzzing::reads_hello(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_read_so_that_what_is_near_them_is_tried() {
        for seed in [
            &include_bytes!("../seeds/hello/bare")[..],
            &include_bytes!("../seeds/hello/psk")[..],
            &include_bytes!("../seeds/hello/ticket")[..],
            &include_bytes!("../seeds/hello/two-records")[..],
        ] {
            assert!(fuzzing::reads_hello(seed));
        }
    }
}
