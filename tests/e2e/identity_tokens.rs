//! The signed form of an identity: verified with the published key, cached, and refused rather than left out.

mod outage;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki;
use serde_json::{Value, json};

use crate::harness::{
    Client, Gateway, GatewayBuilder, KeyKind, Response, Site, Token, client_ca, client_leaf, until,
};

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
