//! Looks for pseudo-header fields in a trailer section that is still compressed (RFC 7541).
//!
//! hyper throws them away; RFC 9113 (section 8.1) wants the request refused. A name is seen where it is written out or
//! taken from the static table. One that stands in the client's dynamic table is not, and is thrown away as before: to
//! see it the whole table would have to be kept twice.

/// The static table's pseudo-header fields are its first ones (RFC 7541, appendix A).
const LAST_PSEUDO: u8 = 14;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:` in the Huffman code is 1011100; the next bit belongs to the next letter.
const HUFFMAN_COLON: u8 = 0b1011_1000;

/// A section on its way, which may come in any pieces.
#[derive(Debug)]
pub(super) struct Section {
    state: State,
    /// Bytes before the block: the length of the padding, the priority.
    skip: u32,
    padded: bool,
    /// Bytes to come of the block in this frame, padding included until it is known.
    left: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Field,
    /// The rest of an integer, and then the strings.
    Integer(Strings),
    /// The length of the first of these strings.
    Length(Strings),
    /// The rest of a length: what it is so far, and the shift of the next seven bits.
    LongLength(Strings, u32, u32),
    /// Bytes to come of a string; `true` where the first of a name is next.
    Text(Strings, u32, Looks),
}

/// What a field has still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strings {
    None,
    Value,
    NameAndValue,
}

/// Whether the next byte begins a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    No,
    Plain,
    Huffman,
}

impl Section {
    /// A section that begins with a HEADERS frame of this length and these flags.
    pub(super) fn new(length: u32, flags: u8) -> Self {
        let padded = flags & PADDED != 0;
        let priority = if flags & PRIORITY != 0 { 5 } else { 0 };
        Self {
            state: State::Field,
            skip: priority + u32::from(padded),
            padded,
            left: length,
        }
    }

    /// A CONTINUATION of this length follows.
    pub(super) fn goes_on(&mut self, length: u32) {
        self.skip = 0;
        self.left = length;
    }

    /// Whether a pseudo-header field is among these bytes, which follow those before.
    pub(super) fn has_pseudo(&mut self, payload: &[u8]) -> bool {
        payload.iter().any(|&byte| self.push(byte))
    }

    fn push(&mut self, byte: u8) -> bool {
        if self.left == 0 {
            return false; // Padding.
        }
        self.left -= 1;
        if self.skip > 0 {
            self.skip -= 1;
            if std::mem::take(&mut self.padded) {
                self.left = self.left.saturating_sub(u32::from(byte));
            }
            return false;
        }
        self.state = match self.state {
            State::Field => match field(byte) {
                Some(state) => state,
                None => return true,
            },
            State::Integer(strings) if byte & 0x80 == 0 => before(strings),
            State::Integer(_) => self.state,
            State::Length(strings) => {
                let looks = match (strings, byte & 0x80 != 0) {
                    (Strings::NameAndValue, true) => Looks::Huffman,
                    (Strings::NameAndValue, false) => Looks::Plain,
                    _ => Looks::No,
                };
                match byte & 0x7f {
                    0 => after(strings),
                    0x7f => State::LongLength(strings, 0x7f, 0),
                    length => State::Text(strings, u32::from(length), looks),
                }
            }
            State::LongLength(strings, length, shift) => {
                let more = u32::from(byte & 0x7f).checked_shl(shift);
                let length = length.saturating_add(more.unwrap_or(u32::MAX));
                match byte & 0x80 {
                    // No pseudo-header field has so long a name.
                    0 => State::Text(strings, length, Looks::No),
                    _ => State::LongLength(strings, length, shift + 7),
                }
            }
            State::Text(strings, left, looks) => {
                let begins = match looks {
                    Looks::No => false,
                    Looks::Plain => byte == b':',
                    Looks::Huffman => byte & 0xfe == HUFFMAN_COLON,
                };
                if begins {
                    return true;
                }
                match left {
                    1 => after(strings),
                    left => State::Text(strings, left - 1, Looks::No),
                }
            }
        };
        false
    }
}

/// What follows the first byte of a field; `None` where it names a pseudo-header field.
fn field(byte: u8) -> Option<State> {
    let (index, most, strings) = match byte {
        0x80.. => (byte & 0x7f, 0x7f, Strings::None),
        0x40.. => (byte & 0x3f, 0x3f, Strings::Value),
        // A size update has no name.
        0x3f => return Some(State::Integer(Strings::None)),
        0x20.. => return Some(State::Field),
        _ => (byte & 0x0f, 0x0f, Strings::Value),
    };
    match index {
        0 if strings == Strings::Value => Some(State::Length(Strings::NameAndValue)),
        1..=LAST_PSEUDO => None,
        index if index == most => Some(State::Integer(strings)),
        _ => Some(before(strings)),
    }
}

fn before(strings: Strings) -> State {
    match strings {
        Strings::None => State::Field,
        strings => State::Length(strings),
    }
}

fn after(strings: Strings) -> State {
    match strings {
        Strings::NameAndValue => State::Length(Strings::Value),
        Strings::Value | Strings::None => State::Field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the block is cut.
    fn found(flags: u8, payload: &[u8]) -> bool {
        let answers: Vec<bool> = (1..=payload.len())
            .map(|piece| {
                let mut section = Section::new(payload.len() as u32, flags);
                payload.chunks(piece).any(|piece| section.has_pseudo(piece))
            })
            .collect();
        assert!(
            answers.windows(2).all(|two| two[0] == two[1]),
            "{payload:x?}"
        );
        answers[0]
    }

    #[test]
    fn a_pseudo_header_field_is_seen_in_every_representation() {
        let blocks: [&[u8]; 8] = [
            b"\x82",
            b"\x8e",
            b"\x41\x01a",
            b"\x01\x01a",
            b"\x14\x01a",
            b"\x00\x05:path\x01/",
            b"\x40\x85\xb9\x58\xd3\x3f\xff\x01/",
            b"\x00\x01a\x01b\x3f\xe1\x1f\x10\x08:unknown\x00",
        ];
        for block in blocks {
            assert!(found(0, block), "{block:x?}");
        }
    }

    #[test]
    fn fields_that_only_look_like_one_are_let_pass() {
        let long = [b"\x00\x7f\x01", &[b':'; 128][..], b"\x01:"].concat();
        let blocks: [&[u8]; 6] = [
            b"\x00\x04test\x05:path",
            b"\x90\xbe\xff\x80\x01",
            b"\x0f\x2f\x05:path",
            b"\x7f\x00\x01:",
            b"\x20\x00\x01a\x00",
            &long,
        ];
        for block in blocks {
            assert!(!found(0, block), "{block:x?}");
        }
    }

    #[test]
    fn padding_and_priority_are_no_fields() {
        assert!(!found(PADDED, b"\x02\x00\x01a\x01b\x82\x82"));
        assert!(found(
            PADDED | PRIORITY,
            b"\x01\x82\x82\x82\x82\x82\x82\x82"
        ));
        assert!(!found(
            PADDED | PRIORITY,
            b"\x01\x82\x82\x82\x82\x82\x90\x82"
        ));
        let mut section = Section::new(2, 0);
        assert!(!section.has_pseudo(b"\x00\x05"));
        section.goes_on(7);
        assert!(section.has_pseudo(b":path\x01/"));
    }
}
