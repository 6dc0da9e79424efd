//! Request and response heads: from bytes to `http` types, or a refusal.
//!
//! `httparse` finds the pieces; what it is lenient about is refused here or in the files beside this
//! one: bare line feeds (`scan`), target forms and Host (`target`), framing (`fields`).

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version};

use super::{Framing, HeadError, HeadLimits, HeadScan, MAX_HEADERS};
use super::{fields, target};

/// Bytes of the longest method: the longest registered one (UPDATEREDIRECTREF) has 17.
pub(super) const MAX_METHOD: usize = 32;

/// The longest target `http::Uri` can hold.
const MAX_TARGET: usize = 65_534;

/// Fields of the usual head. The table on the stack is filled for each head, so the usual one is
/// small.
const FEW_HEADERS: usize = 48;

/// A request head that may be acted upon.
#[derive(Debug)]
pub struct RequestHead {
    /// Method, target, version and fields. The fields still hold Content-Length and
    /// Transfer-Encoding; [`super::encode`] ignores them.
    pub parts: http::request::Parts,
    /// Where the body ends. Never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client allows another request on this connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
}

/// A response head that may be acted upon.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status, version and fields.
    pub parts: http::response::Parts,
    /// Where the body ends. [`Framing::None`] for HEAD, 1xx, 204, 304 and a successful CONNECT.
    pub framing: Framing,
    /// What to tell the client: as `framing`, but a response to HEAD and a 304 keep the length they
    /// announce without sending it (RFC 9110 section 8.6).
    pub announced: Framing,
    /// Whether the connection may carry another request once the body was read to its end.
    pub keep_alive: bool,
}

impl ResponseHead {
    /// Whether this is an interim response, after which another head follows (RFC 9110 section
    /// 15.2). 101 is none: after it the connection speaks another protocol.
    pub fn is_interim(&self) -> bool {
        let status = self.parts.status;
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Reads one request head from the front of `buf` (RFC 9112 section 3).
///
/// `None` means that more bytes are needed. A head that was read is gone from `buf`; what follows it
/// stays. One CR LF before the request line is skipped (RFC 9112 section 2.2), a second is refused.
/// Where heads may come in many pieces, [`HeadScan::request`] does not search from the start each
/// time.
pub fn parse_request(
    buf: &mut BytesMut,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, HeadError> {
    HeadScan::default().request(buf, limits)
}

/// Reads one response head to a request with `request_method` from the front of `buf` (RFC 9112
/// section 4). As [`parse_request`] otherwise.
pub fn parse_response(
    buf: &mut BytesMut,
    limits: &HeadLimits,
    request_method: &Method,
) -> Result<Option<ResponseHead>, HeadError> {
    HeadScan::default().response(buf, limits, request_method)
}

impl HeadScan {
    /// [`parse_request`] that goes on searching where the last call on the same bytes stopped.
    pub fn request(
        &mut self,
        buf: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<RequestHead>, HeadError> {
        let Some(mut end) = self.find_end(buf, limits)? else {
            return Ok(None);
        };
        if buf.starts_with(b"\r\n") {
            buf.advance(2);
            end -= 2;
        }
        let head = take_head(buf, end);
        let parsed = match request_with::<FEW_HEADERS>(&head, limits) {
            Err(HeadError::TooManyHeaders) if limits.headers > FEW_HEADERS => {
                request_with::<MAX_HEADERS>(&head, limits)
            }
            other => other,
        };
        parsed.map(Some)
    }

    /// [`parse_response`] that goes on searching where the last call on the same bytes stopped.
    pub fn response(
        &mut self,
        buf: &mut BytesMut,
        limits: &HeadLimits,
        request_method: &Method,
    ) -> Result<Option<ResponseHead>, HeadError> {
        // A status line has no target: nothing but the head's own limit bounds it.
        let limits = &HeadLimits {
            target: usize::MAX,
            ..*limits
        };
        let Some(end) = self.find_end(buf, limits)? else {
            return Ok(None);
        };
        let head = take_head(buf, end);
        let parsed = match response_with::<FEW_HEADERS>(&head, limits, request_method) {
            Err(HeadError::TooManyHeaders) if limits.headers > FEW_HEADERS => {
                response_with::<MAX_HEADERS>(&head, limits, request_method)
            }
            other => other,
        };
        parsed.map(Some)
    }
}

/// Takes the head out of the read buffer, by copy: a split would be shared with every header value
/// for the life of the request, and the connection would need a new read buffer for each one.
fn take_head(buf: &mut BytesMut, end: usize) -> Bytes {
    let head = Bytes::copy_from_slice(&buf[..end]);
    buf.advance(end);
    head
}

fn request_with<const N: usize>(
    head: &Bytes,
    limits: &HeadLimits,
) -> Result<RequestHead, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; N];
    let mut request = httparse::Request::new(&mut lines[..limits.headers.min(N)]);
    check_whole(request.parse(head), head, HeadError::RequestLine)?;
    let (Some(method), Some(raw)) = (request.method, request.path) else {
        return Err(HeadError::RequestLine);
    };
    if method.len() > MAX_METHOD {
        return Err(HeadError::MethodTooLong);
    }
    if raw.len() > limits.target.min(MAX_TARGET) {
        return Err(HeadError::TargetTooLong);
    }
    let version = version_of(request.version);
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::RequestLine)?;
    let uri = target::parse(&method, raw, head)?;
    let (headers, facts) = fields::collect(head, request.headers)?;
    target::check_host(&uri, facts.host.as_ref(), version)?;
    let framing = facts.request_framing(&method, version)?;

    let mut parts = Request::new(()).into_parts().0;
    parts.method = method;
    parts.uri = uri;
    parts.version = version;
    parts.headers = headers;
    Ok(RequestHead {
        parts,
        framing,
        keep_alive: facts.persists(version),
        expect_continue: facts.expects_continue(version),
    })
}

fn response_with<const N: usize>(
    head: &Bytes,
    limits: &HeadLimits,
    request_method: &Method,
) -> Result<ResponseHead, HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; N];
    let mut response = httparse::Response::new(&mut lines[..limits.headers.min(N)]);
    check_whole(response.parse(head), head, HeadError::StatusLine)?;
    let status = response
        .code
        .filter(|code| (100..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(HeadError::StatusLine)?;
    let version = version_of(response.version);
    let (headers, facts) = fields::collect(head, response.headers)?;
    let (framing, announced) = facts.response_framing(request_method, status, version)?;
    let keep_alive = facts.persists(version)
        && framing != Framing::UntilClose
        && !facts.has_forbidden_body(status);

    let mut parts = Response::new(()).into_parts().0;
    parts.status = status;
    parts.version = version;
    parts.headers = headers;
    Ok(ResponseHead {
        parts,
        framing,
        announced,
        keep_alive,
    })
}

/// Refuses what `httparse` refuses, and a head that ends elsewhere than the scan said: `httparse`
/// skips any number of empty lines before the start line.
fn check_whole(
    parsed: httparse::Result<usize>,
    head: &[u8],
    start_line: HeadError,
) -> Result<(), HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(end)) if end == head.len() && head[0] != b'\r' => Ok(()),
        Ok(_) => Err(start_line),
        Err(httparse::Error::HeaderName) => Err(HeadError::HeaderName),
        Err(httparse::Error::HeaderValue) => Err(HeadError::HeaderValue),
        Err(httparse::Error::NewLine) => Err(HeadError::LineEnding),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Version) if names_other_version(head) => Err(HeadError::Version),
        Err(_) => Err(start_line),
    }
}

/// Whether the start line has a well-formed version that is not ours, so that it is unsupported and
/// not garbage.
fn names_other_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let is_other_version = |word: &[u8]| match word {
        b"HTTP/1.0" | b"HTTP/1.1" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    };
    line.split(|&byte| byte == b' ').any(is_other_version)
}

fn version_of(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}
