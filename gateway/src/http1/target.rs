//! The request target in its four forms (RFC 9112 section 3.2), and Host beside it.
//!
//! Which form is meant is decided by the method, never guessed: authority-form is for CONNECT and
//! only for it, `*` for OPTIONS and only for it.

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderValue, Method, Uri, Version};

use super::HeadError;
use super::authority::Authority;

/// Reads the target `raw`, a piece of `head`, for `method`.
pub(super) fn parse(method: &Method, raw: &str, head: &Bytes) -> Result<Uri, HeadError> {
    if !raw.bytes().all(is_target_byte) || !has_form_of(method, raw) {
        return Err(HeadError::Target);
    }
    Uri::from_maybe_shared(head.slice_ref(raw.as_bytes())).map_err(|_| HeadError::Target)
}

/// Checks Host on its own and against the authority in the target, where there is one.
///
/// RFC 9112 section 3.2.2 lets the target win over Host. A hop that reads Host instead would see
/// another site, so a disagreement is refused. HTTP/1.0 may leave Host out.
pub(super) fn check_host(
    uri: &Uri,
    host: Option<&HeaderValue>,
    version: Version,
) -> Result<(), HeadError> {
    let Some(host) = host else {
        return match version {
            Version::HTTP_10 => Ok(()),
            _ => Err(HeadError::HostMissing),
        };
    };
    let named = Authority::parse(host.as_bytes()).ok_or(HeadError::HostInvalid)?;
    let Some(authority) = uri.authority() else {
        return Ok(());
    };
    let target = Authority::parse(authority.as_str().as_bytes()).ok_or(HeadError::Target)?;
    let default_port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(_) => Some(80),
        None => None,
    };
    target
        .same_place(&named, default_port)
        .then_some(())
        .ok_or(HeadError::HostMismatch)
}

/// Whether this byte may stand in a target as it is.
///
/// RFC 3986 characters, and the four that the URL standard of browsers leaves raw in a query
/// although RFC 3986 does not: nobody reads them as structure. Not `#` (a fragment is never sent),
/// not `\` (some read it as `/`), not `"`, `<`, `>`.
pub(super) fn is_target_byte(byte: u8) -> bool {
    TARGET_BYTES[usize::from(byte)]
}

static TARGET_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = !matches!(byte as u8, b'"' | b'#' | b'<' | b'>' | b'\\');
        byte += 1;
    }
    table
};

fn has_form_of(method: &Method, raw: &str) -> bool {
    if *method == Method::CONNECT {
        return Authority::parse(raw.as_bytes()).is_some_and(|target| target.has_port());
    }
    if raw.starts_with('/') {
        return true;
    }
    if raw == "*" {
        return *method == Method::OPTIONS;
    }
    let Some((scheme, rest)) = raw.split_once("://") else {
        return false;
    };
    let known = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    // A query right behind the authority is legal and never sent; `Uri` would keep it without its
    // slash.
    let end = rest.find('/').unwrap_or(rest.len());
    known && Authority::parse(&rest.as_bytes()[..end]).is_some()
}
