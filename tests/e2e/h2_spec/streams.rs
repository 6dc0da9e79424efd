//! States of streams, their identifiers and their number (section 5).

use super::Fate::{Connection, Stream};
use super::{Case, PROTOCOL, REFUSED, STREAM_CLOSED, STREAMS, Step, case, hold, steps};
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, WITH_PRIORITY, frame,
    get, request, reset, window_update,
};

const DONE: u8 = END_STREAM | END_HEADERS;

#[tokio::test]
async fn frames_in_the_wrong_state_are_errors() {
    let mut cases = idle_and_half_closed();
    cases.extend(closed());
    cases.extend(identifiers());
    hold("5.1 to 5.4", cases).await;
}

fn data(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, b"x")
}

fn more(stream: u32) -> Vec<u8> {
    frame(CONTINUATION, END_HEADERS, stream, [0x82])
}

fn idle_and_half_closed() -> Vec<Case> {
    let waiting = |then: Vec<u8>| [get(1, "/slow/3000"), then].concat();
    vec![
        case("5.1/1 idle: DATA", data(1), Connection(PROTOCOL)),
        case("5.1/2 idle: RST_STREAM", reset(1, 8), Connection(PROTOCOL)),
        case(
            "5.1/3 idle: WINDOW_UPDATE",
            window_update(1, 100),
            Connection(PROTOCOL),
        ),
        case("5.1/4 idle: CONTINUATION", more(1), Connection(PROTOCOL)),
        case(
            "5.1/5 half closed: DATA",
            waiting(data(1)),
            Stream(1, STREAM_CLOSED),
        ),
        case(
            "5.1/6 half closed: HEADERS",
            waiting(get(1, "/")),
            Stream(1, STREAM_CLOSED),
        ),
        case(
            "5.1/7 half closed: CONTINUATION",
            waiting(more(1)),
            Connection(PROTOCOL),
        ),
    ]
}

fn closed() -> Vec<Case> {
    let was_reset = |name, then: Vec<u8>, fate| {
        let sent = [get(1, "/slow/3000"), reset(1, 8), then].concat();
        case(name, sent, fate)
    };
    let was_answered = |name, then: Vec<u8>, fate| {
        let sent = vec![Step::Send(get(1, "/")), Step::Answered(1), Step::Send(then)];
        steps(name, sent, fate)
    };
    vec![
        was_reset("5.1/8 reset: DATA", data(1), Stream(1, STREAM_CLOSED)),
        was_reset(
            "5.1/9 reset: HEADERS",
            get(1, "/"),
            Stream(1, STREAM_CLOSED),
        ),
        was_reset("5.1/10 reset: CONTINUATION", more(1), Connection(PROTOCOL)),
        was_answered("5.1/11 closed: DATA", data(1), Stream(1, STREAM_CLOSED)),
        was_answered(
            "5.1/12 closed: HEADERS",
            get(1, "/"),
            Connection(STREAM_CLOSED),
        ),
        was_answered("5.1/13 closed: CONTINUATION", more(1), Connection(PROTOCOL)),
    ]
}

fn identifiers() -> Vec<Case> {
    let many: Vec<u8> = (0..=STREAMS)
        .flat_map(|index| get(1 + 2 * index, "/slow/3000"))
        .collect();
    let on_itself = [&[0, 0, 0, 1, 9][..], &request("GET", "/", &[])].concat();
    vec![
        case("5.1.1/1 an even stream", get(2, "/"), Connection(PROTOCOL)),
        case(
            "5.1.1/2 a lower stream",
            [get(5, "/slow/3000"), get(3, "/")].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "5.1.2/1 more streams than allowed",
            many,
            Stream(1 + 2 * STREAMS, REFUSED),
        ),
        case(
            "5.3.1/1 HEADERS that depend on themselves",
            frame(HEADERS, DONE | WITH_PRIORITY, 1, on_itself),
            Stream(1, PROTOCOL),
        ),
        case(
            "5.3.1/2 PRIORITY that depends on itself",
            frame(PRIORITY, 0, 1, [0, 0, 0, 1, 9]),
            Stream(1, PROTOCOL),
        ),
        // GOAWAY and the end of the connection are looked for wherever there is a connection error.
        case(
            "5.4.1 a connection error",
            frame(PING, 0, 1, [0; 8]),
            Connection(PROTOCOL),
        ),
    ]
}
