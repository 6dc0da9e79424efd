//! Connection, Upgrade and Expect: what is for one hop, and what a hop must not believe.

use super::Fate::{Declined, Refused, Sent, SentLast};
use super::{Case, PLAIN, case};

pub(super) fn cases() -> Vec<Case> {
    let mut all = upgrades();
    all.extend(persistence());
    all.extend(expectations());
    all
}

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
}

fn post(lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n{lines}\r\nhello")
}

const POSTED: &str =
    "POST / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\ncontent-length: 5\r\n\r\nhello";

fn upgrades() -> Vec<Case> {
    vec![
        case(
            "Upgrade: h2c",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
            ),
            Sent(PLAIN),
        ),
        case(
            "Upgrade that Connection does not name",
            get("Upgrade: h2c\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Upgrade: TLS",
            get("Connection: upgrade\r\nUpgrade: TLS/1.2\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Upgrade: h2c of a POST",
            post("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
            Sent(POSTED),
        ),
    ]
}

fn persistence() -> Vec<Case> {
    vec![
        case(
            "Connection names Content-Length",
            post("Connection: Content-Length\r\n"),
            Sent(POSTED),
        ),
        case(
            "Connection names Host",
            get("Connection: Host\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Connection names a field",
            get("Connection: X-Secret\r\nX-Secret: 1\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Proxy-Connection",
            get("Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\n"),
            Sent(PLAIN),
        ),
        case(
            "close and keep-alive",
            get("Connection: keep-alive, close\r\n"),
            SentLast(PLAIN),
        ),
        case(
            "keep-alive of HTTP/1.0",
            "GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
            Sent("GET / HTTP/1.1\r\nhost: localhost\r\nvia: 1.0 portcullis\r\n\r\n"),
        ),
        case(
            "TE",
            get("Connection: TE\r\nTE: trailers, gzip\r\n"),
            Sent(
                "GET / HTTP/1.1\r\nhost: localhost\r\nte: trailers\r\nvia: 1.1 portcullis\r\nconnection: te\r\n\r\n",
            ),
        ),
    ]
}

fn expectations() -> Vec<Case> {
    vec![
        case(
            "Expect, and the body with it",
            post("Expect: 100-continue\r\n"),
            Sent(
                "POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nvia: 1.1 portcullis\r\n\
                  content-length: 5\r\n\r\nhello",
            ),
        ),
        case(
            "Expect of something else",
            post("Expect: 200-ok\r\n"),
            Refused(417),
        ),
        case(
            "Expect in a list",
            post("Expect: 100-continue, x\r\n"),
            Refused(417),
        ),
        case(
            "Expect twice",
            post("Expect: 100-continue\r\nExpect: 100-continue\r\n"),
            Refused(417),
        ),
        case(
            "a field of the gateway",
            get("Connection: X-Forwarded-Client-Cert\r\nX-Forwarded-Client-Cert: Hash=0\r\n"),
            Sent(PLAIN),
        ),
        case(
            "a denied request without a body",
            "GET /denied HTTP/1.1\r\nHost: localhost\r\n\r\n",
            Declined(403),
        ),
    ]
}
