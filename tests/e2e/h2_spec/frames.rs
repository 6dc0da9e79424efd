//! Frames and header blocks as such (sections 4.1 to 4.3, 5.5).

use super::Fate::{Answer, Connection, GoesOn, Stream};
use super::{COMPRESSION, Case, FRAME_SIZE, OK, PROTOCOL, case, hold};
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, frame, get, post,
    request, settings,
};

const FULL: usize = 16_384;

#[tokio::test]
async fn frames_are_of_a_size_and_of_a_kind() {
    let mut cases = sizes();
    cases.extend(blocks());
    hold("4 and 5.5", cases).await;
}

fn sizes() -> Vec<Case> {
    let reserved = frame(PING, 0, 1 << 31, [0; 8]);
    let long = |kind, flags, stream, length| frame(kind, flags, stream, vec![0; length]);
    vec![
        case("4.1/1 an unknown type", frame(0x16, 0, 0, [0; 8]), GoesOn),
        case(
            "4.1/1 an unknown type on a stream",
            [frame(0x16, 0, 1, [0; 8]), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "4.1/2 undefined flags",
            frame(PING, 0x16, 0, [0; 8]),
            GoesOn,
        ),
        case("4.1/3 the reserved bit", reserved, GoesOn),
        case(
            "4.2/1 DATA of 2^14",
            [post(1, "/upload", &[]), long(DATA, END_STREAM, 1, FULL)].concat(),
            Answer(1, OK),
        ),
        case(
            "4.2/2 larger DATA",
            [post(1, "/upload", &[]), long(DATA, END_STREAM, 1, FULL + 1)].concat(),
            Stream(1, FRAME_SIZE),
        ),
        case(
            "4.2/3 larger HEADERS",
            long(HEADERS, END_STREAM | END_HEADERS, 1, FULL + 1),
            Connection(FRAME_SIZE),
        ),
        case(
            "larger SETTINGS",
            long(4, 0, 0, FULL + 2),
            Connection(FRAME_SIZE),
        ),
        case(
            "a larger unknown frame",
            long(0x16, 0, 0, FULL + 1),
            Connection(FRAME_SIZE),
        ),
        case(
            "5.5/1 an extension frame",
            [frame(0xaf, 0xff, 1, b"hello"), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "SETTINGS of extensions",
            [settings(&[(0xfff0, 7)]), get(1, "/")].concat(),
            Answer(1, OK),
        ),
    ]
}

fn blocks() -> Vec<Case> {
    let begun = || frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[])[..20]);
    vec![
        case(
            "4.3/1 a broken header block",
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                b"\x0f\xff\xff\xff\xff",
            ),
            Connection(COMPRESSION),
        ),
        case(
            "a block that ends too early",
            frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                1,
                b"\x82\x87\x84\x41\x09loc",
            ),
            Connection(COMPRESSION),
        ),
        case(
            "4.3/2 PRIORITY within a block",
            [begun(), frame(PRIORITY, 0, 1, [0, 0, 0, 0, 9])].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "4.3/3 HEADERS of another stream within a block",
            [begun(), get(3, "/")].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "PING within a block",
            [begun(), frame(PING, 0, 0, [0; 8])].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "DATA within a block",
            [begun(), frame(DATA, 0, 1, b"x")].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "5.5/2 an extension frame within a block",
            [begun(), frame(0x16, 0, 0, [0; 8])].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "CONTINUATION of another stream",
            [begun(), frame(CONTINUATION, END_HEADERS, 3, [0x82])].concat(),
            Connection(PROTOCOL),
        ),
    ]
}
