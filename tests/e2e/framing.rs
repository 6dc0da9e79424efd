//! HTTP/1 requests that two hops have read in two ways: each is refused, or reaches the upstream in exactly one reading.
//!
//! Every case says what the client is told, which bytes reach the upstream, and whether the connection goes on: a probe
//! is pipelined behind it, and must be served, or must not be read at all. The tables are in the files below.

mod bodies;
mod chunks;
mod connections;
mod fields;
mod lengths;
mod recorder;
mod start_lines;

use self::recorder::Recorder;
use crate::harness::{Client, Gateway, RawTls, status_of, tell, until};

/// What follows each request on its connection.
const PROBE: &str = "GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// What the upstream gets of it.
const PROBED: &str = "GET /probe HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\n\r\n";
/// What the upstream gets of a plain GET.
const PLAIN: &str = "GET / HTTP/1.1\r\nhost: localhost\r\nvia: 1.1 portcullis\r\n\r\n";
const CASES: usize = 183;

/// What becomes of a request.
enum Fate {
    /// Answered with this status, the connection is closed, nothing reaches the upstream.
    Refused(u16),
    /// Answered with this status, nothing reaches the upstream; its framing is clear, so the connection goes on.
    Declined(u16),
    /// These bytes reach the upstream, and the connection goes on.
    Sent(&'static str),
    /// The same for two requests, which are answered both.
    SentBoth(&'static str),
    /// These bytes reach the upstream, and the connection is closed with the answer.
    SentLast(&'static str),
    /// It became clear too late: the upstream has got these bytes and the end of its connection, the client this status
    /// and the end of its own.
    Cut(u16, &'static str),
}

struct Case {
    name: &'static str,
    request: String,
    fate: Fate,
}

fn case(name: &'static str, request: impl Into<String>, fate: Fate) -> Case {
    Case {
        name,
        request: request.into(),
        fate,
    }
}

impl Case {
    /// Everything that is wrong with how it went; nothing where it went as it must.
    async fn run(&self, gateway: &Gateway, recorder: &Recorder) -> Option<String> {
        let client = Client::new().tls13();
        let mut client = RawTls::connect(&client, gateway.address()).await.unwrap();
        let answer = client.exchange(format!("{}{PROBE}", self.request)).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(refused) => return Some(format!("no answer: {}", refused.error)),
        };
        let (status, sent, answers) = match self.fate {
            Fate::Refused(status) => (status, "", 1),
            Fate::Declined(status) => (status, "", 2),
            Fate::Sent(bytes) => (200, bytes, 2),
            Fate::SentBoth(bytes) => (200, bytes, 3),
            Fate::SentLast(bytes) => (200, bytes, 1),
            Fate::Cut(status, bytes) => {
                until("the end of the upstream's connection", async || {
                    recorder.has_lost_one().then_some(())
                })
                .await;
                (status, bytes, 1)
            }
        };
        let expected = match answers {
            1 => sent.to_owned(),
            _ => sent.to_owned() + PROBED,
        };
        let got = recorder.take();
        let right = status_of(&answer) == Some(status)
            && answer.matches("HTTP/1.1 ").count() == answers
            && got == expected;
        (!right)
            .then(|| format!("{answer:?}\n  upstream {got:?}\n  expected {status} {expected:?}"))
    }
}

#[tokio::test]
async fn every_request_is_refused_or_has_exactly_one_reading() {
    let recorder = Recorder::start().await;
    let gateway = Gateway::builder()
        .upstream_at("echo", &recorder.url(), "")
        .rule("roles = ['anyone']\naction = 'deny'\nname = 'shut'\npaths = ['/denied']")
        .allow("anyone")
        .extra_toml("[forwarding]\nx_forwarded = false\nforwarded = false")
        .extra_toml("[limits]\nheader_bytes = '8KiB'\nheaders = 40\ntarget = '1KiB'\nbody = '64B'")
        .spawn()
        .await;
    let tables = [
        fields::cases(),
        lengths::cases(),
        start_lines::cases(),
        chunks::cases(),
        bodies::cases(),
        connections::cases(),
    ];
    let mut wrong = Vec::new();
    let mut total = 0;
    for case in tables.iter().flatten() {
        total += 1;
        if let Some(how) = case.run(&gateway, &recorder).await {
            wrong.push(format!("{}: {how}", case.name));
        }
    }
    let told = format!("framing: {} of {total} cases", total - wrong.len());
    assert!(wrong.is_empty(), "{told}\n{}", wrong.join("\n"));
    assert_eq!(total, CASES);
    tell(&told);
}
