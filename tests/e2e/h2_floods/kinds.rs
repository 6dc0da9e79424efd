//! The floods: what each begins with, and what it repeats.

use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, SETTINGS, frame,
    get, post, request, reset, settings, window_update,
};

/// What the client does with what comes back.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    Everything,
    Nothing,
}

#[derive(Clone)]
pub(super) struct Flood {
    pub(super) name: &'static str,
    pub(super) begin: fn() -> Vec<u8>,
    /// The frames of one repetition, by its number.
    pub(super) next: fn(u32) -> Vec<u8>,
    pub(super) frames_each: usize,
    pub(super) reads: Reads,
    pub(super) reason: &'static str,
}

fn flood(name: &'static str, next: fn(u32) -> Vec<u8>) -> Flood {
    Flood {
        name,
        begin: Vec::new,
        next,
        frames_each: 1,
        reads: Reads::Everything,
        reason: "HTTP2_FLOOD",
    }
}

/// h2 ends the connection with the first of them.
fn broken(flood: Flood) -> Flood {
    Flood {
        reason: "HTTP2_PROTOCOL",
        ..flood
    }
}

/// A flood of two frames a time, a request and what makes it useless.
fn pairs(name: &'static str, next: fn(u32) -> Vec<u8>) -> Flood {
    Flood {
        frames_each: 2,
        ..flood(name, next)
    }
}

fn ask(number: u32) -> Vec<u8> {
    get(stream(number), "/slow/1000")
}

fn stream(number: u32) -> u32 {
    1 + 2 * number
}

pub(super) fn all() -> Vec<Flood> {
    let mut all = resets();
    all.extend(blocks());
    all.extend(control());
    all.extend(unread());
    all
}

fn resets() -> Vec<Flood> {
    vec![
        pairs("rapid reset", |number| {
            [ask(number), reset(stream(number), 8)].concat()
        }),
        broken(pairs("MadeYouReset: a window of nothing", |number| {
            [ask(number), window_update(stream(number), 0)].concat()
        })),
        pairs("MadeYouReset: a window too large", |number| {
            let most = window_update(stream(number), (1 << 31) - 1);
            [ask(number), most].concat()
        }),
        pairs("MadeYouReset: PRIORITY on itself", |number| {
            let on_itself = [&stream(number).to_be_bytes()[..], &[9]].concat();
            [ask(number), frame(PRIORITY, 0, stream(number), on_itself)].concat()
        }),
        broken(pairs(
            "MadeYouReset: DATA on a half-closed stream",
            |number| [ask(number), frame(DATA, 0, stream(number), b"x")].concat(),
        )),
        pairs("MadeYouReset: a length that is not kept", |number| {
            let head = post(stream(number), "/upload", &[("content-length", "1")]);
            [head, frame(DATA, END_STREAM, stream(number), b"four")].concat()
        }),
        flood("more streams than allowed", ask),
    ]
}

fn blocks() -> Vec<Flood> {
    let begun = || frame(HEADERS, END_STREAM, 1, request("GET", "/", &[]));
    vec![
        Flood {
            begin: begun,
            ..flood("CONTINUATION", |_| {
                frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b")
            })
        },
        Flood {
            begin: begun,
            ..flood("empty CONTINUATION", |_| frame(CONTINUATION, 0, 1, []))
        },
        Flood {
            // An entry of nearly 4 KiB, and then a byte for each time it is meant.
            begin: || {
                let large = [
                    &b"\x82\x87\x84\x01\x09localhost\x40\x01a\x7f\xb1\x1d"[..],
                    &[b'x'; 3888],
                ]
                .concat();
                frame(HEADERS, END_STREAM | END_HEADERS, 1, large)
            },
            ..flood("HPACK bomb", |number| {
                let bomb = [&b"\x82\x87\x84\x01\x09localhost"[..], &[0xbe; 16_000]].concat();
                frame(HEADERS, END_STREAM | END_HEADERS, stream(number + 1), bomb)
            })
        },
    ]
}

fn control() -> Vec<Flood> {
    vec![
        flood("SETTINGS", |_| settings(&[])),
        flood("SETTINGS of the header table", |number| {
            settings(&[(1, number % 4096)])
        }),
        flood("acknowledged SETTINGS and PING", |number| {
            match number % 2 {
                0 => settings(&[(3, 100)]),
                _ => frame(PING, ACK, 0, [0; 8]),
            }
        }),
        flood("PING", |_| frame(PING, 0, 0, [0; 8])),
        flood("PRIORITY", |number| {
            frame(PRIORITY, 0, stream(number), [0, 0, 0, 0, 9])
        }),
        Flood {
            begin: || post(1, "/upload", &[]),
            ..flood("empty DATA", |_| frame(DATA, 0, 1, []))
        },
        flood("WINDOW_UPDATE of the connection", |_| window_update(0, 1)),
        Flood {
            begin: || get(1, "/slow/60000"),
            ..flood("WINDOW_UPDATE of a stream", |_| window_update(1, 1))
        },
        flood("unknown frames", |_| frame(0x42, 0, 0, b"what")),
    ]
}

fn unread() -> Vec<Flood> {
    vec![
        Flood {
            reads: Reads::Nothing,
            ..flood("PING, nothing read", |_| frame(PING, 0, 0, [0; 8]))
        },
        Flood {
            reads: Reads::Nothing,
            ..flood("SETTINGS, nothing read", |_| frame(SETTINGS, 0, 0, []))
        },
        Flood {
            begin: || [settings(&[(4, (1 << 31) - 1)]), window_update(0, 1 << 30)].concat(),
            reads: Reads::Nothing,
            reason: "ANSWER_UNREAD",
            ..flood("answers, nothing read", |number| match number {
                // Others would be too many streams.
                0..100 => get(stream(number), "/bytes/10000000"),
                _ => Vec::new(),
            })
        },
    ]
}
