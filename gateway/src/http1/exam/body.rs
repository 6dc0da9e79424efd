//! Bodies: chunk lines, chunk data and trailers that have been read in two ways.

use bytes::BytesMut;
use http::HeaderMap;

use crate::http1::{BodyDecoder, BodyError, Decoded, Framing, HeadLimits};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    headers: 8,
    target: 16,
};

/// Everything a decoder makes of `raw`: the data, the trailers, and what was left over.
fn decode(framing: Framing, raw: &[u8]) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), BodyError> {
    let mut buf = BytesMut::from(raw);
    let mut decoder = BodyDecoder::new(framing, &LIMITS);
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    loop {
        match decoder.decode(&mut buf)? {
            Decoded::Data(bytes) => {
                assert!(!bytes.is_empty());
                data.extend_from_slice(&bytes);
            }
            Decoded::Trailers(map) => trailers = map,
            Decoded::End => return Ok((data, trailers, buf.to_vec())),
            Decoded::NeedMore => {
                decoder.eof()?;
                return Ok((data, trailers, buf.to_vec()));
            }
        }
    }
}

fn refused(error: BodyError, bodies: &[&str]) {
    for raw in bodies {
        assert_eq!(
            decode(Framing::Chunked, raw.as_bytes()),
            Err(error),
            "{raw:?}"
        );
    }
}

#[test]
fn a_chunk_size_that_is_not_plain_hex_is_refused() {
    let lines = [
        "+5",
        "-5",
        " 5",
        "\t5",
        "0x5",
        "0X5",
        "5_0",
        "_5",
        "5 ",
        "5\t",
        "5 ;a",
        "g",
        "",
        ";a",
        "5,5",
        "5.",
        "5\0",
        "5\u{e9}",
        "٣",
        "00000000000000005",
        "10000000000000000",
        "\r",
    ];
    for line in lines {
        refused(
            BodyError::ChunkSize,
            &[&format!("{line}\r\nhello\r\n0\r\n\r\n")],
        );
    }
}

#[test]
fn a_malformed_extension_is_refused() {
    let lines = [
        "5;",
        "5;;a",
        "5;=a",
        "5;a=",
        "5;a=b=c",
        "5;a b",
        "5; a",
        "5;a =b",
        "5;a= b",
        "5;a=\"b",
        "5;a=\"b\\\"",
        "5;a=\"b\"c",
        "5;a\u{e9}",
        "5;\0",
        "5;a=\"\0\"",
        "5;a\rb",
        "5;a=\"\rb\"",
    ];
    for line in lines {
        refused(
            BodyError::ChunkExtension,
            &[&format!("{line}\r\nhello\r\n0\r\n\r\n")],
        );
    }
}

#[test]
fn extensions_are_bounded_in_a_line_and_over_the_body() {
    let line = |len: usize| format!("1;{}\r\nx\r\n", "a".repeat(len - 1));
    assert!(
        decode(
            Framing::Chunked,
            format!("{}0\r\n\r\n", line(256)).as_bytes()
        )
        .is_ok()
    );
    refused(
        BodyError::ChunkExtensionTooLarge,
        &[&line(257), &line(5000), &line(5000)[..300]],
    );
    let fits = line(256).repeat(64);
    assert!(decode(Framing::Chunked, format!("{fits}0\r\n\r\n").as_bytes()).is_ok());
    refused(
        BodyError::ChunkExtensionTooLarge,
        &[&format!("{fits}0;a\r\n\r\n")],
    );
}

#[test]
fn bare_line_ends_in_a_chunked_body_are_refused() {
    refused(
        BodyError::LineEnding,
        &[
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            "5;a\nhello\r\n0\r\n\r\n",
            "0\n\r\n",
            "0\r\nX: a\n\r\n",
            "0\r\nX: a\r\n\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
        ],
    );
}

#[test]
fn a_chunk_without_its_line_end_is_refused() {
    refused(
        BodyError::LineEnding,
        &[
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "4\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello \r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn malformed_trailers_are_refused() {
    refused(
        BodyError::Trailer,
        &[
            "0\r\n X: a\r\n\r\n",
            "0\r\nX : a\r\n\r\n",
            "0\r\nX: a\r\n b\r\n\r\n",
            "0\r\n: a\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX: a\0\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn trailers_that_would_change_the_message_are_refused() {
    let names = [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "Upgrade",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Proxy-Connection",
    ];
    for name in names {
        refused(
            BodyError::TrailerForbidden,
            &[&format!("0\r\n{name}: 1\r\n\r\n")],
        );
    }
}

#[test]
fn trailers_beyond_their_limits_are_refused() {
    let many = |count: usize| format!("0\r\n{}\r\n", "x: a\r\n".repeat(count));
    assert_eq!(
        decode(Framing::Chunked, many(8).as_bytes())
            .unwrap()
            .1
            .len(),
        8
    );
    refused(BodyError::TrailersTooLarge, &[&many(9)]);
    let large = format!("0\r\nx: {}", "a".repeat(512));
    refused(
        BodyError::TrailersTooLarge,
        &[&large, &format!("{large}\r\n\r\n")],
    );
}

#[test]
fn trailers_that_could_pass_for_headers_are_dropped() {
    let names = [
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Client-Cert",
        "Client-Cert",
        "Client-Cert-Chain",
        "Cache-Control",
        "Range",
    ];
    for name in names {
        let raw = format!("0\r\n{name}: 1\r\ngrpc-status: 0\r\n\r\nnext");
        let (_, trailers, rest) = decode(Framing::Chunked, raw.as_bytes()).unwrap();
        let kept: Vec<_> = trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(
            (kept, rest),
            (vec!["grpc-status"], b"next".to_vec()),
            "{name}"
        );
    }
}

#[test]
fn a_body_that_is_cut_off_is_truncated() {
    let whole = b"5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n";
    for end in 0..whole.len() {
        let cut = decode(Framing::Chunked, &whole[..end]);
        assert_eq!(cut, Err(BodyError::Truncated), "cut at {end}");
    }
    assert_eq!(
        decode(Framing::Length(5), b"hell"),
        Err(BodyError::Truncated)
    );
    assert_eq!(
        decode(Framing::Length(u64::MAX), b"hell"),
        Err(BodyError::Truncated)
    );
}

#[test]
fn a_chunked_body_takes_exactly_its_own_bytes() {
    let raw = b"5\r\nhello\r\n1;a;b=c;d=\"e\\\" ;\"\r\n \r\n\
        00A\r\n0123456789\r\n000;z\r\nX: y\r\n\r\n0\r\n\r\n";
    let (data, trailers, rest) = decode(Framing::Chunked, raw).unwrap();
    assert_eq!(data, b"hello 0123456789");
    assert_eq!(trailers["x"], "y");
    assert_eq!(rest, b"0\r\n\r\n");
}

#[test]
fn a_length_body_takes_exactly_its_own_bytes() {
    let mut buf = BytesMut::from("hello, next");
    let mut decoder = BodyDecoder::new(Framing::Length(5), &LIMITS);
    assert_eq!(decoder.size_hint().exact(), Some(5));
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::Data("hello".into())));
    assert!(decoder.is_end());
    assert_eq!(decoder.size_hint().exact(), Some(0));
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::End));
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::End));
    assert_eq!(&buf[..], b", next");
}

#[test]
fn a_message_without_a_body_takes_nothing() {
    for framing in [Framing::None, Framing::Length(0)] {
        assert!(BodyDecoder::new(framing, &LIMITS).is_end());
        assert_eq!(decode(framing, b"next").unwrap().2, b"next");
    }
}

#[test]
fn a_body_until_close_ends_well_with_the_connection() {
    let (data, _, rest) = decode(Framing::UntilClose, b"anything\r\n0\r\n\r\n").unwrap();
    assert_eq!((data.len(), rest.len()), (15, 0));
    let mut decoder = BodyDecoder::new(Framing::UntilClose, &LIMITS);
    assert!(!decoder.is_end());
    assert_eq!(decoder.eof(), Ok(()));
    assert!(decoder.is_end());
}

#[test]
fn the_largest_chunk_size_does_not_overflow() {
    let mut buf = BytesMut::from("FFFFFFFFFFFFFFFF\r\nabc");
    let mut decoder = BodyDecoder::new(Framing::Chunked, &LIMITS);
    assert_eq!(decoder.decode(&mut buf), Ok(Decoded::Data("abc".into())));
    assert_eq!(decoder.size_hint().lower(), u64::MAX - 3);
}
