//! Content-Length and Transfer-Encoding: where a body ends.

use super::Fate::{Refused, Sent};
use super::{Case, case};

/// What would be smuggled where a length is misread.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

fn coded(line: &str) -> String {
    post(line, "5\r\nhello\r\n0\r\n\r\n")
}

fn counted(line: &str) -> String {
    post(line, "hello")
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\n\
                       transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const COUNTED: &str =
    "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 5\r\n\r\nhello";

pub(super) fn cases() -> Vec<Case> {
    let mut all = both();
    all.extend(codings());
    all.extend(numbers());
    all
}

fn both() -> Vec<Case> {
    let (length, chunked) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let body = format!("0\r\n\r\n{HIDDEN}");
    vec![
        case(
            "CL.TE",
            post(&format!("{length}{chunked}"), &body),
            Refused(400),
        ),
        case(
            "TE.CL",
            post(&format!("{chunked}{length}"), &body),
            Refused(400),
        ),
        case(
            "CL of zero and TE",
            post(&format!("Content-Length: 0\r\n{chunked}"), &body),
            Refused(400),
        ),
        case(
            "CL and a TE that is none",
            post(&format!("{length}Transfer-Encoding: identity\r\n"), &body),
            Refused(501),
        ),
    ]
}

fn codings() -> Vec<Case> {
    let te = |value: &str| coded(&format!("Transfer-Encoding: {value}\r\n"));
    vec![
        case("chunked", te("chunked"), Sent(CHUNKED)),
        case("Chunked", te("ChunKed"), Sent(CHUNKED)),
        case("chunked, identity", te("chunked, identity"), Refused(400)),
        case("identity, chunked", te("identity, chunked"), Refused(501)),
        case("gzip, chunked", te("gzip, chunked"), Refused(501)),
        case("chunked, chunked", te("chunked, chunked"), Refused(400)),
        case("xchunked", te("xchunked"), Refused(501)),
        case("identity", te("identity"), Refused(501)),
        case("no coding", te(""), Refused(400)),
        case("a comma", te("chunked,"), Refused(400)),
        case("quotes", te("\"chunked\""), Refused(400)),
        case("a parameter", te("chunked;q=1"), Refused(400)),
        case("two blanks before chunked", te(" chunked"), Refused(400)),
        case(
            "a tab before chunked",
            coded("Transfer-Encoding:\tchunked\r\n"),
            Refused(400),
        ),
        case("a blank behind chunked", te("chunked "), Refused(400)),
        case(
            "a vertical tab before chunked",
            te("\u{b}chunked"),
            Refused(400),
        ),
        case(
            "a folded chunked",
            coded("Transfer-Encoding:\r\n chunked\r\n"),
            Refused(400),
        ),
        case(
            "chunked twice",
            coded(&"Transfer-Encoding: chunked\r\n".repeat(2)),
            Refused(400),
        ),
        case(
            "chunked, then identity",
            coded("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
            Refused(501),
        ),
        case(
            "chunked in HTTP/1.0",
            te("chunked").replace("HTTP/1.1", "HTTP/1.0"),
            Refused(400),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let cl = |value: &str| counted(&format!("Content-Length: {value}\r\n"));
    vec![
        case("a length", cl("5"), Sent(COUNTED)),
        case("leading zeros", cl("0005"), Sent(COUNTED)),
        case(
            "two equal lengths",
            counted(&"Content-Length: 5\r\n".repeat(2)),
            Refused(400),
        ),
        case(
            "two lengths",
            counted("Content-Length: 5\r\nContent-Length: 0\r\n"),
            Refused(400),
        ),
        case("a list of equal lengths", cl("5, 5"), Refused(400)),
        case("a list of lengths", cl("5, 0"), Refused(400)),
        case("plus", cl("+5"), Refused(400)),
        case("minus", cl("-5"), Refused(400)),
        case("two blanks before a length", cl(" 5"), Refused(400)),
        case("a blank behind a length", cl("5 "), Refused(400)),
        case("a blank in a length", cl("0 5"), Refused(400)),
        case("hexadecimal", cl("0x5"), Refused(400)),
        case("an underscore", cl("0_5"), Refused(400)),
        case("a fraction", cl("5.0"), Refused(400)),
        case("no number", cl(""), Refused(400)),
        case("2^64", cl("18446744073709551616"), Refused(400)),
        case("2^64 + 5", cl("18446744073709551621"), Refused(400)),
        case("digits beyond ASCII", cl("\u{665}"), Refused(400)),
        case("larger than may be", cl("65537"), Refused(413)),
    ]
}
