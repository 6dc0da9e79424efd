//! The line in front of a chunk: its size and its extensions (RFC 9112 section 7.1).
//!
//! Extensions are checked and dropped. They are bounded in a line and over the body: a body of
//! one-byte chunks with long extensions would otherwise cost far more than it carries.

use super::BodyError;
use super::fields::is_token_byte;

/// Most bytes of extensions in one line.
const MAX_EXTENSIONS: usize = 256;

/// Most bytes of extensions in one body.
pub(super) const EXTENSION_BUDGET: usize = 16 * 1024;

/// Hexadecimal digits of the largest `u64`. More are refused even if they are zeros.
const MAX_DIGITS: usize = 16;

/// A chunk line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChunkLine {
    /// Bytes of data that follow; zero ends the body.
    pub(super) size: u64,
    /// Bytes of the line, its CR LF included.
    pub(super) line_len: usize,
    /// Bytes of its extensions.
    pub(super) extensions_len: usize,
}

/// Reads the chunk line at the front of `buf`, or `None` when more bytes are needed.
///
/// Each call looks from the start, which stays cheap because a line is at most 274 bytes.
pub(super) fn parse(buf: &[u8]) -> Result<Option<ChunkLine>, BodyError> {
    let digits_len = buf
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits_len > MAX_DIGITS || (digits_len == 0 && !buf.is_empty()) {
        return Err(BodyError::ChunkSize);
    }
    let (digits, rest) = buf.split_at(digits_len);
    let Some(line_feed) = rest
        .iter()
        .take(MAX_EXTENSIONS + 2)
        .position(|&byte| byte == b'\n')
    else {
        return match rest.len() {
            0..=MAX_EXTENSIONS => Ok(None),
            len if len == MAX_EXTENSIONS + 1 && rest.ends_with(b"\r") => Ok(None),
            _ => Err(BodyError::ChunkExtensionTooLarge),
        };
    };
    let Some(extensions) = rest[..line_feed].strip_suffix(b"\r") else {
        return Err(BodyError::LineEnding);
    };
    match extensions.first() {
        None | Some(b';') => {}
        Some(_) => return Err(BodyError::ChunkSize),
    }
    if !are_extensions(extensions) {
        return Err(BodyError::ChunkExtension);
    }
    Ok(Some(ChunkLine {
        size: number(digits),
        line_len: digits_len + line_feed + 1,
        extensions_len: extensions.len(),
    }))
}

/// At most [`MAX_DIGITS`] hexadecimal digits, so it cannot overflow.
fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        sum << 4 | u64::from(value)
    })
}

/// `*( ";" token [ "=" ( token / quoted-string ) ] )`, without the white space RFC 9112 section 7.1.1
/// calls bad: it was never sent by anyone but attackers.
fn are_extensions(mut text: &[u8]) -> bool {
    while let Some((&first, rest)) = text.split_first() {
        let Some(after_name) = skip_token(rest).filter(|_| first == b';') else {
            return false;
        };
        text = match after_name.strip_prefix(b"=") {
            None => after_name,
            Some(value) => match skip_token(value).or_else(|| skip_quoted(value)) {
                Some(after_value) => after_value,
                None => return false,
            },
        };
    }
    true
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let len = text.iter().take_while(|&&byte| is_token_byte(byte)).count();
    (len > 0).then(|| &text[len..])
}

/// A `quoted-string` (RFC 9110 section 5.6.4).
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', byte, after @ ..] if is_text(*byte) => after,
            [byte, after @ ..] if is_text(*byte) && *byte != b'\\' => after,
            _ => return None,
        };
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
