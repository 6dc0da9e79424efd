//! Header fields of requests: what says where the request ends.

use http::StatusCode;

use super::{accepted, fields_refused, refused};
use crate::http1::{Framing, HeadError};

#[test]
fn content_length_with_transfer_encoding_is_refused_in_either_order() {
    fields_refused(
        HeadError::LengthAndTransferEncoding,
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "transfer-encoding: CHUNKED\r\ncontent-length: 5",
        ],
    );
}

#[test]
fn more_than_one_content_length_is_refused_even_if_equal() {
    fields_refused(
        HeadError::ContentLengthDuplicate,
        &[
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 0\r\ncontent-length: 0",
        ],
    );
}

#[test]
fn a_content_length_that_is_not_plain_digits_is_refused() {
    let values = [
        "5, 5",
        "5,6",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5a",
        "5 5",
        "5.0",
        "5;",
        "",
        "1e3",
        "٣",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
    ];
    for value in values {
        fields_refused(
            HeadError::ContentLength,
            &[&format!("Content-Length: {value}")],
        );
    }
}

#[test]
fn white_space_that_some_hops_keep_is_refused_around_framing_values() {
    for set in ["\t5", "  5", "5 ", "5\t", " \t 5"] {
        fields_refused(
            HeadError::ContentLength,
            &[&format!("Content-Length:{set}")],
        );
    }
    for set in [
        "\tchunked",
        "  chunked",
        " chunked ",
        " chunked\t",
        "\t chunked",
    ] {
        fields_refused(
            HeadError::TransferEncoding,
            &[&format!("Transfer-Encoding:{set}")],
        );
    }
}

#[test]
fn an_unknown_transfer_coding_is_not_implemented() {
    let values = [
        "identity",
        "gzip",
        "gzip, chunked",
        "xchunked",
        "chunkedx",
        "x,y,chunked",
        "cow",
    ];
    for value in values {
        let field = format!("Transfer-Encoding: {value}");
        fields_refused(HeadError::TransferEncodingUnsupported, &[&field]);
    }
    let status = HeadError::TransferEncodingUnsupported.status();
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
}

#[test]
fn a_transfer_encoding_without_one_final_chunked_is_refused() {
    let values = [
        "",
        ",",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "chunked, gzip",
        "chunked, identity",
        "chunked;q=1",
        "chunked ; a",
        "\"chunked\"",
        "chun ked",
        "chunked chunked",
        "[chunked]",
        "gzip, chunked, chunked",
        "chunked\u{e9}",
        "gzip;level=1, chunked",
    ];
    for value in values {
        fields_refused(
            HeadError::TransferEncoding,
            &[&format!("Transfer-Encoding: {value}")],
        );
    }
    fields_refused(
        HeadError::TransferEncoding,
        &["Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"],
    );
    fields_refused(
        HeadError::TransferEncodingUnsupported,
        &[
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        ],
    );
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    refused(
        HeadError::TransferEncodingVersion,
        &[
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        ],
    );
}

#[test]
fn folded_lines_and_blanks_around_names_are_refused() {
    fields_refused(
        HeadError::HeaderName,
        &[
            "X: a\r\n b",
            "X: a\r\n\tb",
            "X : a",
            "X\t: a",
            "Transfer-Encoding : chunked",
            "Content-Length\t: 5",
            ": a",
            "X",
            "X Y: a",
            "X\r\nY: a",
        ],
    );
    refused(
        HeadError::HeaderName,
        &[
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\n Transfer-Encoding: chunked\r\nHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn a_name_that_is_no_token_is_refused() {
    let names = [
        "X(",
        "X@",
        "X[",
        "X\u{e9}",
        "\u{1}X",
        "X\0",
        "X\u{7f}",
        "X\"",
        "X{",
        "X/",
        "X,",
        "X;",
        "X=",
        "Transfer-Encoding\u{b}",
        "\u{b}Content-Length",
    ];
    for name in names {
        fields_refused(HeadError::HeaderName, &[&format!("{name}: a")]);
    }
}

#[test]
fn control_characters_in_values_are_refused() {
    for control in (0..0x20)
        .chain([0x7f])
        .filter(|byte| !b"\t\r\n".contains(byte))
    {
        for at in ["", "a"] {
            let field = format!("X: {at}{}b", char::from(control));
            fields_refused(HeadError::HeaderValue, &[&field]);
        }
    }
}

#[test]
fn other_expectations_are_refused() {
    fields_refused(
        HeadError::Expectation,
        &[
            "Expect: 200-ok",
            "Expect:",
            "Expect: 100-continue, x",
            "Expect: 100-continue\r\nExpect: 100-continue",
        ],
    );
    assert_eq!(
        HeadError::Expectation.status(),
        StatusCode::EXPECTATION_FAILED
    );
}

#[test]
fn framing_has_one_reading() {
    let framing =
        |fields: &str| accepted(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).framing;
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
    assert_eq!(framing("Content-Length:5\r\n"), Framing::Length(5));
    // RFC 9110 section 8.6 allows leading zeros, in decimal; what is forwarded says 10.
    assert_eq!(framing("Content-Length: 010\r\n"), Framing::Length(10));
    assert_eq!(
        framing("Content-Length: 18446744073709551615\r\n"),
        Framing::Length(u64::MAX)
    );
    assert_eq!(framing("Transfer-Encoding: ChunKed\r\n"), Framing::Chunked);
    assert_eq!(
        framing("Transfer_Encoding: chunked\r\nContent-Length: 3\r\n"),
        Framing::Length(3)
    );
}

#[test]
fn a_connection_persists_as_its_version_and_options_say() {
    let persists = |version: &str, fields: &str| {
        accepted(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n")).keep_alive
    };
    assert!(persists("1.1", ""));
    assert!(!persists("1.1", "Connection: close\r\n"));
    assert!(!persists("1.1", "Connection: x ,\tCLOSE\r\n"));
    assert!(!persists(
        "1.1",
        "Connection: keep-alive\r\nConnection: close\r\n"
    ));
    assert!(persists("1.1", "Connection: closed, not-close\r\n"));
    assert!(!persists("1.0", ""));
    assert!(persists("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!persists("1.0", "Connection: keep-alive, close\r\n"));
    assert!(!persists("1.0", "Proxy-Connection: keep-alive\r\n"));
}

#[test]
fn a_continue_is_expected_only_by_http_1_1() {
    let request = |version: &str| {
        let fields = "Host: a\r\nExpect: 100-Continue\r\nContent-Length: 3";
        accepted(&format!("POST / HTTP/{version}\r\n{fields}\r\n\r\n")).expect_continue
    };
    assert!(request("1.1"));
    assert!(!request("1.0"));
}
