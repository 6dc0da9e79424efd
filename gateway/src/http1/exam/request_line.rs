//! Request lines, targets, Host, limits: what names the request.

use bytes::BytesMut;
use http::{Method, StatusCode, Version};

use super::{LIMITS, accepted, fields_refused, parse, refused};
use crate::http1::{HeadError, HeadLimits, parse_request};

#[test]
fn a_request_without_exactly_one_host_is_refused() {
    refused(
        HeadError::HostMissing,
        &["GET / HTTP/1.1\r\n\r\n", "GET http://a/ HTTP/1.1\r\n\r\n"],
    );
    refused(
        HeadError::HostDuplicate,
        &[
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhOST: b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn a_host_that_is_not_a_plain_authority_is_refused() {
    let hosts = [
        "", "u@a", "a b", "a,b", "a/b", "a:x", "a:99999", "[::1", "a\tb", "a?b", "a#b",
    ];
    for host in hosts {
        refused(
            HeadError::HostInvalid,
            &[&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")],
        );
        refused(
            HeadError::HostInvalid,
            &[&format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")],
        );
    }
}

#[test]
fn a_host_that_disagrees_with_the_target_is_refused() {
    refused(
        HeadError::HostMismatch,
        &[
            "GET https://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET https://a:444/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
        ],
    );
    accepted("GET https://A.example/x HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
}

#[test]
fn bare_line_feeds_and_carriage_returns_are_refused() {
    refused(
        HeadError::LineEnding,
        &[
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\nTransfer-Encoding: chunked\r\n\r\n",
        ],
    );
    fields_refused(
        HeadError::HeaderValue,
        &["X: a\rb", "X: a\r", "X: \ra", "X: a\rContent-Length: 5"],
    );
    fields_refused(HeadError::HeaderName, &["X\r: a"]);
    refused(
        HeadError::RequestLine,
        &["GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"],
    );
    refused(
        HeadError::LineEnding,
        &["\rGET / HTTP/1.1\r\nHost: a\r\n\r\n"],
    );
    assert!(parse("GET / HTTP/1.1\rHost: a\r\n\r\n").is_err());
    assert!(parse("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n").is_err());
}

#[test]
fn a_request_line_with_other_than_two_single_blanks_is_refused() {
    refused(
        HeadError::RequestLine,
        &[
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\r\nHost: a\r\n\r\n",
            "GET / \r\nHost: a\r\n\r\n",
            "GET /a bcdefghi HTTP/1.1\r\nHost: a\r\n\r\n",
            "(GET) / HTTP/1.1\r\nHost: a\r\n\r\n",
            "G\u{e9}T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
    for extra in [
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / HTTP/1.1x",
        "GET /a b HTTP/1.1",
    ] {
        assert!(
            parse(format!("{extra}\r\nHost: a\r\n\r\n")).is_err(),
            "{extra:?}"
        );
    }
}

#[test]
fn other_versions_are_refused() {
    refused(
        HeadError::Version,
        &[
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ],
    );
    refused(
        HeadError::RequestLine,
        &[
            "GET /\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.\r\nHost: a\r\n\r\n",
            "GET / HTTP/11\r\nHost: a\r\n\r\n",
            "GET / XTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
    assert_eq!(
        HeadError::Version.status(),
        StatusCode::HTTP_VERSION_NOT_SUPPORTED
    );
}

#[test]
fn a_target_with_forbidden_bytes_is_refused() {
    for target in [
        "/#a", "/a#", "#", "/a\\b", "\\", "/\"", "/<", "/>", "/a\u{7f}",
    ] {
        let raw = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(
            matches!(parse(&raw), Err(HeadError::Target | HeadError::RequestLine)),
            "{target:?}"
        );
    }
    refused(
        HeadError::Target,
        &["GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"],
    );
    for byte in (0..0x20).chain([0x7f, 0x80, 0xff]) {
        let mut raw = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
        raw[5] = byte;
        assert!(parse(&raw).is_err(), "{byte:#x}");
    }
}

#[test]
fn a_target_form_its_method_does_not_allow_is_refused() {
    refused(
        HeadError::Target,
        &[
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ?q HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT https://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https://a?q HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https:/a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET x://a HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn connect_with_a_body_is_refused() {
    refused(
        HeadError::ConnectWithBody,
        &[
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
    );
}

#[test]
fn what_is_too_long_is_refused_with_its_own_status() {
    let long = |n: usize| "a".repeat(n);
    let too_long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long(8 << 10));
    refused(
        HeadError::TargetTooLong,
        &[&too_long, &format!("GET /{}", long(9 << 10))],
    );
    assert_eq!(HeadError::TargetTooLong.status(), StatusCode::URI_TOO_LONG);
    let too_large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", long(32 << 10));
    refused(
        HeadError::HeadTooLarge,
        &[&too_large, &format!("{too_large}\r\n\r\n")],
    );
    let status = HeadError::HeadTooLarge.status();
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    refused(
        HeadError::MethodTooLong,
        &[&format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", long(33))],
    );
}

#[test]
fn the_limit_of_fields_is_exact_for_small_and_large_tables() {
    for limit in [1, 10, 48, 49, 100, 256] {
        let limits = HeadLimits {
            headers: limit,
            ..LIMITS
        };
        let head = |fields: usize| {
            let rest = "X: y\r\n".repeat(fields - 1);
            BytesMut::from(format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n").as_bytes())
        };
        let fits = parse_request(&mut head(limit), &limits).unwrap().unwrap();
        assert_eq!(fits.parts.headers.len(), limit);
        let refusal = parse_request(&mut head(limit + 1), &limits).map(|_| ());
        assert_eq!(refusal, Err(HeadError::TooManyHeaders), "{limit}");
    }
}

#[test]
fn only_one_empty_line_may_come_first() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    accepted(&format!("\r\n{head}"));
    refused(
        HeadError::RequestLine,
        &[&format!("\r\n\r\n{head}"), "\r\n\r\n"],
    );
}

#[test]
fn any_token_is_a_method_and_its_case_stays() {
    for method in ["get", "M-SEARCH", "X!#$%&'*+.^_`|~9", "UPDATEREDIRECTREF"] {
        let head = accepted(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(head.parts.method.as_str(), method);
        assert_ne!(head.parts.method, Method::GET);
    }
}

#[test]
fn the_four_target_forms_are_read() {
    let uri = |line: &str, host: &str| {
        accepted(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .parts
            .uri
    };
    assert_eq!(
        uri("GET /a/b?c=d", "a").path_and_query().unwrap(),
        "/a/b?c=d"
    );
    assert_eq!(uri("GET //evil/x", "a").path(), "//evil/x");
    assert_eq!(uri("GET //evil/x", "a").authority(), None);
    assert_eq!(uri("GET HTTPS://a/x", "a").authority().unwrap(), "a");
    assert_eq!(
        uri("GET https://a", "a").path_and_query().unwrap().as_str(),
        "/"
    );
    assert_eq!(uri("OPTIONS *", "a").path(), "*");
    assert_eq!(uri("CONNECT a:443", "a:443").authority().unwrap(), "a:443");
    assert_eq!(uri("GET /?a=b|c^{d}`", "a").query(), Some("a=b|c^{d}`"));
}

#[test]
fn exactly_the_head_is_taken_from_the_buffer() {
    let mut buf = BytesMut::from("\r\nGET / HTTP/1.0\r\nX:  a b\t\r\nX: \u{e9}\r\n\r\n\r\nrest");
    let head = parse_request(&mut buf, &LIMITS).unwrap().unwrap();
    assert_eq!(&buf[..], b"\r\nrest");
    assert_eq!(head.parts.version, Version::HTTP_10);
    let values: Vec<_> = head
        .parts
        .headers
        .get_all("x")
        .iter()
        .map(|v| v.as_bytes())
        .collect();
    assert_eq!(values, [b"a b".as_slice(), "\u{e9}".as_bytes()]);
    assert!(parse("").unwrap().is_none());
    assert!(parse("\r").unwrap().is_none());
}
