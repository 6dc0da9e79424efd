//! A bound on HTTP/3 frames that are gathered before they are looked at.
//!
//! h3 waits for the whole of a HEADERS or SETTINGS frame, however long it claims to be. Only DATA may be of any length.

/// Frame type of DATA (RFC 9114, section 7.2.1).
const DATA: u64 = 0;
/// Stream type of the control stream (RFC 9114, section 6.2.1).
const CONTROL: u64 = 0;

/// Follows the frames of one stream.
#[derive(Debug)]
pub(super) struct Guard {
    limit: u64,
    state: State,
    number: Number,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The type of a unidirectional stream comes first.
    StreamType,
    Type,
    Length(u64),
    Payload(u64),
    /// No frames: another protocol's stream.
    Free,
}

/// A variable-length integer that may come in pieces (RFC 9000, section 16).
#[derive(Debug, Default)]
struct Number {
    value: u64,
    left: u8,
    begun: bool,
}

impl Number {
    fn push(&mut self, byte: u8) -> Option<u64> {
        if self.begun {
            self.value = self.value << 8 | u64::from(byte);
            self.left -= 1;
        } else {
            self.begun = true;
            self.left = (1 << (byte >> 6)) - 1;
            self.value = u64::from(byte & 0x3f);
        }
        let whole = (self.left == 0).then_some(self.value);
        if whole.is_some() {
            *self = Self::default();
        }
        whole
    }
}

impl Guard {
    /// For a request.
    pub(super) fn request(limit: u64) -> Self {
        Self {
            limit,
            state: State::Type,
            number: Number::default(),
        }
    }

    /// For a stream that the client opened for itself.
    pub(super) fn unidirectional(limit: u64) -> Self {
        Self {
            state: State::StreamType,
            ..Self::request(limit)
        }
    }

    /// Whether these bytes, which follow those before, keep within the bound.
    pub(super) fn allows(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            if let State::Payload(left) = self.state {
                let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = &bytes[skipped..];
                self.state = match left - skipped as u64 {
                    0 => State::Type,
                    left => State::Payload(left),
                };
            }
            let (State::StreamType | State::Type | State::Length(_), Some((byte, rest))) =
                (self.state, bytes.split_first())
            else {
                return true;
            };
            bytes = rest;
            let Some(number) = self.number.push(*byte) else {
                continue;
            };
            self.state = match self.state {
                State::StreamType if number == CONTROL => State::Type,
                State::StreamType => State::Free,
                State::Length(kind) if kind != DATA && number > self.limit => return false,
                State::Length(_) => State::Payload(number),
                _ => State::Length(number),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HEADERS of 3 bytes, DATA of 300, HEADERS of 16,383.
    const FRAMES: &[u8] = &[1, 3, 9, 9, 9, 0, 0x41, 0x2c];

    fn stream() -> Vec<u8> {
        let mut stream = FRAMES.to_vec();
        stream.extend([7; 300]);
        stream.extend([1, 0x7f, 0xff]);
        stream
    }

    #[test]
    fn a_giant_that_is_not_data_is_refused_however_it_is_cut() {
        for piece in [1, 2, 3, 7, 400] {
            let mut guard = Guard::request(1000);
            let pieces: Vec<bool> = stream()
                .chunks(piece)
                .map(|piece| guard.allows(piece))
                .collect();
            let (last, first) = pieces.split_last().unwrap();
            assert!(first.iter().all(|allowed| *allowed), "{piece}");
            assert!(!last, "{piece}");
        }
    }

    #[test]
    fn what_keeps_within_the_bound_passes() {
        assert!(Guard::request(16_383).allows(&stream()));
        // A control stream is looked into, any other is not.
        assert!(!Guard::unidirectional(10).allows(&[0, 4, 11]));
        assert!(Guard::unidirectional(10).allows(&[2, 4, 11, 0xff, 0xff]));
    }
}
