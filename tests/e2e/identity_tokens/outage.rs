//! Identities signed by a token that is counted, slow, refuses or hangs.

use std::time::{Duration, Instant};

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use portcullis_bench::echo::Echo;
use serde_json::Value;

use super::{HEADER, orders, token_of, with_upstreams};
use crate::harness::{Client, KeyKind, Token, until, within};
use crate::hsm_faults::{Faults, behind};
use crate::identity_spoofing::{Http2, http2};

#[tokio::test]
async fn one_signature_serves_many_requests_of_a_connection_to_an_upstream() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let token = Token::shared();
    let jwt = format!("key = '{}'", token.key_uri(KeyKind::P256));
    // A check of an idle token signs too.
    let gateway = behind(&faults).hsm("sessions = 2\nidle_check = 'off'");
    let gateway = with_upstreams(gateway, &echo, &jwt).spawn().await;
    let mut connection = orders().h2().connect(gateway.address()).await.unwrap();
    let signed = || faults.count("C_SignInit ");
    let before = signed();
    let mut tokens = Vec::new();
    for _ in 0..20 {
        tokens.push(token_of(&connection.get("/").await.unwrap()));
    }
    let other = token_of(&connection.get("/h2").await.unwrap());
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_ne!(tokens[0], other);
    assert_eq!(signed() - before, 2, "one for each upstream");
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_and_the_rest_goes_on() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let jwt = format!("key = '{}'", Token::shared().key_uri(KeyKind::P256));
    let gateway = behind(&faults).hsm("sessions = 2\ndeadline = '500ms'\nidle_check = 'off'");
    let gateway = with_upstreams(gateway, &echo, &jwt).spawn().await;
    let mut known = orders().connect(gateway.address()).await.unwrap();
    let mut hangs = orders().connect(gateway.address()).await.unwrap();
    let mut stranger = Client::new().connect(gateway.address()).await.unwrap();
    faults.set("error_every = 1\n");
    let refused = known.get("/").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.body.len()), (503, 0));
    let line = gateway.refusal_of(refused.port).await;
    assert_eq!(line["reason"], "IDENTITY_NOT_SIGNED");
    let access = gateway
        .wait_for_access(|line| line["client.port"] == refused.port)
        .await;
    assert_eq!(access["reason"], "IDENTITY_NOT_SIGNED");
    // Those about whom nothing is signed, and upstreams that want nothing signed, notice nothing.
    assert_eq!(known.get("/plain").await.unwrap().status, 200);
    assert_eq!(stranger.get("/").await.unwrap().status, 200);
    faults.set("");
    until("the token signs again", async || {
        (known.get("/").await.unwrap().status == 200).then_some(())
    })
    .await;
    // A token that hangs is waited for until its deadline, and by nobody else on this thread.
    faults.set("hang_every = 1\nhang_ms = 2000\n");
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { hangs.get("/").await.unwrap() });
    let mut asked = 0;
    while !waiting.is_finished() && asked < 1000 {
        let one = Instant::now();
        assert_eq!(stranger.get("/plain").await.unwrap().status, 200);
        assert!(
            one.elapsed() < Duration::from_millis(400),
            "{:?}",
            one.elapsed()
        );
        asked += 1;
    }
    let refused = waiting.await.unwrap();
    assert_eq!(refused.status, 503);
    assert!(
        asked > 3 && begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

/// Sends so many requests at once over one connection; how each was answered.
async fn at_once(sender: &mut Http2, count: usize) -> Vec<(u16, Vec<u8>)> {
    let answers = (0..count).map(|_| {
        let request = Request::builder().uri("https://localhost/");
        let request = request.body(Empty::new().boxed()).unwrap();
        tokio::spawn(sender.send_request(request))
    });
    let answers: Vec<_> = answers.collect();
    let mut told = Vec::new();
    for answer in answers {
        let answer = within("an answer", answer).await.unwrap().unwrap();
        let status = answer.status().as_u16();
        let body = within("a body", answer.into_body().collect()).await;
        told.push((status, body.unwrap().to_bytes().to_vec()));
    }
    told
}

#[tokio::test]
async fn requests_that_come_together_wait_for_one_signature_and_share_its_failure() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let jwt = format!("key = '{}'", Token::shared().key_uri(KeyKind::P256));
    let gateway = behind(&faults).hsm("sessions = 2\ndeadline = '700ms'\nidle_check = 'off'");
    let gateway = with_upstreams(gateway, &echo, &jwt).spawn().await;
    let mut sender = http2(&orders(), &gateway).await;
    faults.set("delay_us = 100000\n");
    let before = faults.count("C_SignInit ");
    let answers = at_once(&mut sender, 20).await;
    let mut tokens: Vec<String> = answers
        .iter()
        .map(|(status, body)| {
            assert_eq!(*status, 200);
            let seen: Value = serde_json::from_slice(body).unwrap();
            let mut fields = seen["headers"].as_array().unwrap().iter();
            let field = fields.find(|field| field[0] == HEADER).unwrap();
            field[1].as_str().unwrap().to_owned()
        })
        .collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(faults.count("C_SignInit ") - before, 1);
    faults.set("");
    let mut sender = http2(&orders(), &gateway).await;
    faults.set("hang_every = 1\nhang_ms = 1500\n");
    let begun = Instant::now();
    let answers = at_once(&mut sender, 20).await;
    // One deadline for all of them, not one after another.
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        answers.iter().all(|(status, _)| *status == 503),
        "{answers:?}"
    );
}

#[tokio::test]
async fn an_outage_is_bridged_by_the_token_that_is_still_valid() {
    let echo = Echo::start().await.unwrap();
    let faults = Faults::new("");
    let uri = Token::shared().key_uri(KeyKind::P256);
    let jwt = format!("key = '{uri}'\nlifetime = '8s'");
    let gateway = behind(&faults).hsm("sessions = 2\ndeadline = '500ms'\nidle_check = 'off'");
    let gateway = with_upstreams(gateway, &echo, &jwt).spawn().await;
    let mut connection = orders().connect(gateway.address()).await.unwrap();
    let begun = Instant::now();
    let first = token_of(&connection.get("/").await.unwrap());
    faults.set("error_every = 1\n");
    let lasted = until("the end of the bridge", async || {
        let answer = connection.get("/").await.unwrap();
        if answer.status == 200 {
            assert_eq!(token_of(&answer), first);
            return None;
        }
        assert_eq!(answer.status, 503);
        Some(begun.elapsed())
    })
    .await;
    // Three quarters of eight seconds, which are counted whole.
    let expected = Duration::from_secs(5)..Duration::from_secs(8);
    assert!(expected.contains(&lasted), "{lasted:?}");
}
