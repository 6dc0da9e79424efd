//! Header compression (RFC 7541): every representation, and what is none.

use super::Fate::{Answer, Connection};
use super::{COMPRESSION, Case, OK, case, hold};
use crate::harness::frames::{END_HEADERS, END_STREAM, HEADERS, frame};

/// GET https /, in one byte each, and the authority as a literal that enters no table.
const REQUEST: &[u8] = b"\x82\x87\x84\x01\x09localhost";
const DONE: u8 = END_STREAM | END_HEADERS;

fn block(stream: u32, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, DONE, stream, fields)
}

fn with(fields: &[u8]) -> Vec<u8> {
    block(1, &[REQUEST, fields].concat())
}

#[tokio::test]
async fn header_blocks_are_read_by_the_letter() {
    let mut cases = representations();
    cases.extend(tables());
    cases.extend(refusals());
    hold("hpack", cases).await;
}

fn representations() -> Vec<Case> {
    let answer = || Answer(1, OK);
    vec![
        case("generic 5/1 indexed", with(b"\x90"), answer()),
        case(
            "5/2 incremental, indexed name",
            with(b"\x7a\x04test"),
            answer(),
        ),
        case(
            "5/3 incremental, indexed name, Huffman",
            with(b"\x7a\x83\x49\x50\x9f"),
            answer(),
        ),
        case(
            "5/4 incremental, new name",
            with(b"\x40\x04test\x04test"),
            answer(),
        ),
        case(
            "5/5 incremental, new name, Huffman",
            with(b"\x40\x83\x49\x50\x9f\x83\x49\x50\x9f"),
            answer(),
        ),
        case(
            "5/6 without indexing, indexed name",
            with(b"\x0f\x2b\x04test"),
            answer(),
        ),
        case(
            "5/7 without indexing, indexed name, Huffman",
            with(b"\x0f\x2b\x83\x49\x50\x9f"),
            answer(),
        ),
        case(
            "5/8 without indexing, new name",
            with(b"\x00\x04test\x04test"),
            answer(),
        ),
        case(
            "5/9 without indexing, new name, Huffman",
            with(b"\x00\x83\x49\x50\x9f\x83\x49\x50\x9f"),
            answer(),
        ),
        case(
            "5/10 never indexed, indexed name",
            with(b"\x1f\x2b\x04test"),
            answer(),
        ),
        case(
            "5/11 never indexed, indexed name, Huffman",
            with(b"\x1f\x2b\x83\x49\x50\x9f"),
            answer(),
        ),
        case(
            "5/12 never indexed, new name",
            with(b"\x10\x04test\x04test"),
            answer(),
        ),
        case(
            "5/13 never indexed, new name, Huffman",
            with(b"\x10\x83\x49\x50\x9f\x83\x49\x50\x9f"),
            answer(),
        ),
        case("an empty value", with(b"\x00\x04test\x00"), answer()),
        case(
            "an empty value in Huffman",
            with(b"\x00\x04test\x80"),
            answer(),
        ),
    ]
}

fn tables() -> Vec<Case> {
    let twice = |first: &[u8], second: &[u8]| {
        [
            block(1, &[first, REQUEST].concat()),
            block(3, &[second, REQUEST].concat()),
        ]
        .concat()
    };
    let named = |more: &[u8]| with(&[b"\x40\x04test\x04test", more].concat());
    vec![
        case(
            "5/14 an entry of the dynamic table",
            named(b"\xbe"),
            Answer(1, OK),
        ),
        case("its name alone", named(b"\x0f\x2f\x05other"), Answer(1, OK)),
        case(
            "5/15 a size update",
            block(1, &[b"\x3f\xe1\x1f", REQUEST].concat()),
            Answer(1, OK),
        ),
        case(
            "two size updates",
            twice(b"\x20\x3f\xe1\x1f", b""),
            Answer(3, OK),
        ),
        case(
            "an entry that was pushed out",
            named(b"\x40\x04more\x04more\xc0"),
            Connection(COMPRESSION),
        ),
        case(
            "an entry that a size update threw away",
            [
                named(b""),
                block(3, &[&b"\x20"[..], REQUEST, b"\xbe"].concat()),
            ]
            .concat(),
            Connection(COMPRESSION),
        ),
        case(
            "an entry larger than the table",
            block(
                1,
                &[&b"\x20"[..], REQUEST, b"\x40\x04test\x04test\xbe"].concat(),
            ),
            Connection(COMPRESSION),
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let error = || Connection(COMPRESSION);
    vec![
        case("2.3.3/1 an index beyond the tables", with(b"\xc6"), error()),
        case(
            "2.3.3/2 a name beyond the tables",
            with(b"\x7f\x07\x04test"),
            error(),
        ),
        case("4.2/1 a size update behind a field", with(b"\x20"), error()),
        case(
            "5.1 an integer without end",
            with(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x0f"),
            error(),
        ),
        case(
            "5.2/1 Huffman padding of more than 7 bits",
            with(b"\x00\x04test\x84\x49\x50\x9f\xff"),
            error(),
        ),
        case(
            "5.2/2 Huffman padding of zeros",
            with(b"\x00\x04test\x83\x49\x50\x90"),
            error(),
        ),
        case(
            "5.2/3 the end of string in a string",
            with(b"\x00\x04test\x84\xff\xff\xff\xff"),
            error(),
        ),
        case(
            "5.2 a string longer than its block",
            with(b"\x00\x04test\x7etest"),
            error(),
        ),
        case("6.1/1 index 0", with(b"\x80"), error()),
        case(
            "6.3/1 a size update above the setting",
            block(1, &[b"\x3f\xe2\x1f", REQUEST].concat()),
            error(),
        ),
    ]
}
