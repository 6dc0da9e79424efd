//! Sessions: as rustls writes them, and as they are sealed.

use portcullis::tls::fuzzing;

/// Reads the input.
pub fn check(data: &[u8]) {
    let _ = fuzzing::reads_sessions(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_read_so_that_what_is_near_them_is_tried() {
        for seed in [
            &include_bytes!("../seeds/session/chain")[..],
            &include_bytes!("../seeds/session/plain")[..],
            &include_bytes!("../seeds/session/sealed")[..],
        ] {
            assert!(fuzzing::reads_sessions(seed));
        }
    }
}
