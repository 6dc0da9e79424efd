//! In which forms an upstream is told who the client is, and whose own word about that is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki;
use rcgen::{KeyPair, PublicKeyData as _};

use crate::harness::{
    Client, Gateway, GatewayBuilder, RawTls, Response, Site, client_ca, client_leaf, server_ca,
    status_of,
};

const XFCC: &str = "x-forwarded-client-cert";
const FIELDS: [&str; 4] = [
    XFCC,
    "client-cert",
    "client-cert-chain",
    "client-cert-verified",
];

fn builder(echo: &Echo, xfcc: &str) -> GatewayBuilder {
    Gateway::builder()
        .client_cert("accept", client_ca())
        .upstream(echo)
        .allow("anyone")
        .role("name = 'proxies'\nspiffe = 'spiffe://test.portcullis/proxy'")
        .extra_toml(&format!("[forwarding.xfcc]\n{xfcc}"))
}

fn client(name: &str) -> Client {
    Client::new().certificate(&client_leaf(name))
}

/// What the upstream saw of `X-Forwarded-Client-Cert` when the client sent these lines of it.
async fn told(gateway: &Gateway, client: &Client, lines: &[&str]) -> Vec<String> {
    let mut raw = RawTls::connect(client, gateway.address()).await.unwrap();
    let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    let answer = raw.exchange(head).await.unwrap();
    assert_eq!(status_of(&answer), Some(200), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let seen: serde_json::Value = serde_json::from_str(body).unwrap();
    let fields = seen["headers"].as_array().unwrap().iter();
    fields
        .filter(|field| field[0] == XFCC)
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}

const THEIRS: &str = "X-Forwarded-Client-Cert: By=spiffe://a;Hash=11;Subject=\"CN=a, O=\\\"b\\\"\"";

#[tokio::test]
async fn the_copy_of_a_client_that_is_not_trusted_is_kept_in_no_mode() {
    let echo = Echo::start().await.unwrap();
    for (mode, ours) in [("set", 1), ("append", 1), ("sanitize", 0), ("forward", 0)] {
        let trusted = match mode {
            "append" | "forward" => "trusted = 'proxies'",
            _ => "",
        };
        let gateway = builder(&echo, &format!("mode = '{mode}'\n{trusted}"));
        let gateway = gateway.spawn().await;
        assert!(
            told(&gateway, &Client::new(), &[THEIRS]).await.is_empty(),
            "{mode}"
        );
        let seen = told(&gateway, &client("orders"), &[THEIRS]).await;
        assert_eq!(seen.len(), ours, "{mode}: {seen:?}");
        for value in seen {
            assert!(
                value.starts_with("Hash=") && !value.contains(','),
                "{mode}: {value}"
            );
            assert!(value.contains("Subject=\"CN=orders\""), "{mode}: {value}");
        }
    }
}

#[tokio::test]
async fn append_puts_ours_behind_the_copy_of_a_trusted_proxy() {
    let echo = Echo::start().await.unwrap();
    let gateway = builder(&echo, "mode = 'append'\ntrusted = ['proxies']")
        .spawn()
        .await;
    let proxy = client("proxy");
    let [alone] = &told(&gateway, &proxy, &[]).await[..] else {
        panic!("ours is sent");
    };
    assert!(alone.starts_with("Hash=") && alone.contains("URI=spiffe://test.portcullis/proxy"));
    let kept = THEIRS.split_once(": ").unwrap().1;
    let [both] = &told(
        &gateway,
        &proxy,
        &[THEIRS, "x-forwarded-client-cert: Hash=22"],
    )
    .await[..] else {
        panic!("one field");
    };
    assert_eq!(*both, format!("{kept},Hash=22,{alone}"));
    for broken in [
        "x-forwarded-client-cert: Hash=11;Subject=\"CN=a",
        "x-forwarded-client-cert: forged",
        "x-forwarded-client-cert: Hash=11,",
        "x-forwarded-client-cert: Hash=\u{e9}",
        "x-forwarded-client-cert:",
    ] {
        let seen = told(&gateway, &proxy, &[broken]).await;
        assert_eq!(seen, std::slice::from_ref(alone), "{broken}");
        let seen = told(&gateway, &proxy, &[THEIRS, broken]).await;
        assert_eq!(seen, std::slice::from_ref(alone), "{broken}");
    }
    // Somebody who folds `_` would read this as another line of it.
    let seen = told(&gateway, &proxy, &["X_Forwarded_Client_Cert: Hash=11"]).await;
    assert_eq!(seen, std::slice::from_ref(alone));
    // Taken back by whoever sent it.
    let nominated = [THEIRS, "Connection: x-forwarded-client-cert"];
    assert_eq!(
        told(&gateway, &proxy, &nominated).await,
        std::slice::from_ref(alone)
    );
}

#[tokio::test]
async fn forward_sends_the_copy_of_a_trusted_proxy_and_never_ours() {
    let echo = Echo::start().await.unwrap();
    let gateway = builder(&echo, "mode = 'forward'\ntrusted = ['proxies']")
        .spawn()
        .await;
    let proxy = client("proxy");
    let kept = THEIRS.split_once(": ").unwrap().1;
    assert_eq!(told(&gateway, &proxy, &[THEIRS]).await, [kept]);
    assert!(told(&gateway, &proxy, &[]).await.is_empty());
    let broken = "x-forwarded-client-cert: Hash=11;Subject=\"";
    assert!(told(&gateway, &proxy, &[broken]).await.is_empty());
    // With `verified` everybody with a certificate is a proxy, and nobody else.
    gateway.rewrite_config(|text| text.replace("['proxies']", "['verified']"));
    gateway.reload().await.unwrap();
    assert_eq!(told(&gateway, &client("orders"), &[THEIRS]).await, [kept]);
    assert!(told(&gateway, &Client::new(), &[THEIRS]).await.is_empty());
}

#[tokio::test]
async fn the_element_says_what_is_chosen_and_by_whom() {
    let echo = Echo::start().await.unwrap();
    let details = "details = ['cert', 'chain', 'dns']";
    let gateway = builder(&echo, details).spawn().await;
    let key = KeyPair::generate().unwrap();
    let uri = "spiffe://test.portcullis/gateway";
    let public_key = key.subject_public_key_info();
    let chain = server_ca().server_chain(&["localhost", uri], &public_key);
    let chain = chain.unwrap();
    std::fs::write(gateway.folder().join("by.pem"), chain).unwrap();
    std::fs::write(gateway.folder().join("by.key"), key.serialize_pem()).unwrap();
    gateway.rewrite_config(|text| {
        let text = text
            .replace("site0-p256.pem", "by.pem")
            .replace("file:p256.key", "file:by.key");
        assert!(text.contains("software = [\"file:by.key\"]"), "{text}");
        text
    });
    gateway.reload().await.unwrap();
    let ca = client_ca().intermediate("Between").unwrap();
    let orders = pki::Client::new("orders").dns("o.test").unwrap();
    let leaf = orders.issued_by(&ca).unwrap();
    let seen = told(&gateway, &Client::new().certificate(&leaf), &[]).await;
    let parts: Vec<&str> = seen[0].split(';').collect();
    assert_eq!(parts.len(), 5, "{parts:?}");
    assert_eq!(parts[0], format!("By={uri}"));
    assert!(parts[1].starts_with("Hash="));
    assert_eq!(parts[4], "DNS=o.test");
    let decoded = |part: &str, key: &str| {
        let value = part.strip_prefix(key).unwrap().trim_matches('"').to_owned();
        let pairs = [
            ("%0A", "\n"),
            ("%20", " "),
            ("%2B", "+"),
            ("%2F", "/"),
            ("%3D", "="),
        ];
        pairs
            .iter()
            .fold(value, |text, (from, to)| text.replace(from, to))
    };
    let whole = leaf.chain_pem().replace("\r\n", "\n");
    assert_eq!(decoded(parts[3], "Chain="), whole);
    let first = decoded(parts[2], "Cert=");
    assert!(whole.starts_with(&first) && first.matches("BEGIN").count() == 1);
}

fn saw(answer: &Response) -> Vec<usize> {
    FIELDS
        .iter()
        .map(|name| answer.upstream_saw(name).len())
        .collect()
}

#[tokio::test]
async fn each_upstream_is_told_in_the_forms_it_wants() {
    let echo = Echo::start().await.unwrap();
    let forms = [
        ("none", "identity = []", [0, 0, 0, 0]),
        ("plain", "", [1, 0, 0, 0]),
        ("leaf", "identity = ['client-cert']", [0, 1, 0, 1]),
        ("chain", "identity = ['client-cert-chain']", [0, 0, 1, 1]),
        (
            "all",
            "identity = ['client-cert-chain', 'client-cert', 'xfcc']",
            [1, 1, 1, 1],
        ),
        (
            "h2",
            "protocol = 'h2'\nidentity = ['client-cert', 'xfcc']",
            [1, 1, 0, 1],
        ),
    ];
    let mut builder = Gateway::builder()
        .client_cert("accept", client_ca())
        .allow("anyone");
    let mut site = Site::new("localhost");
    for (name, lines, _) in forms {
        site = site.route(&format!("/{name}"), name);
        builder = builder.upstream_at(name, &echo.url(), lines);
    }
    let gateway = builder.site(site).spawn().await;
    let ca = client_ca().intermediate("Between").unwrap();
    let leaf = pki::Client::new("orders").issued_by(&ca).unwrap();
    for client in [
        Client::new().certificate(&leaf),
        Client::new().certificate(&leaf).h2(),
    ] {
        // One connection for all, so that what is kept for one upstream does not reach another.
        let mut connection = client.connect(gateway.address()).await.unwrap();
        for (name, _, expected) in forms {
            let answer = connection.get(&format!("/{name}")).await.unwrap();
            assert_eq!(saw(&answer), expected, "{name}");
        }
        let answer = connection.get("/all").await.unwrap();
        let ders = leaf.chain_der().unwrap();
        let wire = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
        assert_eq!(answer.upstream_saw("client-cert"), [wire(&ders[0])]);
        assert_eq!(answer.upstream_saw("client-cert-chain"), [wire(&ders[1])]);
        assert_eq!(answer.upstream_saw("client-cert-verified"), ["?1"]);
    }
    let mut stranger = Client::new().connect(gateway.address()).await.unwrap();
    for (name, _, _) in forms {
        let answer = stranger.get(&format!("/{name}")).await.unwrap();
        assert_eq!(saw(&answer), [0; 4], "{name}");
    }
    // Without intermediates there is a leaf and no chain.
    let alone = client("orders").get(&gateway, "/all").await.unwrap();
    assert_eq!(saw(&alone), [1, 1, 0, 1]);
}

#[tokio::test]
async fn certificates_that_are_too_large_are_not_sent() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .client_cert("require", client_ca())
        .upstream_at(
            "echo",
            &echo.url(),
            "identity = ['client-cert', 'client-cert-chain', 'xfcc']",
        )
        .allow("verified")
        .extra_toml("[limits]\nheader_bytes = '256KiB'")
        .spawn()
        .await;
    let mut large = pki::Client::new("large");
    for number in 0..1200 {
        large = large
            .dns(&format!("host-{number}.large.clients.example"))
            .unwrap();
    }
    let leaf = large.issued_by(client_ca()).unwrap();
    assert!(leaf.chain_der().unwrap()[0].len() > 32 * 1024);
    let answer = Client::new()
        .certificate(&leaf)
        .get(&gateway, "/")
        .await
        .unwrap();
    assert_eq!(saw(&answer), [1, 0, 0, 0], "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_verified_is_marked_and_told_in_no_other_form() {
    let echo = Echo::start().await.unwrap();
    let forms = "identity = ['xfcc', 'client-cert', 'client-cert-chain', 'jwt']";
    let gateway = Gateway::builder()
        .site(Site::new("localhost").client_cert("unverified", None))
        .upstream_at("echo", &echo.url(), forms)
        .allow("anyone")
        .extra_toml("[forwarding.xfcc]\nmode = 'append'\ntrusted = ['verified']")
        .extra_toml("[forwarding.jwt]\nkey = 'file:p256.key'")
        .spawn()
        .await;
    // Nobody's CA: its names are whatever the client wanted.
    let ca = pki::Ca::root("Nobody").unwrap();
    let proxy = pki::Client::new("proxy").uri("spiffe://test.portcullis/proxy");
    let leaf = proxy.unwrap().issued_by(&ca).unwrap();
    for client in [
        Client::new().certificate(&leaf),
        Client::new().certificate(&leaf).h2(),
    ] {
        let answer = client.get(&gateway, "/").await.unwrap();
        let der = leaf.chain_der().unwrap().remove(0);
        let wire = format!(":{}:", STANDARD.encode(&der));
        assert_eq!(answer.upstream_saw("client-cert"), [wire]);
        assert_eq!(answer.upstream_saw("client-cert-verified"), ["?0"]);
        assert!(answer.upstream_saw(XFCC).is_empty(), "{answer:?}");
        assert!(
            answer.upstream_saw("x-client-identity").is_empty(),
            "{answer:?}"
        );
    }
    let client = Client::new().certificate(&leaf);
    assert!(told(&gateway, &client, &[THEIRS]).await.is_empty());
    assert_eq!(
        saw(&Client::new().get(&gateway, "/").await.unwrap()),
        [0; 4]
    );
}
