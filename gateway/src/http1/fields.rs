//! The header fields of a head, and the few facts in them that say where the message ends.
//!
//! Values are slices of the head, nothing is copied; names go through the table of standard names
//! in `http`. Fields that decide framing are read here and nowhere else.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::{Framing, HeadError};

/// Fields that a gateway puts on a message, about.
const ADDED: usize = 8;

/// What the fields say about framing and about the connection.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) host: Option<HeaderValue>,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
}

/// Turns parsed lines of `head` into a map and the facts in it.
pub(super) fn collect(
    head: &Bytes,
    lines: &[httparse::Header<'_>],
) -> Result<(HeaderMap, Facts), HeadError> {
    // With room for what a gateway adds, so that the map is built once.
    let mut map = HeaderMap::with_capacity(lines.len() + ADDED);
    let mut facts = Facts::default();
    for line in lines {
        let (name, value) = field(head, line).ok_or(HeadError::HeaderName)?;
        facts.note(&name, &value, head, line)?;
        map.append(name, value);
    }
    Ok((map, facts))
}

/// One line as name and value; the value shares the memory of `head`.
pub(super) fn field(
    head: &Bytes,
    line: &httparse::Header<'_>,
) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
    let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).ok()?;
    Some((name, value))
}

impl Facts {
    fn note(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
        head: &Bytes,
        line: &httparse::Header<'_>,
    ) -> Result<(), HeadError> {
        match *name {
            header::HOST if self.host.is_some() => return Err(HeadError::HostDuplicate),
            header::HOST => self.host = Some(value.clone()),
            header::CONTENT_LENGTH => {
                let length = parse_length(line.value).filter(|_| is_plainly_set(head, line.value));
                if self
                    .content_length
                    .replace(length.ok_or(HeadError::ContentLength)?)
                    .is_some()
                {
                    return Err(HeadError::ContentLengthDuplicate);
                }
            }
            header::TRANSFER_ENCODING => {
                check_codings(line.value)?;
                if self.chunked || !is_plainly_set(head, line.value) {
                    return Err(HeadError::TransferEncoding);
                }
                self.chunked = true;
            }
            header::CONNECTION => {
                for option in list(line.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            header::EXPECT => {
                if self.expect_continue || !line.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::Expectation);
                }
                self.expect_continue = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The framing of a request (RFC 9112 section 6.3).
    pub(super) fn request_framing(
        &self,
        method: &Method,
        version: Version,
    ) -> Result<Framing, HeadError> {
        let framing = self.announced(version)?;
        if *method == Method::CONNECT && framing != Framing::None {
            return Err(HeadError::ConnectWithBody);
        }
        Ok(framing)
    }

    /// The framing of a response to `method`, and the framing its fields announce, which is another
    /// one where the status or the method forbids a body (RFC 9112 section 6.3, RFC 9110 section
    /// 8.6).
    pub(super) fn response_framing(
        &self,
        method: &Method,
        status: StatusCode,
        version: Version,
    ) -> Result<(Framing, Framing), HeadError> {
        let announced = self.announced(version)?;
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            return Ok((Framing::None, Framing::None));
        }
        if *method == Method::CONNECT && status.is_success() {
            return Ok((Framing::None, Framing::None));
        }
        if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            return Ok((Framing::None, announced));
        }
        match announced {
            Framing::None => Ok((Framing::UntilClose, Framing::UntilClose)),
            framing => Ok((framing, framing)),
        }
    }

    /// Whether the connection may carry another message (RFC 9112 section 9.3).
    pub(super) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }

    /// Whether the client waits for 100 before it sends its body. An HTTP/1.0 client never does
    /// (RFC 9110 section 10.1.1).
    pub(super) fn expects_continue(&self, version: Version) -> bool {
        self.expect_continue && version == Version::HTTP_11
    }

    /// Whether a body follows although the status forbids one: bytes nobody may read as a message.
    pub(super) fn has_forbidden_body(&self, status: StatusCode) -> bool {
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        bodiless && (self.chunked || self.content_length.is_some_and(|length| length > 0))
    }

    fn announced(&self, version: Version) -> Result<Framing, HeadError> {
        match (self.chunked, self.content_length) {
            (true, Some(_)) => Err(HeadError::LengthAndTransferEncoding),
            (true, None) if version == Version::HTTP_10 => Err(HeadError::TransferEncodingVersion),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::None),
        }
    }
}

/// A number of plain digits. No sign, no list, no white space: `str::parse` alone would take `+5`.
pub fn parse_length(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    plain
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// Refuses everything but one `chunked` (RFC 9112 section 6.1). A list that would be understood if
/// its other codings were known is "not implemented"; every other one has no reliable end.
fn check_codings(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let count = codings.clone().count();
    let well_formed = codings
        .clone()
        .enumerate()
        .all(|(index, coding)| is_token(coding) && (!is_chunked(coding) || index + 1 == count));
    match well_formed {
        true => Err(HeadError::TransferEncodingUnsupported),
        false => Err(HeadError::TransferEncoding),
    }
}

/// Whether the value stands behind its colon with at most one blank, and nothing follows it.
///
/// RFC 9110 section 5.5 allows any white space around a value. For the two fields that decide
/// framing nobody honest uses it, and hops that do not strip it all have read two messages for one.
fn is_plainly_set(head: &[u8], value: &[u8]) -> bool {
    let Some(start) = (value.as_ptr() as usize).checked_sub(head.as_ptr() as usize) else {
        return false;
    };
    let before = head.get(..start).unwrap_or_default();
    let after = head.get(start + value.len()).copied();
    (before.ends_with(b":") || before.ends_with(b": ")) && after == Some(b'\r')
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// `1*tchar` (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// `tchar` (RFC 9110 section 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
