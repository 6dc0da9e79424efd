//! Host, and what a field line may look like.

use super::Fate::{Declined, Refused, Sent};
use super::{Case, PLAIN, case};

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\n{lines}\r\n")
}

fn with(line: &str) -> String {
    get(&format!("Host: localhost\r\n{line}"))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = hosts();
    all.extend(line_ends());
    all.extend(names_and_values());
    all
}

fn hosts() -> Vec<Case> {
    let host = |value: &str| get(&format!("Host: {value}\r\n"));
    vec![
        case("no Host", get(""), Refused(400)),
        case(
            "two equal Hosts",
            get("Host: localhost\r\nHost: localhost\r\n"),
            Refused(400),
        ),
        case(
            "two Hosts",
            get("Host: localhost\r\nHost: other\r\n"),
            Refused(400),
        ),
        case(
            "two Hosts apart",
            get("Host: localhost\r\nX: y\r\nhOST: other\r\n"),
            Refused(400),
        ),
        case("an empty Host", host(""), Refused(400)),
        case("userinfo in Host", host("other@localhost"), Refused(400)),
        case("a list in Host", host("localhost, other"), Refused(400)),
        case("a path in Host", host("localhost/other"), Refused(400)),
        case("a blank in Host", host("localhost other"), Refused(400)),
        case(
            "percent-encoding in Host",
            host("local%68ost"),
            Refused(400),
        ),
        case(
            "no number behind the colon of Host",
            host("localhost:"),
            Refused(400),
        ),
        case("a port that is none", host("localhost:65536"), Refused(400)),
        case(
            "the Host of another site",
            host("other.example"),
            Declined(421),
        ),
        case(
            "Host behind a tab",
            get("Host:\tlocalhost \t\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Host behind nothing",
            get("Host:localhost\r\n"),
            Sent(PLAIN),
        ),
        case(
            "Host with a port",
            host("LocalHost:8443"),
            Sent("GET / HTTP/1.1\r\nhost: LocalHost:8443\r\nvia: 1.1 portcullis\r\n\r\n"),
        ),
    ]
}

fn line_ends() -> Vec<Case> {
    vec![
        case("a folded line", with("X: a\r\n b\r\n"), Refused(400)),
        case(
            "a folded line of a tab",
            with("X: a\r\n\tb\r\n"),
            Refused(400),
        ),
        case(
            "a folded Host",
            get("X: y\r\nHost:\r\n localhost\r\n"),
            Refused(400),
        ),
        case(
            "a blank before the first field",
            get(" Host: localhost\r\n"),
            Refused(400),
        ),
        case(
            "a bare CR in a value",
            with("X: a\rContent-Length: 5\r\n"),
            Refused(400),
        ),
        case(
            "a bare LF in a value",
            with("X: a\nContent-Length: 5\r\n"),
            Refused(400),
        ),
        case(
            "bare LF everywhere",
            "GET / HTTP/1.1\nHost: localhost\n\n",
            Refused(400),
        ),
        case(
            "a bare LF ends the head",
            "GET / HTTP/1.1\r\nHost: localhost\r\n\n",
            Refused(400),
        ),
        case(
            "CR CR LF",
            "GET / HTTP/1.1\r\nHost: localhost\r\r\n\r\n",
            Refused(400),
        ),
    ]
}

fn names_and_values() -> Vec<Case> {
    vec![
        case("NUL in a value", with("X: a\0b\r\n"), Refused(400)),
        case("NUL in a name", with("X\0: a\r\n"), Refused(400)),
        case("a control in a value", with("X: a\u{1}b\r\n"), Refused(400)),
        case("DEL in a value", with("X: a\u{7f}b\r\n"), Refused(400)),
        case(
            "vertical tab before a value",
            with("Content-Length:\u{b}5\r\n"),
            Refused(400),
        ),
        case(
            "a blank before the colon",
            with("Content-Length : 5\r\n"),
            Refused(400),
        ),
        case(
            "a tab before the colon",
            with("Content-Length\t: 5\r\n"),
            Refused(400),
        ),
        case("a name of nothing", with(": a\r\n"), Refused(400)),
        case("no colon", with("Content-Length 5\r\n"), Refused(400)),
        case("a name with a slash", with("a/b: c\r\n"), Refused(400)),
        case(
            "a name beyond ASCII",
            with("Content-L\u{e9}ngth: 5\r\n"),
            Refused(400),
        ),
        case(
            "a name that some read as another",
            with("Content_Length: 5\r\n"),
            Sent(PLAIN),
        ),
        case("many fields", with(&"X: y\r\n".repeat(60)), Refused(431)),
        case(
            "a long field",
            with(&format!("X: {}\r\n", "y".repeat(9000))),
            Refused(431),
        ),
    ]
}
