//! Every MUST of RFC 9113 and RFC 7541 that a client can put to the test, in the order of h2spec.
//!
//! A case sends bytes, waits where it must, and says what has to come of it. A generic error code may stand in for a
//! specific one (RFC 9113, section 5.4), so PROTOCOL_ERROR is right wherever another code is asked for.

mod exchanges;
mod frame_types;
mod frames;
mod hpack;
mod messages;
mod streams;
mod windows;

use portcullis_bench::echo::Echo;

use crate::harness::frames::{
    ACK, Frame, Frames, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
};
use crate::harness::{Gateway, tell};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

/// `:status` of answers, as the gateway writes it.
const OK: u8 = 0x88;
const BAD_REQUEST: u8 = 0x8c;

/// Streams that may be open at once.
const STREAMS: u32 = 10;

/// A piece of what a case does.
enum Step {
    Send(Vec<u8>),
    /// Waits for the end of the answer on this stream.
    Answered(u32),
}

/// What has to come of it.
enum Fate {
    /// Nothing: the connection goes on.
    GoesOn,
    /// The answer on this stream begins with this byte, and ends.
    Answer(u32, u8),
    /// SETTINGS are acknowledged so many times.
    Acknowledged(usize),
    /// A connection error of this code.
    Connection(u32),
    /// A stream error of this code, or a connection error.
    Stream(u32, u32),
    /// The request is malformed: a stream error, or 400; nothing reaches the upstream.
    Malformed(u32),
}

struct Case {
    name: &'static str,
    settings: &'static [(u16, u32)],
    steps: Vec<Step>,
    fate: Fate,
}

/// A case that sends bytes at once.
fn case(name: &'static str, bytes: Vec<u8>, fate: Fate) -> Case {
    steps(name, vec![Step::Send(bytes)], fate)
}

fn steps(name: &'static str, steps: Vec<Step>, fate: Fate) -> Case {
    Case {
        name,
        settings: &[],
        steps,
        fate,
    }
}

impl Case {
    /// What is wrong with how it went; nothing where it went as it must.
    async fn run(&self, gateway: &Gateway, echo: &Echo) -> Option<String> {
        let before = echo.record().request_count();
        let mut client = Frames::open(gateway, self.settings).await;
        for step in &self.steps {
            match step {
                // What is refused half way may not be taken to its end.
                Step::Send(bytes) => drop(client.send(bytes).await),
                Step::Answered(stream) => {
                    let ends = |frame: &Frame| frame.stream == *stream && frame.ends_stream();
                    client.until("the answer", ends).await;
                }
            }
        }
        let judged = judge(&mut client, &self.fate).await;
        if let (None, Fate::Malformed(_)) = (&judged, &self.fate)
            && echo.record().request_count() != before
        {
            return Some("it reached the upstream".to_owned());
        }
        judged
    }
}

const MARK: [u8; 8] = *b"goes on?";

/// Reads until it is clear what came of a case.
async fn judge(client: &mut Frames, fate: &Fate) -> Option<String> {
    if let Fate::GoesOn = fate {
        let _ = client.send(frame(PING, 0, 0, MARK)).await; // Who is gone is seen below.
    }
    let mut seen = Vec::new();
    let mut acknowledged = 0;
    while let Some(frame) = client.next().await {
        let (wrong, right) = match (fate, frame.kind) {
            (Fate::Connection(code), GOAWAY) if fits(&frame, *code) => {
                let ends = client.ends().await;
                return (!ends).then(|| "GOAWAY, but the connection goes on".to_owned());
            }
            (Fate::Stream(_, code), GOAWAY) => (!fits(&frame, *code), true),
            (Fate::Stream(stream, code), RST_STREAM) if frame.stream == *stream => {
                (!fits(&frame, *code), true)
            }
            (Fate::Malformed(_), GOAWAY | RST_STREAM) => (!fits(&frame, PROTOCOL), true),
            (Fate::Malformed(stream), HEADERS) if frame.stream == *stream => {
                (frame.payload.first() != Some(&BAD_REQUEST), true)
            }
            (Fate::Answer(stream, status), HEADERS) if frame.stream == *stream => {
                let wrong = frame.payload.first() != Some(status);
                (wrong, frame.ends_stream())
            }
            (Fate::Answer(stream, _), _) => (
                matches!(frame.kind, GOAWAY | RST_STREAM),
                frame.stream == *stream && frame.ends_stream(),
            ),
            (Fate::GoesOn, PING) if frame.payload == MARK => (frame.flags != ACK, true),
            (Fate::Acknowledged(times), SETTINGS) => {
                acknowledged += usize::from(frame.flags & ACK != 0);
                (false, acknowledged == *times)
            }
            (Fate::GoesOn | Fate::Acknowledged(_), GOAWAY | RST_STREAM) => (true, true),
            _ => (false, false),
        };
        if right && !wrong {
            return None;
        }
        seen.push(frame);
        if wrong {
            return Some(format!("it got {seen:?}"));
        }
    }
    Some(format!("it ended with {seen:?}"))
}

fn fits(frame: &Frame, code: u32) -> bool {
    [code, PROTOCOL].contains(&frame.code())
}

/// Runs every case of a section.
async fn hold(section: &str, cases: Vec<Case>) {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .upstream(&echo)
        .allow("anyone")
        .extra_toml(&format!("[limits]\nh2_streams = {STREAMS}"))
        .spawn()
        .await;
    let mut wrong = Vec::new();
    for case in &cases {
        if let Some(how) = case.run(&gateway, &echo).await {
            wrong.push(format!("{}: {how}", case.name));
        }
    }
    let told = format!(
        "{section}: {} of {} cases",
        cases.len() - wrong.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{told}\n{}", wrong.join("\n"));
    tell(&told);
}

#[tokio::test]
async fn a_connection_begins_with_the_preface_or_not_at_all() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::open_to_all(&echo).await;
    let mut wrong = Frames::bare(&gateway).await;
    wrong
        .send(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    assert!(wrong.ends().await);
    // What follows the preface has to be SETTINGS.
    let mut other = Frames::bare(&gateway).await;
    let ping = frame(PING, 0, 0, [0; 8]);
    other.send([PREFACE, &ping].concat()).await.unwrap();
    assert!(other.ends().await);
    let mut right = Frames::bare(&gateway).await;
    assert!(right.begin(&[]).await.payload.len().is_multiple_of(6));
}
