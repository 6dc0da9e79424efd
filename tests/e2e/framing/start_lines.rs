//! Request lines: blanks, forms of the target, versions.

use super::Fate::{Declined, Refused, Sent, SentLast};
use super::{Case, PLAIN, case};

fn line(line: &str) -> String {
    format!("{line}\r\nHost: localhost\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = blanks();
    all.extend(forms());
    all.extend(characters());
    all.extend(versions());
    all
}

fn blanks() -> Vec<Case> {
    vec![
        case("two blanks", line("GET  / HTTP/1.1"), Refused(400)),
        case(
            "two blanks before the version",
            line("GET /  HTTP/1.1"),
            Refused(400),
        ),
        case("tabs", line("GET\t/\tHTTP/1.1"), Refused(400)),
        case("a blank first", line(" GET / HTTP/1.1"), Refused(400)),
        case("a blank last", line("GET / HTTP/1.1 "), Refused(400)),
        case(
            "a blank in the target",
            line("GET /a b HTTP/1.1"),
            Refused(400),
        ),
        case("a bare CR", line("GET /\rHTTP/1.1"), Refused(400)),
        case(
            "one empty line first",
            line("\r\nGET / HTTP/1.1"),
            Sent(PLAIN),
        ),
        case(
            "two empty lines first",
            line("\r\n\r\nGET / HTTP/1.1"),
            Refused(400),
        ),
        case("a bare LF first", line("\nGET / HTTP/1.1"), Refused(400)),
        case(
            "a method that is no token",
            line("GE(T / HTTP/1.1"),
            Refused(400),
        ),
        case(
            "a long method",
            line(&format!("{} / HTTP/1.1", "A".repeat(33))),
            Refused(501),
        ),
        case(
            "a long target",
            line(&format!("GET /{} HTTP/1.1", "a".repeat(1100))),
            Refused(414),
        ),
        case("a line without end", "A".repeat(9000), Refused(414)),
    ]
}

fn forms() -> Vec<Case> {
    vec![
        case(
            "absolute form",
            line("GET https://localhost/ HTTP/1.1"),
            Sent(PLAIN),
        ),
        case(
            "absolute form, its port said",
            line("GET https://LOCALHOST:443/ HTTP/1.1"),
            Sent(PLAIN),
        ),
        case(
            "absolute form of another host",
            line("GET https://other/ HTTP/1.1"),
            Refused(400),
        ),
        case(
            "absolute form of another port",
            line("GET https://localhost:8443/ HTTP/1.1"),
            Refused(400),
        ),
        case(
            "absolute form with userinfo",
            line("GET https://u@localhost/ HTTP/1.1"),
            Refused(400),
        ),
        case(
            "absolute form of another scheme",
            line("GET ftp://localhost/ HTTP/1.1"),
            Refused(400),
        ),
        case(
            "absolute form without a path",
            line("GET https://localhost?x HTTP/1.1"),
            Refused(400),
        ),
        case(
            "authority form",
            line("GET localhost:443 HTTP/1.1"),
            Refused(400),
        ),
        case("no slash", line("GET index.html HTTP/1.1"), Refused(400)),
        case("no target", line("GET HTTP/1.1"), Refused(400)),
        case("asterisk form of GET", line("GET * HTTP/1.1"), Refused(400)),
        case(
            "asterisk form",
            line("OPTIONS * HTTP/1.1"),
            Sent("OPTIONS * HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\n\r\n"),
        ),
        case(
            "CONNECT",
            "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
            Declined(501),
        ),
        case(
            "CONNECT with a path",
            line("CONNECT / HTTP/1.1"),
            Refused(400),
        ),
    ]
}

fn characters() -> Vec<Case> {
    vec![
        case("a fragment", line("GET /a#b HTTP/1.1"), Refused(400)),
        case("a backslash", line("GET /a\\b HTTP/1.1"), Refused(400)),
        case(
            "NUL in the target",
            line("GET /a\0b HTTP/1.1"),
            Refused(400),
        ),
        case("beyond ASCII", line("GET /\u{e9} HTTP/1.1"), Refused(400)),
        case(
            "an encoded slash",
            line("GET /a%2fb HTTP/1.1"),
            Declined(400),
        ),
        case("a dot segment", line("GET /a/../b HTTP/1.1"), Declined(400)),
    ]
}

fn versions() -> Vec<Case> {
    vec![
        case("HTTP/0.9", "GET /\r\n\r\n", Refused(400)),
        case("HTTP/1.2", line("GET / HTTP/1.2"), Refused(505)),
        case("HTTP/2.0", line("GET / HTTP/2.0"), Refused(505)),
        case(
            "the preface of HTTP/2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Refused(505),
        ),
        case("HTTP/1.10", line("GET / HTTP/1.10"), Refused(400)),
        case("HTTP/01.1", line("GET / HTTP/01.1"), Refused(400)),
        case("small letters", line("GET / http/1.1"), Refused(400)),
        case("another protocol", line("GET / ICAP/1.1"), Refused(400)),
        case(
            "HTTP/1.0",
            line("GET / HTTP/1.0"),
            SentLast("GET / HTTP/1.1\r\nhost: localhost\r\nvia: 1.0 portcullis\r\n\r\n"),
        ),
        case(
            "HTTP/1.0 without Host",
            "GET / HTTP/1.0\r\n\r\n",
            Refused(400),
        ),
    ]
}
