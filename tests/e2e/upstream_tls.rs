//! TLS to services: whom the gateway believes, who it is there, and what a change of either does.

use std::fs;
use std::path::Path;

use http::StatusCode;
use portcullis_bench::pki::{self, Ca, Leaf, List, Usage, Validity, public_key_of};

use crate::harness::{
    Client, Gateway, GatewayBuilder, KeyKind, Service, Serving, Token, client_ca, until,
};

const SERVICE_ID: &str = "spiffe://test.portcullis/orders";
const GATEWAY_ID: &str = "spiffe://test.portcullis/edge";
const BOTH: &[&str] = &["h2", "http/1.1"];

/// The CA of the services of one test.
fn services() -> Ca {
    Ca::root("Portcullis test services").unwrap()
}

/// A right certificate of a service, as a draft.
fn orders() -> pki::Client {
    let draft = pki::Client::new("orders")
        .usage(Usage::ServerOnly)
        .serial(7);
    draft.dns("localhost").unwrap().uri(SERVICE_ID).unwrap()
}

async fn open(leaf: &Leaf) -> Service {
    let serving = Serving {
        leaf,
        clients: None,
        alpn: BOTH,
    };
    Service::start(&serving).await
}

/// A gateway that believes this CA at the service.
fn before(service: &Service, ca: &Ca, tls: &str) -> GatewayBuilder {
    let tls = format!("tls = {{ trust = 'services'{tls} }}");
    Gateway::builder()
        .trust("services", ca, "")
        .upstream_at("echo", &service.url(), &tls)
        .allow("anyone")
}

async fn ask(gateway: &Gateway) -> StatusCode {
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    client.get("/").await.unwrap().status
}

/// The detail of the refusal that a request ends in.
async fn refused(gateway: &Gateway) -> String {
    assert_eq!(ask(gateway).await, 502);
    let refusal = gateway.wait_for_refusal("UPSTREAM_TLS").await;
    refusal["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_that_is_not_believed_gets_no_request() {
    let ca = services();
    let other = Ca::root("somebody else").unwrap();
    let named = |name: &str| {
        let draft = pki::Client::new("orders").usage(Usage::ServerOnly);
        draft.dns(name).unwrap().issued_by(&ca).unwrap()
    };
    let issue = |draft: pki::Client| draft.issued_by(&ca).unwrap();
    let ids = ", spiffe_ids = ['spiffe://test.portcullis/payments']";
    let cases = [
        ("UNKNOWN_CA", orders().issued_by(&other).unwrap(), ""),
        ("EXPIRED", issue(orders().validity(Validity::Expired)), ""),
        (
            "NOT_YET_VALID",
            issue(orders().validity(Validity::NotYet)),
            "",
        ),
        ("WRONG_EKU", issue(orders().usage(Usage::Client)), ""),
        ("not valid for name", named("elsewhere.test"), ""),
        (
            "not valid for name",
            issue(orders()),
            ", server_name = 'elsewhere.test'",
        ),
        ("NotValidForName", issue(orders()), ids),
        ("NotValidForName", named("localhost"), ids),
    ];
    for (what, leaf, tls) in cases {
        let service = open(&leaf).await;
        let gateway = before(&service, &ca, tls).spawn().await;
        let detail = refused(&gateway).await;
        let plain = |text: &str| text.replace(' ', "").to_lowercase();
        assert!(plain(&detail).contains(&plain(what)), "{what}: {detail}");
        assert_eq!(service.handshakes(), (0, 0), "{what}");
    }
}

#[tokio::test]
async fn a_service_asks_for_a_certificate_and_gets_only_a_right_one() {
    let ca = services();
    let leaf = orders().issued_by(&ca).unwrap();
    let serving = Serving {
        leaf: &leaf,
        clients: Some(client_ca()),
        alpn: BOTH,
    };
    let service = Service::start(&serving).await;
    let without = before(&service, &ca, "").spawn().await;
    assert_eq!(ask(&without).await, 502);

    let token = Token::shared();
    let folder = tempfile::tempdir().unwrap();
    let (chain, wrong) = (
        folder.path().join("edge.pem"),
        folder.path().join("wrong.pem"),
    );
    let key = token.public_key(KeyKind::P256);
    let issue = |ca: &Ca, path: &Path| {
        let text = ca.client_chain(&["edge.test", GATEWAY_ID], &key).unwrap();
        fs::write(path, text).unwrap();
    };
    issue(client_ca(), &chain);
    issue(&ca, &wrong);
    for protocol in ["http1", "h2"] {
        let shown = |chain: &Path| {
            let (chain, key) = (chain.display(), token.key_uri(KeyKind::P256));
            let tls = format!(", certificate = {{ chain = '{chain}', key = '{key}' }}");
            let tls = tls + " }\nprotocol = '" + protocol + "' #";
            before(&service, &ca, &tls).token(token)
        };
        let gateway = shown(&wrong).spawn().await;
        assert_eq!(ask(&gateway).await, 502, "{protocol}");
        let before = service.clients().len();
        let gateway = shown(&chain).spawn().await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        for _ in 0..3 {
            let answer = client.get("/").await.unwrap();
            assert_eq!(answer.status, 200, "{protocol}");
            let version = if protocol == "h2" {
                "HTTP/2.0"
            } else {
                "HTTP/1.1"
            };
            assert_eq!(answer.headers["x-version"], version);
        }
        let seen = service.clients();
        assert_eq!(
            seen.len(),
            before + 1,
            "one connection serves three requests"
        );
        let shown = seen[before].as_ref();
        assert_eq!(
            public_key_of(&pem(shown)).unwrap(),
            key,
            "the key in the token signed"
        );
        let ends = gateway.metric("portcullis_upstream_certificate_not_after_seconds{upstream=\"echo\",key=\"ecdsa-p256\",provenance=\"generated-in-hsm\"}");
        assert!(ends.await > 0.0);
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[tokio::test]
async fn names_and_spiffe_ids_count_as_configured() {
    let ca = services();
    let issue = |draft: pki::Client| draft.issued_by(&ca).unwrap();
    let elsewhere = pki::Client::new("orders").usage(Usage::ServerOnly);
    let elsewhere = elsewhere.dns("orders.internal").unwrap();
    let nameless = pki::Client::new("orders").usage(Usage::ServerOnly);
    let nameless = nameless.uri(SERVICE_ID).unwrap();
    let ids = format!(", spiffe_ids = ['spiffe://test.portcullis/other', '{SERVICE_ID}']");
    let cases = [
        (issue(orders()), String::new()),
        (
            issue(elsewhere),
            ", server_name = 'orders.internal'".to_owned(),
        ),
        (issue(nameless), ids),
    ];
    for (leaf, tls) in cases {
        let service = open(&leaf).await;
        let gateway = before(&service, &ca, &tls).spawn().await;
        assert_eq!(ask(&gateway).await, 200, "{tls}");
    }
}

#[tokio::test]
async fn a_service_without_alpn_speaks_http_1_and_no_other() {
    let ca = services();
    let leaf = orders().issued_by(&ca).unwrap();
    let serving = Serving {
        leaf: &leaf,
        clients: None,
        alpn: &[],
    };
    let service = Service::start(&serving).await;
    let gateway = before(&service, &ca, "").spawn().await;
    assert_eq!(ask(&gateway).await, 200);
    let gateway = before(&service, &ca, " }\nprotocol = 'h2' #").spawn().await;
    assert!(refused(&gateway).await.contains("ALPN"));
}

#[tokio::test]
async fn a_revocation_ends_the_use_of_pooled_connections_and_of_sessions() {
    let ca = services();
    let leaf = orders().issued_by(&ca).unwrap();
    let service = open(&leaf).await;
    let lists = tempfile::tempdir().unwrap();
    let list = lists.path().join("services.crl");
    let put = |serials: &[u64]| {
        let list_of = List::new(serials.len() as u64 + 1);
        let text = serials
            .iter()
            .fold(list_of, |list, serial| list.revoke(*serial));
        let draft = lists.path().join("draft");
        fs::write(&draft, text.signed_by(&ca).unwrap()).unwrap();
        fs::rename(draft, &list).unwrap();
    };
    put(&[1]);
    for protocol in ["http1", "h2"] {
        put(&[1]);
        let crl = format!(
            "[trust.services.crl]\nfiles = ['{}']\ncheck = '100ms'",
            list.display()
        );
        let tls = format!("tls = {{ trust = 'services' }}\nprotocol = '{protocol}'");
        let builder = Gateway::builder().trust("services", &ca, &crl);
        let builder = builder.upstream_at("echo", &service.url(), &tls);
        let gateway = builder.allow("anyone").spawn().await;
        let mut client = Client::new().connect(gateway.address()).await.unwrap();
        assert_eq!(client.get("/").await.unwrap().status, 200, "{protocol}");
        put(&[1, 7]);
        until("the service is not believed any more", async || {
            let answer = client.get("/").await.unwrap();
            (answer.status == 502).then_some(())
        })
        .await;
        let refusal = gateway.wait_for_refusal("UPSTREAM_TLS").await;
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.contains("REVOKED_CRL"), "{protocol}: {detail}");
    }
}

#[tokio::test]
async fn a_second_connection_resumes_the_session() {
    let ca = services();
    let leaf = orders().issued_by(&ca).unwrap();
    let service = open(&leaf).await;
    let gateway = before(&service, &ca, " }\nidle_timeout = '1ms' #")
        .spawn()
        .await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    until("a connection resumes a session", async || {
        assert_eq!(client.get("/").await.unwrap().status, 200);
        (service.handshakes().1 > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_reload_with_another_ca_is_felt_by_the_next_request() {
    let ca = services();
    let leaf = orders().issued_by(&ca).unwrap();
    let service = open(&leaf).await;
    let gateway = before(&service, &ca, "").spawn().await;
    let mut client = Client::new().connect(gateway.address()).await.unwrap();
    assert_eq!(client.get("/").await.unwrap().status, 200);
    let anchors = gateway.folder().join("services.pem");
    let right = fs::read_to_string(&anchors).unwrap();
    fs::write(&anchors, Ca::root("new").unwrap().pem()).unwrap();
    gateway.reload().await.unwrap();
    until("the reload is felt", async || {
        (client.get("/").await.unwrap().status == 502).then_some(())
    })
    .await;
    fs::write(&anchors, right).unwrap();
    gateway.reload().await.unwrap();
    until("the reload is felt", async || {
        (client.get("/").await.unwrap().status == 200).then_some(())
    })
    .await;
}
