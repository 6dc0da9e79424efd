//! Each type of frame where it does not belong, or of a form it may not have (section 6).

use super::Fate::{Acknowledged, Connection, Stream};
use super::{Case, FRAME_SIZE, PROTOCOL, STREAM_CLOSED, Step, case, hold, steps};
use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, frame, get, post, request, settings,
};

const DONE: u8 = END_STREAM | END_HEADERS;
/// CANCEL.
const CODE: [u8; 4] = [0, 0, 0, 8];

#[tokio::test]
async fn frames_of_a_wrong_form_are_errors() {
    let mut cases = data_and_headers();
    cases.extend(priority_and_reset());
    cases.extend(of_settings());
    cases.extend(of_the_connection());
    cases.extend(continuations());
    hold("6.1 to 6.8, 6.10", cases).await;
}

fn data_and_headers() -> Vec<Case> {
    let closed = vec![
        Step::Send(get(1, "/")),
        Step::Answered(1),
        Step::Send(frame(DATA, END_STREAM, 1, b"x")),
    ];
    let begun = || frame(HEADERS, END_STREAM, 1, request("GET", "/", &[]));
    let padded = [&[200][..], &request("GET", "/", &[])].concat();
    vec![
        case(
            "6.1/1 DATA on stream 0",
            frame(DATA, 0, 0, b"x"),
            Connection(PROTOCOL),
        ),
        steps(
            "6.1/2 DATA on a stream that is not open",
            closed,
            Stream(1, STREAM_CLOSED),
        ),
        case(
            "6.1/3 DATA of padding",
            [post(1, "/echo", &[]), frame(DATA, PADDED, 1, [9, 0])].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "padded DATA without a length",
            [post(1, "/echo", &[]), frame(DATA, PADDED, 1, [])].concat(),
            Connection(FRAME_SIZE),
        ),
        case(
            "6.2/1 PRIORITY behind HEADERS that go on",
            [begun(), frame(PRIORITY, 0, 1, [0; 5])].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.2/2 HEADERS of another stream behind them",
            [begun(), get(3, "/")].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.2/3 HEADERS on stream 0",
            get(0, "/"),
            Connection(PROTOCOL),
        ),
        case(
            "6.2/4 HEADERS of padding",
            frame(HEADERS, DONE | PADDED, 1, padded),
            Connection(PROTOCOL),
        ),
    ]
}

fn priority_and_reset() -> Vec<Case> {
    vec![
        case(
            "6.3/1 PRIORITY on stream 0",
            frame(PRIORITY, 0, 0, [0; 5]),
            Connection(PROTOCOL),
        ),
        case(
            "6.3/2 PRIORITY of 4 bytes",
            frame(PRIORITY, 0, 1, [0; 4]),
            Stream(1, FRAME_SIZE),
        ),
        case(
            "6.4/1 RST_STREAM on stream 0",
            frame(RST_STREAM, 0, 0, CODE),
            Connection(PROTOCOL),
        ),
        case(
            "6.4/2 RST_STREAM on an idle stream",
            frame(RST_STREAM, 0, 1, CODE),
            Connection(PROTOCOL),
        ),
        case(
            "6.4/3 RST_STREAM of 3 bytes",
            [get(1, "/slow/3000"), frame(RST_STREAM, 0, 1, [0; 3])].concat(),
            Connection(FRAME_SIZE),
        ),
        case(
            "8.4/1 PUSH_PROMISE of a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2, 0x82]),
            Connection(PROTOCOL),
        ),
    ]
}

fn of_settings() -> Vec<Case> {
    let twice = settings(&[(4, 100), (4, 1)]);
    vec![
        case(
            "6.5/1 an acknowledgement with a payload",
            frame(SETTINGS, ACK, 0, [0]),
            Connection(FRAME_SIZE),
        ),
        case(
            "6.5/2 SETTINGS on a stream",
            frame(SETTINGS, 0, 1, [0, 3, 0, 0, 0, 100]),
            Connection(PROTOCOL),
        ),
        case(
            "6.5/3 SETTINGS of 3 bytes",
            frame(SETTINGS, 0, 0, [0; 3]),
            Connection(FRAME_SIZE),
        ),
        case(
            "6.5.2/1 ENABLE_PUSH of 2",
            settings(&[(2, 2)]),
            Connection(PROTOCOL),
        ),
        case(
            "6.5.2/2 INITIAL_WINDOW_SIZE of 2^31",
            settings(&[(4, 1 << 31)]),
            Connection(super::FLOW_CONTROL),
        ),
        case(
            "6.5.2/3 MAX_FRAME_SIZE of 2^14 - 1",
            settings(&[(5, 16_383)]),
            Connection(PROTOCOL),
        ),
        case(
            "6.5.2/4 MAX_FRAME_SIZE of 2^24",
            settings(&[(5, 1 << 24)]),
            Connection(PROTOCOL),
        ),
        case(
            "6.5.2/5 an unknown setting",
            settings(&[(0xff, 1)]),
            Acknowledged(1),
        ),
        case(
            "ENABLE_CONNECT_PROTOCOL of 2",
            settings(&[(8, 2)]),
            Connection(PROTOCOL),
        ),
        case("6.5.3/1 a setting twice", twice, Acknowledged(1)),
        case(
            "6.5.3/2 SETTINGS twice",
            [settings(&[(1, 4096)]), settings(&[])].concat(),
            Acknowledged(2),
        ),
    ]
}

fn of_the_connection() -> Vec<Case> {
    vec![
        case("6.7/1 PING", frame(PING, 0, 0, [1; 8]), super::Fate::GoesOn),
        case(
            "6.7/2 an acknowledged PING",
            frame(PING, ACK, 0, *b"unasked!"),
            super::Fate::GoesOn,
        ),
        case(
            "6.7/3 PING on a stream",
            frame(PING, 0, 1, [0; 8]),
            Connection(PROTOCOL),
        ),
        case(
            "6.7/4 PING of 6 bytes",
            frame(PING, 0, 0, [0; 6]),
            Connection(FRAME_SIZE),
        ),
        case(
            "6.8/1 GOAWAY on a stream",
            frame(GOAWAY, 0, 1, [0; 8]),
            Connection(PROTOCOL),
        ),
        case(
            "GOAWAY of 4 bytes",
            frame(GOAWAY, 0, 0, [0; 4]),
            Connection(FRAME_SIZE),
        ),
        case(
            "6.9/3 WINDOW_UPDATE of 3 bytes",
            frame(8, 0, 0, [0; 3]),
            Connection(FRAME_SIZE),
        ),
    ]
}

fn continuations() -> Vec<Case> {
    let whole = || request("GET", "/", &[]);
    let begun = || frame(HEADERS, END_STREAM, 1, &whole()[..10]);
    let piece = |flags, stream, from: usize, to: usize| {
        frame(CONTINUATION, flags, stream, &whole()[from..to])
    };
    let end = whole().len();
    vec![
        case(
            "6.10/1 several CONTINUATIONs",
            [
                begun(),
                piece(0, 1, 10, 20),
                piece(0, 1, 20, 21),
                piece(END_HEADERS, 1, 21, end),
            ]
            .concat(),
            super::Fate::Answer(1, super::OK),
        ),
        case(
            "6.10/2 something else behind CONTINUATION",
            [begun(), piece(0, 1, 10, 20), frame(DATA, 0, 1, b"x")].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.10/3 CONTINUATION on stream 0",
            [begun(), piece(END_HEADERS, 0, 10, end)].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.10/4 CONTINUATION behind whole HEADERS",
            [get(1, "/slow/3000"), piece(END_HEADERS, 1, 10, end)].concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.10/5 CONTINUATION behind a whole block",
            [
                begun(),
                piece(END_HEADERS, 1, 10, end),
                piece(END_HEADERS, 1, 10, end),
            ]
            .concat(),
            Connection(PROTOCOL),
        ),
        case(
            "6.10/6 CONTINUATION behind DATA",
            [
                post(1, "/echo", &[]),
                frame(DATA, 0, 1, b"x"),
                piece(END_HEADERS, 1, 10, end),
            ]
            .concat(),
            Connection(PROTOCOL),
        ),
    ]
}
