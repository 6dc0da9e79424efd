//! Where revocation lists come from: files that break, addresses that go away, distribution points of clients.

use std::fs;
use std::path::Path;

use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, List};
use rustls::AlertDescription as Alert;

use crate::harness::judge::{assert_refused, assert_served};
use crate::harness::{Client, Gateway, GatewayBuilder, Web, client_ca, until};

const REVOKED: &str = "CLIENT_CERT_REVOKED_CRL";

fn describe(echo: &Echo, crl: &str) -> GatewayBuilder {
    let crl = format!("[trust.clients.crl]\n{crl}");
    Gateway::builder()
        .trust("clients", client_ca(), &crl)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
}

fn leaf(serial: u64) -> Leaf {
    let client = pki::Client::new("orders").serial(serial);
    client.issued_by(client_ca()).unwrap()
}

/// At once: half of a file would be refused, and counted, too.
fn replace(file: &Path, content: Vec<u8>) {
    let draft = file.with_extension("draft");
    fs::write(&draft, content).unwrap();
    fs::rename(draft, file).unwrap();
}

fn signed(list: &List) -> Vec<u8> {
    list.signed_by(client_ca()).unwrap()
}

async fn assert_revoked(gateway: &Gateway, leaf: &Leaf) {
    assert_refused(gateway, leaf, Alert::CertificateRevoked, REVOKED).await;
}

async fn until_metric(gateway: &Gateway, name: &str, least: f64) {
    let name = format!("{name}{{bundle=\"clients\"}}");
    until(&format!("{name} >= {least}"), async || {
        (gateway.metric(&name).await >= least).then_some(())
    })
    .await;
}

/// Content of a list file, or none, that must refuse it; and a word of the reason.
fn broken() -> [(Option<Vec<u8>>, &'static str); 6] {
    let whole = signed(&List::new(1).revoke(7_u64));
    let text = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_vec();
    let name = crate::harness::CLIENT_CA_NAME;
    let forger = Ca::root(name).unwrap();
    let forged = List::new(1).signed_by(&forger).unwrap();
    [
        (None, "No such file"),
        (Some(Vec::new()), "empty"),
        (Some(whole[..whole.len() - 9].to_vec()), "cut short"),
        (Some(text), "broken"),
        (Some(b"nonsense".to_vec()), "X509 CRL"),
        (Some(forged), "not signed by the CA"),
    ]
}

#[tokio::test]
async fn a_start_and_a_reload_refuse_a_list_that_cannot_be_used_and_name_file_and_line() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.crl");
    let crl = format!("files = {file:?}\ncheck = '1h'");
    let place = |said: &str| {
        let line = said.lines().find(|line| line.contains("portcullis.toml:"));
        line.is_some() && said.contains("clients.crl") && said.contains("files = ")
    };
    fs::write(&file, signed(&List::new(1))).unwrap();
    let gateway = describe(&echo, &crl).spawn().await;
    for (content, word) in broken() {
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let said = describe(&echo, &crl).spawn_refused().await;
        assert!(place(&said) && said.contains(word), "{word}: {said}");
        let said = gateway.reload().await.unwrap_err();
        assert!(place(&said) && said.contains(word), "{word}: {said}");
        assert_served(&gateway, &leaf(7)).await;
    }
    fs::write(&file, signed(&List::new(2).revoke(7_u64))).unwrap();
    gateway.reload().await.unwrap();
    assert_revoked(&gateway, &leaf(7)).await;
}

#[tokio::test]
async fn a_start_refuses_an_anchor_that_cannot_be_read_and_names_file_and_line() {
    let echo = Echo::start().await.unwrap();
    let whole = client_ca().pem();
    let cut = &whole[..whole.len() / 2];
    for content in ["", "nonsense", cut] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("more.pem"), content).unwrap();
        let more = folder.path().join("more.pem");
        let builder = Gateway::builder()
            .extra_toml(&format!("[trust.more]\nanchors = {more:?}"))
            .demand("require", "more")
            .upstream(&echo)
            .allow("anyone");
        let said = builder.spawn_refused().await;
        assert!(said.contains("more.pem"), "{said}");
        assert!(said.contains("portcullis.toml:"), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_breaks_in_use_leaves_the_list_before_and_is_counted() {
    let echo = Echo::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.crl");
    fs::write(&file, signed(&List::new(1).revoke(7_u64))).unwrap();
    let crl = format!("files = {file:?}\ncheck = '100ms'");
    let gateway = describe(&echo, &crl).spawn().await;
    let mut refused = 0.0;
    for (content, _) in broken() {
        match content {
            Some(content) => replace(&file, content),
            None => fs::remove_file(&file).unwrap(),
        }
        refused += 1.0;
        until_metric(&gateway, "portcullis_crl_refused_files_total", refused).await;
        let told = gateway.process_log();
        assert!(told.contains("clients.crl"), "{told}");
        assert_revoked(&gateway, &leaf(7)).await;
        assert_served(&gateway, &leaf(8)).await;
    }
    replace(&file, signed(&List::new(2).revoke(8_u64)));
    until("the file is used again", async || {
        let client = Client::new().certificate(&leaf(8));
        client.get(&gateway, "/").await.err().map(|_| ())
    })
    .await;
    assert_revoked(&gateway, &leaf(8)).await;
}

#[tokio::test]
async fn a_fetched_list_outlives_its_server_a_broken_answer_and_a_restart() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    let state = tempfile::tempdir().unwrap();
    web.put("/a.crl", signed(&List::new(5).revoke(7_u64)));
    let crl = format!("urls = '{}'\nrefresh = '1s'", web.url("/a.crl"));
    let top = format!("state_dir = {:?}", state.path());
    let builder = || describe(&echo, &crl).top(&top);
    let gateway = builder().spawn().await;
    until_metric(&gateway, "portcullis_crl_fetches_total", 1.0).await;
    assert_revoked(&gateway, &leaf(7)).await;
    assert_served(&gateway, &leaf(8)).await;
    // Broken, somebody else's, older: none of them counts.
    let stranger = Ca::root(crate::harness::CLIENT_CA_NAME).unwrap();
    let mut errors = 0.0;
    for page in [
        b"nonsense".to_vec(),
        List::new(6).signed_by(&stranger).unwrap(),
        signed(&List::new(4)),
    ] {
        web.put("/a.crl", page);
        errors += 1.0;
        until_metric(&gateway, "portcullis_crl_fetch_errors_total", errors).await;
        assert_revoked(&gateway, &leaf(7)).await;
    }
    let newer = signed(&List::new(6).revoke(7_u64).revoke(8_u64));
    web.put("/a.crl", newer.clone());
    until("the new list is kept", async || {
        let copies = fs::read_dir(state.path().join("crl")).unwrap();
        let kept = copies.filter_map(|copy| fs::read(copy.ok()?.path()).ok());
        kept.into_iter().any(|copy| copy == newer).then_some(())
    })
    .await;
    assert_revoked(&gateway, &leaf(8)).await;
    let address = web.address();
    drop((gateway, web));
    let gateway = builder().spawn().await;
    assert_revoked(&gateway, &leaf(8)).await;
    assert_served(&gateway, &leaf(9)).await;
    // When the server is there again it is heard again.
    let web = Web::start_on(address).await;
    web.put("/a.crl", signed(&List::new(7).revoke(9_u64)));
    until("the server is heard again", async || {
        let client = Client::new().certificate(&leaf(9));
        client.get(&gateway, "/").await.err().map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_broken_copy_on_disk_is_no_list() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    let state = tempfile::tempdir().unwrap();
    web.put("/a.crl", signed(&List::new(5)));
    let crl = format!("urls = '{}'", web.url("/a.crl"));
    let top = format!("state_dir = {:?}", state.path());
    let gateway = describe(&echo, &crl).top(&top).spawn().await;
    until_metric(&gateway, "portcullis_crl_fetches_total", 1.0).await;
    drop((gateway, web));
    let copies: Vec<_> = fs::read_dir(state.path().join("crl")).unwrap().collect();
    assert_eq!(copies.len(), 1);
    let stranger = Ca::root(crate::harness::CLIENT_CA_NAME).unwrap();
    let forged = List::new(9).signed_by(&stranger).unwrap();
    fs::write(copies[0].as_ref().unwrap().path(), forged).unwrap();
    let gateway = describe(&echo, &crl).top(&top).spawn().await;
    let (alert, reason) = (Alert::CertificateUnknown, "CLIENT_CERT_CRL_MISSING");
    assert_refused(&gateway, &leaf(8), alert, reason).await;
}

#[tokio::test]
async fn the_distribution_points_of_verified_clients_are_fetched_and_of_others_not() {
    let (echo, web) = (Echo::start().await.unwrap(), Web::start().await);
    web.put("/cdp.crl", signed(&List::new(1).revoke(7_u64)));
    let gateway = describe(&echo, "cdp = true").spawn().await;
    let at = |serial, ca: &Ca, path: &str| {
        let client = pki::Client::new("orders").serial(serial);
        client.list_at(&web.url(path)).issued_by(ca).unwrap()
    };
    let stranger = at(8, &Ca::root("Portcullis nobody").unwrap(), "/trap.crl");
    let (alert, reason) = (Alert::UnknownCA, "CLIENT_CERT_UNKNOWN_CA");
    assert_refused(&gateway, &stranger, alert, reason).await;
    let good = at(8, client_ca(), "/cdp.crl");
    let first = Client::new().certificate(&good).get(&gateway, "/").await;
    let line = gateway.refusal_of(first.unwrap_err().port).await;
    assert_eq!(line["reason"], "CLIENT_CERT_CRL_MISSING");
    until_metric(&gateway, "portcullis_crl_fetches_total", 1.0).await;
    assert_served(&gateway, &good).await;
    assert_revoked(&gateway, &at(7, client_ca(), "/cdp.crl")).await;
    assert_eq!(web.count("/trap.crl"), 0);
}
