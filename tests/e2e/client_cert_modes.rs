//! Demands on clients by site and by route, and certificates that nobody verifies.

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Flaw, Leaf};
use rustls::AlertDescription as Alert;

use crate::harness::{
    CLIENT_CA_NAME, Client, Gateway, GatewayBuilder, Site, client_ca, client_leaf,
};

fn over_everything(client: &Client) -> [Client; 4] {
    let client = || client.clone();
    [
        client().tls12(),
        client().tls13(),
        client().tls12().h2(),
        client().tls13().h2(),
    ]
}

fn forged(flaw: Flaw) -> Leaf {
    let names = pki::Client::new("mallory").uri("spiffe://test.portcullis/orders");
    flaw.forge(&names.unwrap(), client_ca(), CLIENT_CA_NAME)
        .unwrap()
}

/// A site that asks nothing, but for `/admin`.
fn guarded(echo: &Echo, route: &str) -> GatewayBuilder {
    Gateway::builder()
        .trust("clients", client_ca(), "")
        .site(Site::new("localhost").demanding("/admin", route))
        .upstream(echo)
        .allow("anyone")
}

#[tokio::test]
async fn a_route_that_requires_a_certificate_refuses_those_without_and_the_site_does_not() {
    let echo = Echo::start().await.unwrap();
    let route = "{ mode = 'require', trust = 'clients' }";
    let gateway = guarded(&echo, route).spawn().await;
    for client in over_everything(&Client::new()) {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        assert_eq!(connection.get("/").await.unwrap().status, 200);
        let refused = connection.get("/admin/x").await.unwrap();
        assert_eq!((refused.status.as_u16(), refused.body.len()), (403, 0));
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "CLIENT_CERT_REQUIRED");
        assert_eq!(connection.get("/").await.unwrap().status, 200);
    }
    for client in over_everything(&Client::new().certificate(&client_leaf("orders"))) {
        assert_eq!(client.get(&gateway, "/admin").await.unwrap().status, 200);
    }
    // One that is shown must be good, also for who goes elsewhere.
    for client in over_everything(&Client::new().certificate(&forged(Flaw::UnknownCa))) {
        let refused = client.get(&gateway, "/").await.unwrap_err();
        assert_eq!(refused.alert, Some(Alert::UnknownCA));
    }
    let admin = |line: &serde_json::Value| line["url.path"] == "/admin/x";
    let forwarded = echo.record().requests();
    assert!(
        forwarded
            .iter()
            .all(|request| !request.uri.path().starts_with("/admin/x"))
    );
    assert!(
        gateway
            .access_log()
            .iter()
            .filter(|line| admin(line))
            .count()
            == 4
    );
}

#[tokio::test]
async fn on_a_site_that_ignores_certificates_a_certificate_gives_no_role() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .site(Site::new("localhost").demanding("/admin", "{ mode = 'require', trust = 'clients' }"))
        .upstream(&echo)
        .allow("verified")
        .spawn()
        .await;
    let client = Client::new().certificate(&client_leaf("orders"));
    let mut connection = client.connect(gateway.address()).await.unwrap();
    assert_eq!(connection.get("/").await.unwrap().status, 403);
    let served = connection.get("/admin").await.unwrap();
    assert_eq!(served.status, 200);
    assert_eq!(served.upstream_saw("x-forwarded-client-cert").len(), 1);
}

#[tokio::test]
async fn each_route_has_trust_anchors_of_its_own() {
    let echo = Echo::start().await.unwrap();
    let partners = Ca::root("Portcullis test partners").unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .trust("partners", &partners, "")
        .site(
            Site::new("localhost")
                .line("client_cert = { mode = 'accept', trust = 'clients' }")
                .demanding("/partners", "{ mode = 'require', trust = 'partners' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    let partner = pki::Client::new("partner").issued_by(&partners).unwrap();
    for (leaf, right, wrong) in [
        (client_leaf("orders"), "/", "/partners"),
        (partner, "/partners", "/"),
    ] {
        for client in over_everything(&Client::new().certificate(&leaf)) {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.get(right).await.unwrap().status, 200);
            let refused = connection.get(wrong).await.unwrap();
            assert_eq!(refused.status, 403, "{wrong}");
            let line = gateway.refusal_of(refused.port).await;
            assert_eq!(line["reason"], "CLIENT_CERT_UNKNOWN_CA");
        }
    }
    let stranger = Client::new().certificate(&forged(Flaw::UnknownCa));
    let refused = stranger.get(&gateway, "/").await.unwrap_err();
    assert_eq!(refused.alert, Some(Alert::UnknownCA));
}

#[tokio::test]
async fn an_unverified_certificate_proves_its_key_and_gives_nothing_else() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .site(Site::new("localhost").line("client_cert = { mode = 'unverified' }"))
        .upstream_at("echo", &echo.url(), "identity = ['xfcc', 'client-cert']")
        .role("name = 'orders'\nspiffe = 'spiffe://test.portcullis/orders'")
        .rule("roles = ['anyone']\npaths = '/open/**'")
        .rule("roles = ['orders', 'verified']\npaths = '/orders/**'")
        .spawn()
        .await;
    for flaw in [
        Flaw::Expired,
        Flaw::UnknownCa,
        Flaw::SelfSigned,
        Flaw::WrongUsage,
    ] {
        for client in over_everything(&Client::new().certificate(&forged(flaw))) {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            let served = connection.get("/open/x").await.unwrap();
            assert_eq!(served.status, 200, "{flaw:?}");
            assert!(served.upstream_saw("x-forwarded-client-cert").is_empty());
            assert_eq!(served.upstream_saw("client-cert-verified"), ["?0"]);
            assert_eq!(served.upstream_saw("client-cert").len(), 1);
            let line = gateway
                .wait_for_access(|line| line["client.port"] == served.port)
                .await;
            assert_eq!(line["tls.client.verified"], false);
            assert_eq!(connection.get("/orders/x").await.unwrap().status, 403);
        }
    }
    let (victim, thief) = (client_leaf("orders"), client_leaf("mallory"));
    for client in over_everything(&Client::new().certificate(&victim).key_of(&thief)) {
        let refused = client.get(&gateway, "/open/x").await.unwrap_err();
        assert_eq!(refused.alert, Some(Alert::DecryptError));
        let line = gateway.refusal_of(refused.port).await;
        assert_eq!(line["reason"], "CLIENT_CERT_NOT_PROVEN");
    }
    let none = Client::new().get(&gateway, "/open/x").await.unwrap();
    assert_eq!(none.status, 200);
}

#[tokio::test]
async fn a_route_verifies_what_an_unverified_site_let_in() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .site(
            Site::new("localhost")
                .line("client_cert = { mode = 'unverified' }")
                .demanding("/admin", "{ mode = 'require', trust = 'clients' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for (leaf, status, reason) in [
        (forged(Flaw::Expired), 403, "CLIENT_CERT_EXPIRED"),
        (forged(Flaw::UnknownCa), 403, "CLIENT_CERT_UNKNOWN_CA"),
        (client_leaf("orders"), 200, ""),
    ] {
        for client in over_everything(&Client::new().certificate(&leaf)) {
            let mut connection = client.connect(gateway.address()).await.unwrap();
            assert_eq!(connection.get("/").await.unwrap().status, 200);
            let answer = connection.get("/admin").await.unwrap();
            assert_eq!(answer.status, status);
            if status == 403 {
                assert_eq!(gateway.refusal_of(answer.port).await["reason"], reason);
            }
            for (path, verified) in [("/", false), ("/admin", status == 200)] {
                let of_this = |line: &serde_json::Value| {
                    line["client.port"] == answer.port && line["url.path"] == path
                };
                let line = gateway.wait_for_access(of_this).await;
                assert_eq!(line["tls.client.verified"], verified, "{line}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_for_another_site_is_misdirected_whatever_the_certificate() {
    let echo = Echo::start().await.unwrap();
    let gateway = Gateway::builder()
        .trust("clients", client_ca(), "")
        .site(Site::new("open.test"))
        .site(
            Site::new("closed.test").line("client_cert = { mode = 'require', trust = 'clients' }"),
        )
        .upstream(&echo)
        .allow("anyone")
        .spawn()
        .await;
    for client in over_everything(&Client::of("open.test")) {
        let mut connection = client.connect(gateway.address()).await.unwrap();
        let request = http::Request::get("https://closed.test/").header("host", "closed.test");
        let answer = connection
            .send(request.body(Default::default()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status, 421);
        assert_eq!(
            gateway.refusal_of(answer.port).await["reason"],
            "MISDIRECTED"
        );
    }
}
