//! Bodies that hold what could pass for a request, and requests with bodies nobody reads.

use super::Fate::{Refused, Sent, SentBoth, SentLast};
use super::{Case, case};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

macro_rules! hidden {
    () => {
        "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    };
}

fn of(method: &str, path: &str, lines: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n{body}")
}

/// The length of [`HIDDEN`].
const LENGTH: &str = "Content-Length: 41\r\n";

pub(super) fn cases() -> Vec<Case> {
    let mut all = hidden();
    all.extend(unread_and_second());
    all
}

fn hidden() -> Vec<Case> {
    vec![
        case(
            "a request in a body",
            of("POST", "/", LENGTH, HIDDEN),
            Sent(concat!(
                "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 41\r\n\r\n",
                hidden!()
            )),
        ),
        case(
            "a request in the body of a GET",
            of("GET", "/", LENGTH, HIDDEN),
            Sent(concat!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 41\r\n\r\n",
                hidden!()
            )),
        ),
        case(
            "a request in a chunk",
            of(
                "POST",
                "/",
                "Transfer-Encoding: chunked\r\n",
                &format!("29\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
            Sent(concat!(
                "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ntransfer-encoding: chunked\r\n\r\n29\r\n",
                hidden!(),
                "\r\n0\r\n\r\n"
            )),
        ),
    ]
}

fn unread_and_second() -> Vec<Case> {
    vec![
        case(
            "a body left unread",
            of("POST", "/denied", LENGTH, HIDDEN),
            Refused(403),
        ),
        case(
            "a chunked body left unread",
            of(
                "POST",
                "/denied",
                "Transfer-Encoding: chunked\r\n",
                &format!("29\r\n{HIDDEN}\r\n0\r\n\r\n"),
            ),
            Refused(403),
        ),
        case(
            "a second request",
            format!(
                "{}GET /second HTTP/1.1\r\nHost: localhost\r\n\r\n",
                of("POST", "/", "Content-Length: 0\r\n", "")
            ),
            SentBoth(
                "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 0\r\n\r\n\
                  GET /second HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\n\r\n",
            ),
        ),
        case(
            "a second request behind a last",
            of("GET", "/", "Connection: close\r\n", HIDDEN),
            SentLast(super::PLAIN),
        ),
        case(
            "no LENGTH, so no body",
            of("POST", "/", "Connection: close\r\n", HIDDEN),
            SentLast(
                "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 0\r\n\r\n",
            ),
        ),
    ]
}
