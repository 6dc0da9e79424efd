//! Request ids and trace contexts: unique, cheap, and not secret.

use std::cell::Cell;

use http::HeaderValue;

/// Makes ids for one worker. SplitMix64 from a random seed: ids must be unique, not unguessable.
#[derive(Debug)]
pub struct Ids(Cell<u64>);

impl Ids {
    /// Seeds from the system's randomness.
    pub fn new() -> Self {
        let mut seed = [0; 8];
        // Without randomness TLS would not work either; a fixed seed still yields ids that differ in time.
        let _ = aws_lc_rs::rand::fill(&mut seed);
        Self(Cell::new(u64::from_ne_bytes(seed)))
    }

    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 128 bits as 32 hex digits.
    pub fn request_id(&self) -> HeaderValue {
        let mut id = [0; 32];
        put_hex(&mut id[..16], self.next());
        put_hex(&mut id[16..], self.next());
        value(&id)
    }

    /// A W3C `traceparent` that starts a trace, not sampled.
    pub fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-................................-................-00";
        // The ids must not be all zero.
        put_hex(&mut text[3..19], self.next() | 1);
        put_hex(&mut text[19..35], self.next());
        put_hex(&mut text[36..52], self.next() | 1);
        value(&text)
    }
}

/// Sixteen digits.
fn put_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

fn value(plain: &[u8]) -> HeaderValue {
    // Hex digits and dashes are a header value.
    HeaderValue::from_bytes(plain).unwrap_or(HeaderValue::from_static(""))
}

/// The trace id of a valid `traceparent` (W3C Trace Context, section 3.2), `None` for anything else.
pub(super) fn trace_id(traceparent: &str) -> Option<&str> {
    let bytes = traceparent.as_bytes();
    let lower_hex = |range: &[u8]| range.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let dashes = bytes.len() >= 55 && bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
    if !dashes || !lower_hex(&bytes[..2]) || !lower_hex(&bytes[3..35]) {
        return None;
    }
    if !lower_hex(&bytes[36..52]) || !lower_hex(&bytes[53..55]) || bytes[..2] == *b"ff" {
        return None;
    }
    let longer_is_fine = bytes.len() == 55 || (bytes[..2] != *b"00" && bytes[55] == b'-');
    let zero = |range: &[u8]| range.iter().all(|b| *b == b'0');
    (longer_is_fine && !zero(&bytes[3..35]) && !zero(&bytes[36..52])).then(|| &traceparent[3..35])
}

/// Whether a request id of a trusted peer may be passed on: short and harmless.
pub(super) fn is_plain_id(id: &[u8]) -> bool {
    (1..=128).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_trace_contexts_are_not_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id(good), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(trace_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn made_ids_are_valid_and_differ() {
        let ids = Ids::new();
        assert!(trace_id(ids.traceparent().to_str().unwrap()).is_some());
        assert_ne!(ids.request_id(), ids.request_id());
        let id = ids.request_id();
        assert!(is_plain_id(id.as_bytes()) && id.len() == 32);
    }
}
