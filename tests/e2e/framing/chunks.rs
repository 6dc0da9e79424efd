//! Chunk lines, chunk data and trailers.

use super::Fate::{Cut, Sent};
use super::{Case, case};

/// A first chunk that is well formed, and what follows it.
fn then(rest: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n{rest}"
    )
}

macro_rules! head {
    () => {
        "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    };
}

const BEGUN: &str = head!();
const WHOLE: &str = concat!(head!(), "5\r\nhello\r\n0\r\n\r\n");

pub(super) fn cases() -> Vec<Case> {
    let mut all = sizes();
    all.extend(extensions());
    all.extend(trailers());
    all
}

fn sizes() -> Vec<Case> {
    let size = |size: &str| then(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
    vec![
        case("two chunks", size("5"), Sent(WHOLE)),
        case(
            "leading zeros of a chunk",
            size("0000000000000005"),
            Sent(WHOLE),
        ),
        case(
            "too many leading zeros",
            size("00000000000000005"),
            Cut(400, BEGUN),
        ),
        case("a huge chunk", size("fffffffffffffffff"), Cut(400, BEGUN)),
        case(
            "a chunk that is more than may be",
            then(&format!("64\r\n{}", "x".repeat(100))),
            Cut(413, BEGUN),
        ),
        case("a negative chunk", size("-5"), Cut(400, BEGUN)),
        case("a chunk with plus", size("+5"), Cut(400, BEGUN)),
        case("0x before a chunk", size("0x5"), Cut(400, BEGUN)),
        case("a blank before a chunk", size(" 5"), Cut(400, BEGUN)),
        case("a blank behind a chunk", size("5 "), Cut(400, BEGUN)),
        case("no size", size(""), Cut(400, BEGUN)),
        case("a size that is none", size("g"), Cut(400, BEGUN)),
        case(
            "a bare LF behind a size",
            then("5\nhello\r\n0\r\n\r\n"),
            Cut(400, BEGUN),
        ),
        case(
            "a bare CR behind a size",
            then("5\rhello\r\n0\r\n\r\n"),
            Cut(400, BEGUN),
        ),
        case(
            "no line end behind a chunk",
            then("5\r\nhello0\r\n\r\n"),
            Cut(400, concat!(head!(), "5\r\nhello\r\n")),
        ),
        case(
            "a chunk longer than it says",
            then("5\r\nhello world\r\n0\r\n\r\n"),
            Cut(400, concat!(head!(), "5\r\nhello\r\n")),
        ),
        case(
            "a bare LF behind the last chunk",
            then("0\n\n"),
            Cut(400, BEGUN),
        ),
    ]
}

fn extensions() -> Vec<Case> {
    let size = |size: &str| then(&format!("{size}\r\nhello\r\n0\r\n\r\n"));
    vec![
        case("extensions", size("5;a;b=c;d=\"e;\\\" f\""), Sent(WHOLE)),
        case("an extension of nothing", size("5;"), Cut(400, BEGUN)),
        case("a blank in an extension", size("5; a=b"), Cut(400, BEGUN)),
        case("a bare LF in an extension", size("5;a\nb"), Cut(400, BEGUN)),
        case("a bare CR in an extension", size("5;a\rb"), Cut(400, BEGUN)),
        case("a quote without end", size("5;a=\"b"), Cut(400, BEGUN)),
        case(
            "a long extension",
            size(&format!("5;{}", "a".repeat(300))),
            Cut(400, BEGUN),
        ),
    ]
}

fn trailers() -> Vec<Case> {
    let end = |lines: &str| then(&format!("0\r\n{lines}\r\n"));
    let plain = Sent(concat!(head!(), "0\r\n\r\n"));
    vec![
        case(
            "a trailer",
            end("X-Sum: 3\r\n"),
            Sent(concat!(head!(), "0\r\nx-sum: 3\r\n\r\n")),
        ),
        case(
            "a trailer that says who the client is",
            end("X-Forwarded-Client-Cert: Hash=0\r\n"),
            plain,
        ),
        case(
            "Content-Length in a trailer",
            end("Content-Length: 5\r\n"),
            Cut(400, BEGUN),
        ),
        case(
            "Transfer-Encoding in a trailer",
            end("Transfer-Encoding: chunked\r\n"),
            Cut(400, BEGUN),
        ),
        case("Host in a trailer", end("Host: other\r\n"), Cut(400, BEGUN)),
        case("a folded trailer", end("X: a\r\n b\r\n"), Cut(400, BEGUN)),
        case(
            "a request in the trailers",
            end("GET /second HTTP/1.1\r\nX: y\r\n"),
            Cut(400, BEGUN),
        ),
        case(
            "many trailers",
            end(&"X: y\r\n".repeat(60)),
            Cut(400, BEGUN),
        ),
    ]
}
