//! Properties of the codec: where bytes are cut never matters, and what is written is what is read.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq};
use proptest::sample::{Index, select};
use proptest::{option, prop_oneof, proptest};

use crate::http1::encode;
use crate::http1::{
    BodyDecoder, BodyError, ConnectionHeader, Decoded, Framing, HeadError, HeadLimits,
};
use crate::http1::{HeadScan, parse_request, parse_response};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4 << 10,
    headers: 60,
    target: 300,
};

/// What can be compared of a request head.
type Summary = (Method, String, Version, HeaderMap, Framing, (bool, bool));

/// Feeds `raw` in pieces ending at `cuts` and gives the outcome and what was left.
fn feed(raw: &[u8], mut cuts: Vec<usize>) -> (Result<Option<Summary>, HeadError>, Vec<u8>) {
    cuts.push(raw.len());
    cuts.sort_unstable();
    let (mut buf, mut scan, mut sent) = (BytesMut::new(), HeadScan::default(), 0);
    for cut in cuts {
        buf.extend_from_slice(&raw[sent..cut]);
        sent = cut;
        match scan.request(&mut buf, &LIMITS) {
            Ok(None) => {}
            Ok(Some(head)) => {
                buf.extend_from_slice(&raw[sent..]);
                let flags = (head.keep_alive, head.expect_continue);
                let parts = head.parts;
                let uri = parts.uri.to_string();
                let summary = (
                    parts.method,
                    uri,
                    parts.version,
                    parts.headers,
                    head.framing,
                    flags,
                );
                return (Ok(Some(summary)), buf.to_vec());
            }
            Err(error) => return (Err(error), Vec::new()),
        }
    }
    (Ok(None), Vec::new())
}

/// Heads made of the pieces that matter, most of them wrong in some way.
fn near_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "GET ",
        "POST ",
        "/",
        "/a?b",
        "*",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "Host: a\r\n",
        "\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "X: y\r\n",
        " ",
        "\n",
        "\r",
        "\t",
        ":",
        "\0",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "\r\n\r\n",
        "hello",
        "é",
        "GET / HTTP/1.1\r\nHost: a\r\n",
    ]);
    vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    let name = "[a-z][a-z0-9-]{0,20}".prop_map(|name| format!("x-{name}"));
    let value = prop_oneof![
        "[!-~]([ -~]{0,30}[!-~])?".prop_map(String::into_bytes),
        vec(0x80..=0xffu8, 1..8),
        Just(Vec::new())
    ];
    vec((name, value), 0..50).prop_map(|fields| {
        let pairs = fields.into_iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(&value).unwrap())
        });
        let mut map = HeaderMap::new();
        map.insert("host", HeaderValue::from_static("a.example:8443"));
        map.extend(pairs.fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        }));
        map
    })
}

/// The framing lines of `framing`, as a parsed map would hold them.
fn with_framing(mut map: HeaderMap, framing: Framing) -> HeaderMap {
    match framing {
        Framing::Length(length) => {
            map.insert("content-length", HeaderValue::from(length));
        }
        Framing::Chunked => {
            map.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        }
        Framing::None | Framing::UntilClose => {}
    }
    map
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::None),
        any::<u64>().prop_map(Framing::Length),
        Just(Framing::Chunked)
    ]
}

/// Decodes `raw` fed in pieces: data, trailers and what was left.
fn decode(raw: &[u8], mut cuts: Vec<usize>) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), BodyError> {
    cuts.push(raw.len());
    cuts.sort_unstable();
    let mut decoder = BodyDecoder::new(Framing::Chunked, &LIMITS);
    let (mut buf, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    let mut sent = 0;
    for cut in cuts {
        buf.extend_from_slice(&raw[sent..cut]);
        sent = cut;
        loop {
            match decoder.decode(&mut buf)? {
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::Trailers(map) => trailers = map,
                Decoded::End | Decoded::NeedMore => break,
            }
        }
    }
    if !decoder.is_end() {
        decoder.eof()?;
    }
    Ok((data, trailers, buf.to_vec()))
}

fn positions(cuts: &[Index], len: usize) -> Vec<usize> {
    cuts.iter().map(|cut| cut.index(len + 1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn where_a_head_is_cut_never_matters(raw in near_head(), cuts in vec(any::<Index>(), 0..4)) {
        let whole = feed(&raw, Vec::new());
        prop_assert_eq!(&feed(&raw, positions(&cuts, raw.len())), &whole);
        prop_assert_eq!(&feed(&raw, (0..raw.len()).collect()), &whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(raw in vec(any::<u8>(), 0..600)) {
        let _ = feed(&raw, Vec::new());
        let _ = parse_response(&mut BytesMut::from(&raw[..]), &LIMITS, &Method::GET);
        let _ = decode(&raw, Vec::new());
    }

    #[test]
    fn a_request_head_is_read_as_it_was_written(
        method in "[A-Z]{1,12}",
        target in "/[a-z0-9/._~!$&'()*+,;=:@%-]{0,80}(\\?[a-z0-9/?&=|]{0,40})?",
        fields in fields(), framing in framing(),
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let framing = if method == Method::CONNECT { Framing::None } else { framing };
        let mut buf = BytesMut::new();
        encode::request_head(&mut buf, &method, &target, &fields, framing);
        let head = parse_request(&mut buf, &LIMITS).unwrap().unwrap();
        prop_assert!(buf.is_empty());
        prop_assert_eq!(head.parts.method, method);
        prop_assert_eq!(head.parts.uri.to_string(), target);
        prop_assert_eq!(head.parts.headers, with_framing(fields, framing));
        prop_assert_eq!(head.framing, framing);
    }

    #[test]
    fn a_response_head_is_read_as_it_was_written(
        status in 200..600u16, fields in fields(), framing in framing(),
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut buf = BytesMut::new();
        let keep = (ConnectionHeader::KeepAlive, Version::HTTP_11);
        encode::response_head(&mut buf, status, &fields, framing, keep);
        let head = parse_response(&mut buf, &LIMITS, &Method::HEAD).unwrap().unwrap();
        prop_assert!(buf.is_empty());
        prop_assert_eq!(head.parts.status, status);
        prop_assert_eq!(head.parts.headers, with_framing(fields, framing));
        let no_content = status == StatusCode::NO_CONTENT;
        prop_assert_eq!(head.announced, if no_content { Framing::None } else { framing });
    }

    #[test]
    fn any_chunking_yields_the_body(
        chunks in vec(vec(any::<u8>(), 1..300), 0..12), trailer in option::of("[a-z]{1,20}"),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        let trailers = trailer.map(|value| {
            HeaderMap::from_iter([(HeaderName::from_static("x-sum"), value.parse().unwrap())])
        });
        let mut raw = BytesMut::new();
        for chunk in &chunks {
            encode::chunk_header(&mut raw, chunk.len());
            raw.extend_from_slice(chunk);
            encode::chunk_end(&mut raw);
        }
        encode::last_chunk_with_trailers(&mut raw, trailers.as_ref());
        raw.extend_from_slice(b"next");
        let raw: Bytes = raw.freeze();
        let expected = (chunks.concat(), trailers.unwrap_or_default(), b"next".to_vec());
        prop_assert_eq!(&decode(&raw, positions(&cuts, raw.len())).unwrap(), &expected);
        prop_assert_eq!(&decode(&raw, (0..raw.len()).collect()).unwrap(), &expected);
    }

    #[test]
    fn where_a_body_is_cut_never_matters(
        pieces in vec(
            select(vec!["0", "5", "\r\n", "hello", ";a", "=b", "\n", "x: y", "\"", " "]),
            0..12,
        ),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let raw = pieces.concat().into_bytes();
        prop_assert_eq!(decode(&raw, positions(&cuts, raw.len())), decode(&raw, Vec::new()));
    }
}
