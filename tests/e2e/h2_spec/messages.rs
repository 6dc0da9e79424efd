//! Requests that are malformed, and codes nobody knows (sections 7 and 8).

use super::Fate::{Answer, Connection, GoesOn, Malformed, Stream};
use super::{Case, OK, PROTOCOL, case, hold};
use crate::harness::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PUSH_PROMISE, block, frame, get, post, request,
    reset,
};

const DONE: u8 = END_STREAM | END_HEADERS;

#[tokio::test]
async fn malformed_requests_go_nowhere() {
    let mut cases = codes();
    cases.extend(pseudo_fields());
    cases.extend(targets());
    cases.extend(fields());
    cases.extend(lengths());
    hold("7 and 8", cases).await;
}

fn codes() -> Vec<Case> {
    let goaway = frame(GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff]);
    vec![
        case(
            "7/1 GOAWAY of an unknown code",
            [get(1, "/slow/50"), goaway].concat(),
            Answer(1, OK),
        ),
        case(
            "7/2 RST_STREAM of an unknown code",
            [get(1, "/slow/3000"), reset(1, 0xff)].concat(),
            GoesOn,
        ),
        case(
            "8.2/1 PUSH_PROMISE",
            [
                post(1, "/echo", &[]),
                frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2, 0x82]),
            ]
            .concat(),
            Connection(PROTOCOL),
        ),
    ]
}

type Field = (&'static str, &'static str);

const METHOD: Field = (":method", "GET");
const SCHEME: Field = (":scheme", "https");
const PATH: Field = (":path", "/");
const AUTHORITY: Field = (":authority", "localhost");

/// A request of these fields.
fn head(name: &'static str, fields: &[Field], fate: super::Fate) -> Case {
    case(name, frame(HEADERS, DONE, 1, block(fields)), fate)
}

/// A request with another path.
fn at(name: &'static str, path: &'static str) -> Case {
    head(
        name,
        &[METHOD, SCHEME, (":path", path), AUTHORITY],
        Malformed(1),
    )
}

fn pseudo_fields() -> Vec<Case> {
    let (bad, odd) = (|| Stream(1, PROTOCOL), || Malformed(1));
    let known = [METHOD, SCHEME, PATH, AUTHORITY];
    let and = |field: Field| [&known[..], &[field]].concat();
    let trailers = frame(HEADERS, DONE, 1, block(&[METHOD]));
    let with_trailers = [post(1, "/echo", &[]), frame(DATA, 0, 1, b"x"), trailers].concat();
    vec![
        head("8.1.2.1/1 an unknown one", &and((":test", "x")), bad()),
        head(
            "8.1.2.1/2 one of responses",
            &and((":status", "200")),
            bad(),
        ),
        case("8.1.2.1/3 one in trailers", with_trailers, bad()),
        head(
            "8.1.2.1/4 one behind a field",
            &[METHOD, SCHEME, ("x", "y"), PATH, AUTHORITY],
            bad(),
        ),
        head(
            "8.1.2.3/1 an empty path",
            &[METHOD, SCHEME, (":path", ""), AUTHORITY],
            odd(),
        ),
        head("8.1.2.3/2 no method", &[SCHEME, PATH, AUTHORITY], odd()),
        head("8.1.2.3/3 no scheme", &[METHOD, PATH, AUTHORITY], odd()),
        head("8.1.2.3/4 no path", &[METHOD, SCHEME, AUTHORITY], odd()),
        head(
            "8.1.2.3/5 two methods",
            &[METHOD, METHOD, SCHEME, PATH, AUTHORITY],
            bad(),
        ),
        head(
            "8.1.2.3/6 two schemes",
            &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY],
            bad(),
        ),
        head(
            "8.1.2.3/7 two paths",
            &[METHOD, SCHEME, PATH, PATH, AUTHORITY],
            bad(),
        ),
        head("two authorities", &and(AUTHORITY), bad()),
    ]
}

fn targets() -> Vec<Case> {
    let odd = || Malformed(1);
    let known = [METHOD, SCHEME, PATH, AUTHORITY];
    let and = |field: Field| [&known[..], &[field]].concat();
    let userinfo = (":authority", "u@localhost");
    let connect = [(":method", "CONNECT"), SCHEME, PATH, AUTHORITY];
    vec![
        head("no authority and no host", &[METHOD, SCHEME, PATH], odd()),
        head(
            "an empty authority",
            &[METHOD, SCHEME, PATH, (":authority", "")],
            odd(),
        ),
        head(
            "userinfo in the authority",
            &[METHOD, SCHEME, PATH, userinfo],
            odd(),
        ),
        head(
            "a host that says something else",
            &and(("host", "other")),
            odd(),
        ),
        head(
            "a method that is none",
            &[(":method", "G T"), SCHEME, PATH, AUTHORITY],
            odd(),
        ),
        head("CONNECT with a path", &connect, odd()),
        head(
            "a protocol without CONNECT",
            &and((":protocol", "websocket")),
            odd(),
        ),
        at("a path without a slash", "x"),
        at("a path with a blank", "/a b"),
        at("an asterisk for GET", "*"),
        head(
            "a fragment goes no further",
            &[METHOD, SCHEME, (":path", "/#x"), AUTHORITY],
            Answer(1, OK),
        ),
    ]
}

fn fields() -> Vec<Case> {
    let with =
        |name: &str, value: &str| frame(HEADERS, DONE, 1, request("GET", "/", &[(name, value)]));
    vec![
        case(
            "8.1.2/1 upper case",
            with("X-Test", "x"),
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.2.2/1 connection",
            with("connection", "keep-alive"),
            Stream(1, PROTOCOL),
        ),
        case("keep-alive", with("keep-alive", "5"), Malformed(1)),
        case(
            "proxy-connection",
            with("proxy-connection", "x"),
            Malformed(1),
        ),
        case(
            "transfer-encoding",
            with("transfer-encoding", "chunked"),
            Malformed(1),
        ),
        case("upgrade", with("upgrade", "h2c"), Malformed(1)),
        case(
            "8.1.2.2/2 TE of something else",
            with("te", "trailers, deflate"),
            Stream(1, PROTOCOL),
        ),
        case("TE of trailers", with("te", "trailers"), Answer(1, OK)),
        case("a name with a blank", with("a b", "x"), Malformed(1)),
        case("a name with a colon", with("a:b", "x"), Malformed(1)),
        case("an empty name", with("", "x"), Malformed(1)),
        case("a name beyond ASCII", with("\u{e9}", "x"), Malformed(1)),
        case("NUL in a value", with("x", "a\0b"), Malformed(1)),
        case("CR in a value", with("x", "a\rb"), Malformed(1)),
        case("LF in a value", with("x", "a\nb: c"), Malformed(1)),
        case(
            "a value that begins with a blank",
            with("x", " a"),
            Malformed(1),
        ),
        case(
            "a value that ends with a tab",
            with("x", "a\t"),
            Malformed(1),
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let said = |length: &str| post(1, "/upload", &[("content-length", length)]);
    vec![
        case(
            "8.1/1 second HEADERS that do not end",
            [post(1, "/echo", &[]), post(1, "/echo", &[])].concat(),
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.2.6/1 less than one DATA frame says",
            [said("1"), data(END_STREAM, b"four")].concat(),
            Stream(1, PROTOCOL),
        ),
        case(
            "8.1.2.6/2 less than several say",
            [said("4"), data(0, b"four"), data(END_STREAM, b"four")].concat(),
            Stream(1, PROTOCOL),
        ),
        case(
            "more than there is",
            [said("9"), data(END_STREAM, b"four")].concat(),
            Stream(1, PROTOCOL),
        ),
        case(
            "a length and nothing",
            frame(
                HEADERS,
                DONE,
                1,
                request("POST", "/", &[("content-length", "4")]),
            ),
            Stream(1, PROTOCOL),
        ),
        case(
            "a length that is no number",
            [said("+4"), data(END_STREAM, b"four")].concat(),
            Malformed(1),
        ),
        case(
            "a list of lengths",
            [said("4, 4"), data(END_STREAM, b"four")].concat(),
            Malformed(1),
        ),
        case(
            "two lengths",
            [
                post(
                    1,
                    "/upload",
                    &[("content-length", "4"), ("content-length", "5")],
                ),
                data(END_STREAM, b"four"),
            ]
            .concat(),
            Malformed(1),
        ),
        case(
            "a length that holds",
            [said("4"), data(END_STREAM, b"four")].concat(),
            Answer(1, OK),
        ),
    ]
}
