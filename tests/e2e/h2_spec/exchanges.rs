//! What every client does (h2spec `generic`): exchanges, and frames of each type where they belong.

use super::Fate::{Acknowledged, Answer, Connection, GoesOn};
use super::{Case, OK, PROTOCOL, Step, case, hold, steps};
use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    SETTINGS, WITH_PRIORITY, frame, get, post, request, reset, settings, window_update,
};

const WEIGHT: u8 = 255;

fn priority(stream: u32, on: u32, weight: u8) -> Vec<u8> {
    let payload = [&on.to_be_bytes()[..], &[weight]].concat();
    frame(PRIORITY, 0, stream, payload)
}

fn head(flags: u8, payload: Vec<u8>) -> Vec<u8> {
    frame(HEADERS, flags, 1, payload)
}

fn in_progress(then: Vec<u8>) -> Vec<u8> {
    [get(1, "/slow/100"), then].concat()
}

#[tokio::test]
async fn frames_where_they_belong_are_taken() {
    let mut cases = states();
    cases.extend(bodies());
    cases.extend(others());
    hold("generic", cases).await;
}

fn states() -> Vec<Case> {
    vec![
        case("1/1 preface", Vec::new(), GoesOn),
        case(
            "2/1 PRIORITY on an idle stream",
            priority(1, 0, WEIGHT),
            GoesOn,
        ),
        case(
            "2/2 WINDOW_UPDATE on a half-closed stream",
            in_progress(window_update(1, 100)),
            Answer(1, OK),
        ),
        case(
            "2/3 PRIORITY on a half-closed stream",
            in_progress(priority(1, 0, WEIGHT)),
            Answer(1, OK),
        ),
        case(
            "2/4 RST_STREAM on a half-closed stream",
            in_progress(reset(1, 8)),
            GoesOn,
        ),
        steps(
            "2/5 PRIORITY on a closed stream",
            vec![
                Step::Send(get(1, "/")),
                Step::Answered(1),
                Step::Send(priority(1, 0, WEIGHT)),
            ],
            GoesOn,
        ),
        case(
            "3.3/1 PRIORITY, weight 1",
            [priority(1, 0, 0), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.3/2 PRIORITY, weight 256",
            [priority(1, 0, 255), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.3/3 a dependency",
            [priority(3, 1, 15), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.3/4 an exclusive dependency",
            [priority(3, 1 | 1 << 31, 15), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.3/5 PRIORITY on a higher stream",
            [priority(5, 0, 15), get(3, "/")].concat(),
            Answer(3, OK),
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let post = || post(1, "/echo", &[]);
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let request = || request("GET", "/", &[]);
    let padded = [&[5][..], &request(), &[0; 5]].concat();
    let prioritised = [&[0, 0, 0, 0, WEIGHT][..], &request()].concat();
    let both = [&[3, 0, 0, 0, 0, WEIGHT][..], &request(), &[0; 3]].concat();
    let all = END_HEADERS | END_STREAM;
    let half = request().split_off(20);
    let (first, rest) = (request()[..20].to_vec(), half);
    let (second, third) = (rest[..10].to_vec(), rest[10..].to_vec());
    vec![
        case(
            "3.1/1 a DATA frame",
            [post(), data(END_STREAM, b"x")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.1/2 several DATA frames",
            [post(), data(0, b"x"), data(0, b""), data(END_STREAM, b"")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.1/3 a padded DATA frame",
            [post(), data(END_STREAM | PADDED, b"\x03x\0\0\0")].concat(),
            Answer(1, OK),
        ),
        case("3.2/1 a HEADERS frame", head(all, request()), Answer(1, OK)),
        case(
            "3.2/2 a padded HEADERS frame",
            head(all | PADDED, padded),
            Answer(1, OK),
        ),
        case(
            "3.2/3 a HEADERS frame with priority",
            head(all | WITH_PRIORITY, prioritised),
            Answer(1, OK),
        ),
        case(
            "padding and priority",
            head(all | PADDED | WITH_PRIORITY, both),
            Answer(1, OK),
        ),
        case(
            "3.10/1 a CONTINUATION",
            [
                head(END_STREAM, first.clone()),
                frame(CONTINUATION, END_HEADERS, 1, &rest),
            ]
            .concat(),
            Answer(1, OK),
        ),
        case(
            "3.10/2 several",
            [
                head(END_STREAM, first),
                frame(CONTINUATION, 0, 1, second),
                frame(CONTINUATION, END_HEADERS, 1, third),
            ]
            .concat(),
            Answer(1, OK),
        ),
    ]
}

fn others() -> Vec<Case> {
    let message = |method: &str, more: Vec<u8>| {
        let flags = if more.is_empty() {
            END_STREAM | END_HEADERS
        } else {
            END_HEADERS
        };
        [head(flags, request(method, "/", &[])), more].concat()
    };
    let body = || frame(DATA, END_STREAM, 1, b"body");
    let trailers = crate::harness::frames::block(&[("x-trailer", "end")]);
    let with_trailers = [
        frame(DATA, 0, 1, b"body"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers),
    ]
    .concat();
    vec![
        case(
            "3.4/1 RST_STREAM",
            [post(1, "/slow/50", &[]), reset(1, 8)].concat(),
            GoesOn,
        ),
        case("3.5/1 SETTINGS", settings(&[(3, 100)]), Acknowledged(1)),
        case("SETTINGS without any", settings(&[]), Acknowledged(1)),
        case("3.7/1 PING", frame(PING, 0, 0, [7; 8]), GoesOn),
        case(
            "3.8/1 GOAWAY",
            [get(1, "/slow/50"), frame(GOAWAY, 0, 0, [0; 8])].concat(),
            Answer(1, OK),
        ),
        case(
            "3.9/1 WINDOW_UPDATE of the connection",
            [window_update(0, 1), get(1, "/")].concat(),
            Answer(1, OK),
        ),
        case(
            "3.9/2 WINDOW_UPDATE of a stream",
            [get(1, "/slow/50"), window_update(1, 1)].concat(),
            Answer(1, OK),
        ),
        case("4/1 GET", message("GET", Vec::new()), Answer(1, OK)),
        case("4/2 HEAD", message("HEAD", Vec::new()), Answer(1, OK)),
        case("4/3 POST", message("POST", body()), Answer(1, OK)),
        case(
            "4/4 POST with trailers",
            message("POST", with_trailers),
            Answer(1, OK),
        ),
        case(
            "a second acknowledgement",
            frame(SETTINGS, ACK, 0, []),
            Connection(PROTOCOL),
        ),
    ]
}
