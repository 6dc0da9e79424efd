//! Finds the end of a head in a growing buffer, looking at each byte once.
//!
//! A client that sends its head byte by byte must not make the gateway parse it from the start each
//! time, so nothing is parsed before the empty line is there. On the way every line feed is checked
//! to follow a carriage return: `httparse` takes a bare one for a line end, other hops do not.

use super::{HeadError, HeadLimits};

/// What a request line may have besides its target: a leading CR LF, method, blanks, version, CR
/// LF.
const REQUEST_LINE_REST: usize = 2 + super::head::MAX_METHOD + 2 + 8 + 2;

/// How far the search for the end of a head came. Keep one for each connection side; it is ready
/// for the next head after each one found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HeadScan {
    searched: usize,
    lines: usize,
}

impl HeadScan {
    /// Where the head ends (behind its empty line), or `None` when more bytes are needed.
    pub(super) fn find_end(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
    ) -> Result<Option<usize>, HeadError> {
        let window = &buf[..buf.len().min(limits.bytes)];
        while let Some(distance) = find_line_feed(&window[self.searched.min(window.len())..]) {
            let at = self.searched + distance;
            if at == 0 || window[at - 1] != b'\r' {
                return Err(HeadError::LineEnding);
            }
            // The line feed before this one was checked when it was found.
            let empty_line = at >= 3 && window[at - 2] == b'\n';
            self.searched = at + 1;
            self.lines += usize::from(at > 1);
            if empty_line {
                *self = Self::default();
                return Ok(Some(at + 1));
            }
        }
        self.searched = window.len();
        if self.lines == 0 && buf.len() > limits.target.saturating_add(REQUEST_LINE_REST) {
            return Err(HeadError::TargetTooLong);
        }
        if buf.len() >= limits.bytes {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(None)
    }
}

/// The first line feed, eight bytes at a time: the usual head line is too short for wider steps to
/// pay.
fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    const FEEDS: u64 = u64::from_ne_bytes([b'\n'; 8]);
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let difference = u64::from_le_bytes(*word) ^ FEEDS;
        // The lowest marked byte is a line feed; marks above it may be false (borrow), nobody
        // looks.
        let marks = difference.wrapping_sub(LOW) & !difference & HIGH;
        if marks != 0 {
            return Some(index * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let tail = rest.iter().position(|&byte| byte == b'\n')?;
    Some(words.len() * 8 + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 200,
        headers: 10,
        target: 50,
    };

    #[test]
    fn a_bare_line_feed_is_refused_before_the_head_is_complete() {
        let mut scan = HeadScan::default();
        assert_eq!(
            scan.find_end(b"GET / HTTP/1.1\n", &LIMITS),
            Err(HeadError::LineEnding)
        );
    }

    #[test]
    fn a_target_without_end_is_refused_before_the_head_limit() {
        let mut scan = HeadScan::default();
        let line = format!("GET /{}", "a".repeat(110));
        assert_eq!(
            scan.find_end(line.as_bytes(), &LIMITS),
            Err(HeadError::TargetTooLong)
        );
    }

    #[test]
    fn a_head_one_byte_over_its_limit_is_refused() {
        let head =
            |bytes: usize| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(bytes - 23));
        let fits = head(200);
        assert_eq!(fits.len(), 200);
        assert_eq!(
            HeadScan::default().find_end(fits.as_bytes(), &LIMITS),
            Ok(Some(200))
        );
        let over = head(201);
        let refusal = HeadScan::default().find_end(over.as_bytes(), &LIMITS);
        assert_eq!(refusal, Err(HeadError::HeadTooLarge));
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_were_cut() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nrest";
        for first in 0..head.len() {
            let mut scan = HeadScan::default();
            let mut end = scan.find_end(&head[..first], &LIMITS).unwrap();
            if end.is_none() {
                end = scan.find_end(head, &LIMITS).unwrap();
            }
            assert_eq!(end, Some(head.len() - 4), "cut at {first}");
        }
    }

    #[test]
    fn every_position_of_a_line_feed_is_found() {
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![0x8a; length];
                bytes[at] = b'\n';
                assert_eq!(find_line_feed(&bytes), Some(at));
            }
            assert_eq!(find_line_feed(&vec![0x0b; length]), None);
        }
    }
}
