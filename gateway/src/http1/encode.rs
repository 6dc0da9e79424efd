//! Writes heads, chunks and trailers (RFC 9112 sections 3 to 7).
//!
//! The encoder owns the lines that frame a message: whatever Content-Length or Transfer-Encoding
//! stands in a header map is ignored, and the one true line is written from [`Framing`]. Of a
//! response it also owns Connection. So a caller cannot forward a peer's framing by accident.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};

use super::Framing;
use super::target::is_target_byte;
use super::trailers::{self, TrailerRule};

/// Guess at the bytes of a field, so that the usual head needs one allocation.
const FIELD_GUESS: usize = 48;

/// Whether the connection goes on after a response (RFC 9112 section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// Another request may follow.
    KeepAlive,
    /// The connection is closed after this response.
    Close,
}

/// Appends a request head (RFC 9112 section 3). Host comes first (RFC 9110 section 7.2).
///
/// A byte of `target` that may not stand in one is percent-encoded, so no target can end the line.
/// [`Framing::None`] writes no framing line; [`Framing::UntilClose`] does not exist for requests
/// and is written as an empty body.
pub fn request_head(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    framing: Framing,
) {
    debug_assert_ne!(
        framing,
        Framing::UntilClose,
        "a request cannot end with its connection"
    );
    out.reserve(64 + target.len() + headers.len() * FIELD_GUESS);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    put_target(out, target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    for value in headers.get_all(header::HOST) {
        put_field(out, &header::HOST, value.as_bytes());
    }
    for (name, value) in headers {
        if *name != header::HOST && !is_framing(name) {
            put_field(out, name, value.as_bytes());
        }
    }
    put_framing(
        out,
        if framing == Framing::UntilClose {
            Framing::Length(0)
        } else {
            framing
        },
    );
    out.put_slice(b"\r\n");
}

/// Appends a response head (RFC 9112 section 4).
///
/// `framing` is what the client is told, see [`super::ResponseHead::announced`] and
/// [`Framing::for_client`]; [`Framing::UntilClose`] implies [`ConnectionHeader::Close`].
/// [`Framing::None`] writes no framing line, which is right only where a client expects no body:
/// 1xx, 204, 304 and answers to HEAD. A 1xx head says nothing about the connection, except that 101
/// keeps the Connection of the map.
pub fn response_head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    (connection, client): (ConnectionHeader, Version),
) {
    out.reserve(96 + headers.len() * FIELD_GUESS);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    let upgrades = status == StatusCode::SWITCHING_PROTOCOLS;
    for (name, value) in headers {
        if !is_framing(name) && (upgrades || *name != header::CONNECTION) {
            put_field(out, name, value.as_bytes());
        }
    }
    let closes = connection == ConnectionHeader::Close || framing == Framing::UntilClose;
    if !status.is_informational() {
        put_framing(out, framing);
        match (closes, client) {
            (true, _) => out.put_slice(b"connection: close\r\n"),
            (false, Version::HTTP_10) => out.put_slice(b"connection: keep-alive\r\n"),
            (false, _) => {}
        }
    }
    out.put_slice(b"\r\n");
}

/// Appends the line in front of a chunk of `len` bytes (RFC 9112 section 7.1). `len` must not be
/// zero, which would end the body.
pub fn chunk_header(out: &mut BytesMut, len: usize) {
    debug_assert_ne!(len, 0, "an empty chunk ends the body");
    let mut digits = [0; 16];
    let mut start = digits.len();
    let mut rest = len;
    while start == digits.len() || rest > 0 {
        start -= 1;
        digits[start] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
    }
    out.put_slice(&digits[start..]);
    out.put_slice(b"\r\n");
}

/// Appends the line end behind the data of a chunk.
pub fn chunk_end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Appends the last chunk, the trailers, and the end of the body (RFC 9112 section 7.1.2). Fields
/// that may not stand in a trailer section are left out.
pub fn last_chunk_with_trailers(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if trailers::rule(name) == TrailerRule::Keep {
            put_field(out, name, value.as_bytes());
        }
    }
    out.put_slice(b"\r\n");
}

fn is_framing(name: &HeaderName) -> bool {
    *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING
}

fn put_field(out: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

fn put_framing(out: &mut BytesMut, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.put_slice(b"content-length: ");
            put_decimal(out, length);
            out.put_slice(b"\r\n");
        }
    }
}

fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while start == digits.len() || number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.put_slice(&digits[start..]);
}

fn put_target(out: &mut BytesMut, target: &[u8]) {
    if target.iter().all(|&byte| is_target_byte(byte)) {
        return out.put_slice(target);
    }
    for &byte in target {
        match is_target_byte(byte) {
            true => out.put_u8(byte),
            false => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                out.put_slice(&[b'%', digit(byte >> 4), digit(byte & 0xf)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn framing_lines_of_the_map_are_never_written() {
        let lying = map(&[
            ("content-length", "7"),
            ("transfer-encoding", "gzip"),
            ("host", "a"),
        ]);
        let head = text(|out| request_head(out, &Method::POST, "/", &lying, Framing::Length(0)));
        assert_eq!(
            head,
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
        );
        let ends = (ConnectionHeader::KeepAlive, Version::HTTP_11);
        let head = text(|out| response_head(out, StatusCode::OK, &lying, Framing::Chunked, ends));
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        );
    }

    #[test]
    fn no_target_can_end_the_request_line() {
        let target = "/a b\r\nx: y#z\u{e4}";
        let head = text(|out| request_head(out, &Method::GET, target, &map(&[]), Framing::None));
        assert_eq!(head, "GET /a%20b%0D%0Ax:%20y%23z%C3%A4 HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn host_is_the_first_field() {
        let fields = map(&[("accept", "*/*"), ("host", "a")]);
        let head = text(|out| request_head(out, &Method::GET, "/", &fields, Framing::None));
        assert_eq!(head, "GET / HTTP/1.1\r\nhost: a\r\naccept: */*\r\n\r\n");
    }

    #[test]
    fn the_connection_line_is_ours_except_for_an_upgrade() {
        let fields = map(&[("connection", "upgrade")]);
        let write = |status, framing, connection, version| {
            text(|out| response_head(out, status, &fields, framing, (connection, version)))
        };
        let (ok, none) = (StatusCode::OK, Framing::Length(0));
        let (keep, close) = (ConnectionHeader::KeepAlive, ConnectionHeader::Close);
        assert!(!write(ok, none, keep, Version::HTTP_11).contains("connection"));
        assert!(write(ok, none, keep, Version::HTTP_10).contains("connection: keep-alive\r\n"));
        assert!(write(ok, none, close, Version::HTTP_11).contains("connection: close\r\n"));
        let until_close = write(ok, Framing::UntilClose, keep, Version::HTTP_10);
        assert!(until_close.contains("connection: close\r\n"));
        let switching = StatusCode::SWITCHING_PROTOCOLS;
        let upgrade = write(switching, Framing::None, keep, Version::HTTP_11);
        assert_eq!(
            upgrade,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n"
        );
        let interim = write(StatusCode::CONTINUE, none, close, Version::HTTP_11);
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn a_chunked_body_ends_with_its_allowed_trailers() {
        let fields = map(&[
            ("grpc-status", "0"),
            ("content-length", "3"),
            ("authorization", "x"),
        ]);
        let body = text(|out| {
            chunk_header(out, 0x1a0);
            chunk_end(out);
            last_chunk_with_trailers(out, Some(&fields));
        });
        assert_eq!(body, "1a0\r\n\r\n0\r\ngrpc-status: 0\r\n\r\n");
        assert_eq!(text(|out| last_chunk_with_trailers(out, None)), "0\r\n\r\n");
    }

    #[test]
    fn the_largest_numbers_are_written_whole() {
        assert_eq!(text(|out| put_decimal(out, u64::MAX)), u64::MAX.to_string());
        assert_eq!(text(|out| put_decimal(out, 0)), "0");
        assert_eq!(
            text(|out| chunk_header(out, usize::MAX)),
            "ffffffffffffffff\r\n"
        );
    }
}
