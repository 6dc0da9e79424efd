//! Trailer sections (RFC 9110 section 6.5): fields after the last chunk.
//!
//! A trailer may end up among the headers of a recipient that merges them, so a field that could
//! change what was already decided must not get through. Fields of framing, routing and the
//! connection are refused: nobody honest sends them. Fields of authentication, content and request
//! control are dropped, as RFC 9110 section 6.5.1 lets a recipient do; the rest passes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

use super::fields;
use super::{BodyError, HeadLimits, MAX_HEADERS};

/// Trailers of the usual message; see `head::FEW_HEADERS`.
const FEW_TRAILERS: usize = 16;

/// What happens to a field that stands in a trailer section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrailerRule {
    /// Passed on.
    Keep,
    /// Left out.
    Drop,
    /// The message is refused.
    Refuse,
}

/// Reads a whole section, empty line included.
pub(super) fn parse(section: &Bytes, limits: &HeadLimits) -> Result<HeaderMap, BodyError> {
    match parse_with::<FEW_TRAILERS>(section, limits) {
        Err(BodyError::TrailersTooLarge) if limits.headers > FEW_TRAILERS => {
            parse_with::<MAX_HEADERS>(section, limits)
        }
        other => other,
    }
}

/// What is done with a trailer field of this name.
pub(super) fn rule(name: &HeaderName) -> TrailerRule {
    match *name {
        header::CONTENT_LENGTH
        | header::TRANSFER_ENCODING
        | header::HOST
        | header::CONNECTION
        | header::UPGRADE
        | header::TE
        | header::TRAILER => TrailerRule::Refuse,
        header::AUTHORIZATION
        | header::PROXY_AUTHORIZATION
        | header::PROXY_AUTHENTICATE
        | header::WWW_AUTHENTICATE
        | header::COOKIE
        | header::SET_COOKIE
        | header::CACHE_CONTROL
        | header::EXPECT
        | header::MAX_FORWARDS
        | header::PRAGMA
        | header::RANGE
        | header::IF_MATCH
        | header::IF_NONE_MATCH
        | header::IF_MODIFIED_SINCE
        | header::IF_UNMODIFIED_SINCE
        | header::IF_RANGE
        | header::AGE
        | header::EXPIRES
        | header::DATE
        | header::LOCATION
        | header::RETRY_AFTER
        | header::VARY
        | header::CONTENT_ENCODING
        | header::CONTENT_TYPE
        | header::CONTENT_RANGE
        | header::FORWARDED => TrailerRule::Drop,
        _ => rule_by_text(name.as_str()),
    }
}

/// Names `http` has no constant for: hop-by-hop leftovers, and everything that says who the client
/// is.
fn rule_by_text(name: &str) -> TrailerRule {
    let identity = ["x-forwarded-", "x-real-ip", "client-cert", "x-request-id"];
    let hop = ["keep-alive", "proxy-connection", "http2-settings"];
    match name {
        _ if hop.contains(&name) => TrailerRule::Refuse,
        _ if identity.iter().any(|prefix| name.starts_with(prefix)) => TrailerRule::Drop,
        _ => TrailerRule::Keep,
    }
}

fn parse_with<const N: usize>(
    section: &Bytes,
    limits: &HeadLimits,
) -> Result<HeaderMap, BodyError> {
    let mut lines = [httparse::EMPTY_HEADER; N];
    let room = limits.headers.min(N);
    let lines = match httparse::parse_headers(section, &mut lines[..room]) {
        Ok(httparse::Status::Complete((end, lines))) if end == section.len() => lines,
        Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailersTooLarge),
        _ => return Err(BodyError::Trailer),
    };
    let mut map = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let (name, value) = fields::field(section, line).ok_or(BodyError::Trailer)?;
        match rule(&name) {
            TrailerRule::Keep => {
                map.append(name, value);
            }
            TrailerRule::Drop => {}
            TrailerRule::Refuse => return Err(BodyError::TrailerForbidden),
        }
    }
    Ok(map)
}
