//! The signed form of an identity: verified with the published key, cached, and refused rather than left out.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use portcullis_bench::echo::Echo;
use portcullis_bench::pki;
use serde_json::{Value, json};

use crate::harness::{
    Client, Gateway, GatewayBuilder, KeyKind, Response, Site, Token, client_ca, client_leaf, until,
    within,
};
use crate::hsm_faults::{Faults, behind};
use crate::identity_spoofing::{Http2, http2};

const HEADER: &str = "x-client-identity";

/// Requests under `/plain` are told nothing signed, all others are.
fn with_upstreams(builder: GatewayBuilder, echo: &Echo, jwt: &str) -> GatewayBuilder {
    builder
        .client_cert("accept", client_ca())
        .site(
            Site::new("localhost")
                .route("/", "signed")
                .route("/plain", "plain")
                .route("/h2", "h2"),
        )
        .upstream_at("signed", &echo.url(), "identity = ['jwt']")
        .upstream_at("h2", &echo.url(), "identity = ['jwt']\nprotocol = 'h2'")
        .upstream_at("plain", &echo.url(), "")
        .allow("anyone")
        .extra_toml(&format!("[forwarding.jwt]\n{jwt}"))
}

fn software(echo: &Echo, more: &str) -> GatewayBuilder {
    let jwt = format!("key = 'file:p256.key'\n{more}");
    with_upstreams(Gateway::builder(), echo, &jwt)
}

fn orders() -> Client {
    Client::new().certificate(&client_leaf("orders"))
}

fn decoded(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

async fn jwks(gateway: &Gateway) -> Value {
    let (status, body) = gateway.probe("/jwks.json").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

/// The claims of a token whose signature is that of a published key.
fn verified(token: &str, jwks: &Value) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let parsed = |part: &str| -> Value { serde_json::from_slice(&decoded(&json!(part))).unwrap() };
    let header = parsed(header);
    let [key] = &jwks["keys"].as_array().unwrap()[..] else {
        panic!("{jwks}");
    };
    assert_eq!((&header["kid"], &header["alg"]), (&key["kid"], &key["alg"]));
    let (signed, signature) = (signed.as_bytes(), decoded(&json!(signature)));
    let point = || [&[4][..], &decoded(&key["x"]), &decoded(&key["y"])].concat();
    let outcome = match key["alg"].as_str().unwrap() {
        "ES256" => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point())
            .verify(signed, &signature),
        "ES384" => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point())
            .verify(signed, &signature),
        "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, decoded(&key["x"]))
            .verify(signed, &signature),
        "PS256" => RsaPublicKeyComponents {
            n: decoded(&key["n"]),
            e: decoded(&key["e"]),
        }
        .verify(&signature::RSA_PSS_2048_8192_SHA256, signed, &signature),
        other => panic!("{other}"),
    };
    outcome.unwrap();
    parsed(claims)
}

fn token_of(answer: &Response) -> String {
    let mut seen = answer.upstream_saw(HEADER);
    assert_eq!(seen.len(), 1, "{answer:?}");
    seen.remove(0)
}

#[tokio::test]
async fn a_token_tells_who_the_client_is_for_whom_and_until_when() {
    let echo = Echo::start().await.unwrap();
    let gateway = software(&echo, "").spawn().await;
    let keys = jwks(&gateway).await;
    let key = &keys["keys"][0];
    let members = [
        ("kty", "EC"),
        ("crv", "P-256"),
        ("use", "sig"),
        ("alg", "ES256"),
    ];
    assert!(
        members.iter().all(|(name, value)| key[name] == *value),
        "{key}"
    );
    assert_eq!(
        key.as_object().unwrap().len(),
        7,
        "nothing but the public key: {key}"
    );
    let leaf = client_leaf("orders");
    let der = leaf.chain_der().unwrap().remove(0);
    let thumbprint = digest::digest(&digest::SHA256, &der);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let now = i64::try_from(now).unwrap();
    let client = Client::new().certificate(&leaf);
    for (client, path, audience) in [
        (client.clone(), "/", "signed"),
        (client.clone().h2(), "/h2", "h2"),
        (client.tls12(), "/", "signed"),
    ] {
        let answer = client.get(&gateway, path).await.unwrap();
        let claims = verified(&token_of(&answer), &keys);
        let expected = json!({
            "iss": "portcullis", "aud": audience, "sub": "spiffe://test.portcullis/orders",
            "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) },
            "spiffe": "spiffe://test.portcullis/orders",
            "uri": ["spiffe://test.portcullis/orders"], "dns": ["orders.clients.test"],
            "subject": "CN=orders", "site": "localhost", "verified": true,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(claims[name], *value, "{name}");
        }
        let issued = claims["iat"].as_i64().unwrap();
        assert!((now..now + 20).contains(&issued), "{claims}");
        assert_eq!(claims["nbf"], issued);
        assert_eq!(claims["exp"], issued + 60);
        assert!(!claims["serial"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn nobody_is_told_about_in_a_token_who_proved_nothing_or_to_whom_it_is_not_for() {
    let echo = Echo::start().await.unwrap();
    let gateway = software(&echo, "header = 'x-who'").spawn().await;
    let forged = "x-who: forged\r\nX_Who: forged\r\n";
    let answer = Client::new().get(&gateway, "/").await.unwrap();
    assert!(answer.upstream_saw("x-who").is_empty());
    let answer = orders().get(&gateway, "/plain").await.unwrap();
    assert!(answer.upstream_saw("x-who").is_empty());
    assert_eq!(answer.upstream_saw("x-forwarded-client-cert").len(), 1);
    let answer = orders().get(&gateway, "/").await.unwrap();
    assert_eq!(answer.upstream_saw("x-who").len(), 1);
    assert!(answer.upstream_saw("x-forwarded-client-cert").is_empty());
    // The header has no other name here, and upstreams that want none get no forged one either.
    for path in ["/", "/plain"] {
        let mut raw = crate::harness::RawTls::connect(&Client::new(), gateway.address())
            .await
            .unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{forged}\r\n");
        let answer = raw.exchange(head).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && !answer.contains("forged"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_ends_soon_ends_the_token_too() {
    let echo = Echo::start().await.unwrap();
    let gateway = software(
        &echo,
        "lifetime = '1h'\naudience = 'everybody'\nissuer = 'edge'",
    );
    let gateway = gateway.spawn().await;
    let client = pki::Client::new("brief").validity(pki::Validity::For(Duration::from_secs(300)));
    let leaf = client.issued_by(client_ca()).unwrap();
    let answer = Client::new()
        .certificate(&leaf)
        .get(&gateway, "/")
        .await
        .unwrap();
    let claims = verified(&token_of(&answer), &jwks(&gateway).await);
    let lasts = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((1..=300).contains(&lasts), "{claims}");
    assert_eq!(
        (&claims["aud"], &claims["iss"]),
        (&json!("everybody"), &json!("edge"))
    );
    assert_eq!(claims["sub"], "CN=brief");
    assert!(claims.get("spiffe").is_none());
}

#[tokio::test]
async fn keys_of_every_kind_sign_in_the_token() {
    let echo = Echo::start().await.unwrap();
    let token = Token::shared();
    let uri = |kind| format!("key = '{}'", token.key_uri(kind));
    let first = uri(KeyKind::P256);
    let gateway = with_upstreams(Gateway::builder().token(token), &echo, &first);
    let gateway = gateway.spawn().await;
    // Standing all the while: after a reload the next request has the new key's token.
    let mut standing = orders().connect(gateway.address()).await.unwrap();
    let mut names = Vec::new();
    let mut now = first;
    for kind in KeyKind::ALL {
        let next = uri(kind);
        gateway.rewrite_config(|text| {
            let (before, after) = text.split_once("[forwarding.jwt]\n").unwrap();
            format!(
                "{before}[forwarding.jwt]\n{}",
                after.replacen(&now, &next, 1)
            )
        });
        gateway.reload().await.unwrap();
        let keys = jwks(&gateway).await;
        let claims = verified(&token_of(&standing.get("/").await.unwrap()), &keys);
        assert_eq!(claims["sub"], "spiffe://test.portcullis/orders");
        names.push(keys["keys"][0]["kid"].clone());
        now = next;
    }
    names.sort_by_key(Value::to_string);
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[tokio::test]
async fn a_key_that_is_not_there_is_refused_where_it_was_written() {
    let echo = Echo::start().await.unwrap();
    let token = Token::shared();
    let jwt = format!("key = '{}'", token.key_uri(KeyKind::P256));
    let gateway = with_upstreams(Gateway::builder().token(token), &echo, &jwt);
    let gateway = gateway.spawn().await;
    gateway.rewrite_config(|text| {
        let (before, after) = text.split_once("[forwarding.jwt]\n").unwrap();
        format!(
            "{before}[forwarding.jwt]\n{}",
            after.replacen("object=p256", "object=none", 1)
        )
    });
    let refused = gateway.reload().await.unwrap_err();
    let text = std::fs::read_to_string(gateway.folder().join("portcullis.toml")).unwrap();
    let line = text
        .lines()
        .position(|line| line.contains("object=none"))
        .unwrap()
        + 1;
    assert!(
        refused.contains(&format!("portcullis.toml:{line}:7")),
        "{refused}"
    );
    assert_eq!(orders().get(&gateway, "/").await.unwrap().status, 200);
}

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
async fn a_token_that_is_half_over_is_signed_anew() {
    let echo = Echo::start().await.unwrap();
    let gateway = software(&echo, "lifetime = '5s'").spawn().await;
    let mut connection = orders().connect(gateway.address()).await.unwrap();
    let first = token_of(&connection.get("/").await.unwrap());
    let again = until("another token", async || {
        let token = token_of(&connection.get("/").await.unwrap());
        (token != first).then_some(token)
    })
    .await;
    let keys = jwks(&gateway).await;
    let issued = |token| verified(token, &keys)["iat"].as_i64().unwrap();
    assert!((2..=4).contains(&(issued(&again) - issued(&first))));
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
