//! Response heads: an upstream is not trusted with framing either.

use bytes::BytesMut;
use http::{Method, StatusCode};

use super::LIMITS;
use crate::http1::{Framing, HeadError, ResponseHead, parse_response};

fn parse(raw: &str, method: &Method) -> Result<Option<ResponseHead>, HeadError> {
    parse_response(&mut BytesMut::from(raw), &LIMITS, method)
}

fn refused(error: HeadError, responses: &[&str]) {
    for raw in responses {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(parse(raw, &method).map(|_| ()), Err(error), "{raw:?}");
        }
    }
}

fn accepted(method: &Method, status: &str, fields: &str) -> ResponseHead {
    let raw = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
    parse(&raw, method)
        .unwrap_or_else(|error| panic!("{raw:?}: {error}"))
        .expect("a whole head")
}

#[test]
fn a_response_with_two_lengths_is_refused() {
    refused(
        HeadError::LengthAndTransferEncoding,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        ],
    );
    refused(
        HeadError::ContentLengthDuplicate,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        ],
    );
    refused(
        HeadError::ContentLength,
        &["HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"],
    );
}

#[test]
fn a_response_with_another_coding_is_not_read_until_close() {
    refused(
        HeadError::TransferEncodingUnsupported,
        &[
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ],
    );
    refused(
        HeadError::TransferEncodingVersion,
        &["HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    );
}

#[test]
fn a_malformed_status_line_is_refused() {
    refused(
        HeadError::StatusLine,
        &[
            "HTTP/1.1 099 x\r\n\r\n",
            "HTTP/1.1 600 x\r\n\r\n",
            "HTTP/1.1 999 x\r\n\r\n",
            "HTTP/1.1 20 x\r\n\r\n",
            "HTTP/1.1 2000 x\r\n\r\n",
            "HTTP/1.1 +20 x\r\n\r\n",
            "HTTP/1.1 2x0 x\r\n\r\n",
            "HTTP/1.1  200 x\r\n\r\n",
            "HTTP/1.1\r\n\r\n",
            "HTTP/1.1 \r\n\r\n",
            "HTTP/1.1 200 a\0b\r\n\r\n",
            "HTTP/1.1 200 a\rb\r\n\r\n",
            "ICY 200 OK extra\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
        ],
    );
    refused(
        HeadError::Version,
        &["HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n"],
    );
}

#[test]
fn malformed_lines_of_a_response_are_refused() {
    refused(
        HeadError::HeaderName,
        &[
            "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ],
    );
    refused(
        HeadError::HeaderValue,
        &["HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n"],
    );
    refused(
        HeadError::LineEnding,
        &[
            "HTTP/1.1 200 OK\nX: a\n\n",
            "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
        ],
    );
}

#[test]
fn too_large_a_response_head_is_refused() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(32 << 10));
    refused(
        HeadError::HeadTooLarge,
        &[&large, &format!("HTTP/1.1 200 {large}")],
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(101));
    refused(HeadError::TooManyHeaders, &[&many]);
}

#[test]
fn a_response_that_cannot_have_a_body_has_none() {
    let length = "Content-Length: 5\r\n";
    for (method, status, announced) in [
        (Method::HEAD, "200 OK", Framing::Length(5)),
        (Method::HEAD, "404 Not Found", Framing::Length(5)),
        (Method::GET, "304 Not Modified", Framing::Length(5)),
        (Method::GET, "204 No Content", Framing::None),
        (Method::GET, "100 Continue", Framing::None),
        (Method::GET, "101 Switching Protocols", Framing::None),
        (Method::CONNECT, "200 OK", Framing::None),
    ] {
        let head = accepted(&method, status, length);
        assert_eq!(
            (head.framing, head.announced),
            (Framing::None, announced),
            "{method} {status}"
        );
    }
    let refusal = accepted(&Method::CONNECT, "403 Forbidden", length);
    assert_eq!(refusal.framing, Framing::Length(5));
    let chunked = accepted(&Method::HEAD, "200 OK", "Transfer-Encoding: chunked\r\n");
    assert_eq!(
        (chunked.framing, chunked.announced),
        (Framing::None, Framing::Chunked)
    );
}

#[test]
fn a_connection_with_a_forbidden_body_is_not_used_again() {
    assert!(accepted(&Method::GET, "204 No Content", "Content-Length: 0\r\n").keep_alive);
    assert!(!accepted(&Method::GET, "204 No Content", "Content-Length: 5\r\n").keep_alive);
    assert!(
        !accepted(
            &Method::GET,
            "204 No Content",
            "Transfer-Encoding: chunked\r\n"
        )
        .keep_alive
    );
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    let head = accepted(&Method::GET, "200 OK", "Connection: keep-alive\r\n");
    assert_eq!(
        (head.framing, head.keep_alive),
        (Framing::UntilClose, false)
    );
    let head = accepted(&Method::GET, "200 OK", "Content-Length: 0\r\n");
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(0), true));
    let head = accepted(
        &Method::GET,
        "200 OK",
        "Content-Length: 1\r\nConnection: Close\r\n",
    );
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(1), false));
}

#[test]
fn an_http_1_0_upstream_is_kept_only_if_it_says_so() {
    let keeps = |fields: &str| {
        let raw = format!("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n{fields}\r\n");
        parse(&raw, &Method::GET).unwrap().unwrap().keep_alive
    };
    assert!(!keeps(""));
    assert!(keeps("Connection: keep-alive\r\n"));
}

#[test]
fn interim_responses_are_told_from_the_switch_of_protocols() {
    assert!(accepted(&Method::GET, "100 Continue", "").is_interim());
    assert!(accepted(&Method::GET, "103 Early Hints", "Link: </a>\r\n").is_interim());
    assert!(!accepted(&Method::GET, "101 Switching Protocols", "").is_interim());
    assert!(!accepted(&Method::GET, "200 OK", "").is_interim());
}

#[test]
fn the_next_head_stays_in_the_buffer() {
    let mut buf =
        BytesMut::from("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx");
    let interim = parse_response(&mut buf, &LIMITS, &Method::POST)
        .unwrap()
        .unwrap();
    assert_eq!(interim.parts.status, StatusCode::CONTINUE);
    let last = parse_response(&mut buf, &LIMITS, &Method::POST)
        .unwrap()
        .unwrap();
    assert_eq!(last.parts.status, StatusCode::OK);
    assert_eq!(&buf[..], b"x");
    assert!(
        parse_response(&mut buf, &LIMITS, &Method::POST)
            .unwrap()
            .is_none()
    );
}
