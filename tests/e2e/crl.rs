//! Revocation lists: whom they turn away, what happens when they run out, and lists that cannot be used.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_bench::echo::Echo;
use portcullis_bench::pki::{self, Ca, Leaf, List, Scope};
use rustls::AlertDescription as Alert;
use tempfile::TempDir;

use crate::harness::judge::{assert_refused, assert_served};
use crate::harness::{Gateway, GatewayBuilder, client_ca, until};

const REVOKED: &str = "CLIENT_CERT_REVOKED_CRL";
const STALE: &str = "CLIENT_CERT_CRL_STALE";
const MISSING: &str = "CLIENT_CERT_CRL_MISSING";

/// A folder with lists of the client CA.
struct Lists(TempDir);

impl Lists {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a list there at once, in DER.
    fn put(&self, name: &str, ca: &Ca, list: &List) -> PathBuf {
        put(&self.path(name), &list.signed_by(ca).unwrap())
    }
}

fn put(path: &Path, content: &[u8]) -> PathBuf {
    let draft = path.with_file_name(".draft");
    fs::write(&draft, content).unwrap();
    fs::rename(draft, path).unwrap();
    path.to_owned()
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n").into_bytes()
}

fn leaf(ca: &Ca, serial: u64) -> Leaf {
    let client = pki::Client::new("orders").serial(serial);
    client.issued_by(ca).unwrap()
}

fn describe(echo: &Echo, files: &[&Path], toml: &str) -> GatewayBuilder {
    let crl = format!("[trust.clients.crl]\nfiles = {files:?}\ncheck = '100ms'\n{toml}");
    Gateway::builder()
        .trust("clients", client_ca(), &crl)
        .demand("require", "clients")
        .upstream(echo)
        .allow("anyone")
}

async fn gateway(echo: &Echo, files: &[&Path], toml: &str) -> Gateway {
    describe(echo, files, toml).spawn().await
}

async fn assert_revoked(gateway: &Gateway, leaf: &Leaf) {
    assert_refused(gateway, leaf, Alert::CertificateRevoked, REVOKED).await;
}

#[tokio::test]
async fn who_is_listed_is_refused_whether_the_list_is_der_or_pem() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let list = List::new(1).revoke(7_u64);
    let der = lists.put("der", client_ca(), &list);
    let text = pem(&list.signed_by(client_ca()).unwrap());
    let text = put(&lists.path("pem"), &text);
    for file in [der, text] {
        let gateway = gateway(&echo, &[&file], "").await;
        assert_revoked(&gateway, &leaf(client_ca(), 7)).await;
        assert_served(&gateway, &leaf(client_ca(), 8)).await;
    }
    let served = echo.record().request_count();
    assert_eq!(served, 6, "nothing of who was refused came through");
}

#[tokio::test]
async fn who_is_on_the_second_of_two_lists_is_refused_in_either_order() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let older = lists.put("older", client_ca(), &List::new(1).revoke(7_u64));
    let newer = lists.put("newer", client_ca(), &List::new(2).revoke(8_u64));
    for files in [[&*older, &*newer], [&*newer, &*older]] {
        let gateway = gateway(&echo, &files, "").await;
        for serial in [7, 8] {
            assert_revoked(&gateway, &leaf(client_ca(), serial)).await;
        }
        assert_served(&gateway, &leaf(client_ca(), 9)).await;
    }
}

#[tokio::test]
async fn who_is_below_a_revoked_ca_is_refused_unless_only_leafs_are_looked_up() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let branch = |serial| client_ca().intermediate_numbered("Portcullis test branch", serial);
    let (bad, good) = (branch(70).unwrap(), branch(80).unwrap());
    let upper = lists.put("upper", client_ca(), &List::new(1).revoke(70_u64));
    let of_bad = lists.put("of-bad", &bad, &List::new(1));
    let of_good = lists.put("of-good", &good, &List::new(1).revoke(5_u64));
    let files = [&*upper, &*of_bad, &*of_good];
    let chain = gateway(&echo, &files, "").await;
    assert_revoked(&chain, &leaf(&bad, 4)).await;
    assert_revoked(&chain, &leaf(&good, 5)).await;
    assert_served(&chain, &leaf(&good, 4)).await;
    let leafs = gateway(&echo, &files, "scope = 'leaf'").await;
    assert_served(&leafs, &leaf(&bad, 4)).await;
    assert_revoked(&leafs, &leaf(&good, 5)).await;
}

#[tokio::test]
async fn a_list_past_its_end_refuses_hard_passes_for_the_grace_and_soft_and_revokes_in_any_case() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let ended = List::new(1).revoke(7_u64).ending(-3600);
    let file = lists.put("ended", client_ca(), &ended);
    let name = "portcullis_crl_stale_passes_total{bundle=\"clients\"}";
    for (policy, passes) in [
        ("", false),
        ("stale = 'hard'", false),
        ("stale = '30m'", false),
        ("stale = '6h'", true),
        ("stale = 'soft'", true),
    ] {
        let gateway = gateway(&echo, &[&file], policy).await;
        assert_revoked(&gateway, &leaf(client_ca(), 7)).await;
        let other = leaf(client_ca(), 8);
        if passes {
            assert_served(&gateway, &other).await;
            assert!(gateway.metric(name).await >= 3.0, "{policy}");
        } else {
            assert_refused(&gateway, &other, Alert::CertificateUnknown, STALE).await;
            assert_eq!(gateway.metric(name).await, 0.0, "{policy}");
        }
    }
}

#[tokio::test]
async fn without_a_list_of_the_issuer_only_soft_passes() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let other = Ca::root("Portcullis test other").unwrap();
    let file = lists.put("other", &other, &List::new(1));
    let client = leaf(client_ca(), 8);
    for policy in ["stale = 'hard'", "stale = '6h'"] {
        let gateway = gateway(&echo, &[&file], policy).await;
        assert_refused(&gateway, &client, Alert::CertificateUnknown, MISSING).await;
    }
    let soft = gateway(&echo, &[&file], "stale = 'soft'").await;
    assert_served(&soft, &client).await;
    let name = "portcullis_crl_missing_passes_total{bundle=\"clients\"}";
    assert!(soft.metric(name).await >= 3.0);
}

#[tokio::test]
async fn a_list_clears_only_those_in_its_scope_and_revokes_whom_it_names() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let list = || List::new(1).revoke(7_u64);
    let of_cas = lists.put("cas", client_ca(), &list().scope(Scope::Cas));
    let of_users = lists.put("users", client_ca(), &list().scope(Scope::Users));
    let point = Scope::Point("http://lists.test/a".to_owned());
    let of_point = lists.put("point", client_ca(), &list().scope(point));
    let [client, other] = [7, 8].map(|serial| leaf(client_ca(), serial));
    for file in [&of_cas, &of_point] {
        let gateway = gateway(&echo, &[file], "").await;
        assert_refused(&gateway, &other, Alert::CertificateUnknown, MISSING).await;
        // A serial number has one certificate: its issuer names no other.
        assert_revoked(&gateway, &client).await;
    }
    let users = gateway(&echo, &[&of_users], "").await;
    assert_served(&users, &other).await;
    assert_revoked(&users, &client).await;
    let named = gateway(&echo, &[&of_point], "").await;
    let at = |serial| {
        pki::Client::new("a")
            .serial(serial)
            .list_at("http://lists.test/a")
    };
    assert_revoked(&named, &at(7).issued_by(client_ca()).unwrap()).await;
    assert_served(&named, &at(8).issued_by(client_ca()).unwrap()).await;
}

#[tokio::test]
async fn a_delta_adds_and_takes_off_what_was_on_hold() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    let base = List::new(3).revoke_for(7_u64, 6).revoke_for(8_u64, 1);
    let base = lists.put("base", client_ca(), &base);
    let [held, revoked, fresh] = [7, 8, 9].map(|serial| leaf(client_ca(), serial));
    let alone = gateway(&echo, &[&base], "").await;
    assert_revoked(&alone, &held).await;
    assert_served(&alone, &fresh).await;
    let delta = List::new(4).delta_of(3).revoke_for(7_u64, 8).revoke(9_u64);
    let delta = lists.put("delta", client_ca(), &delta);
    let both = gateway(&echo, &[&base, &delta], "").await;
    assert_served(&both, &held).await;
    assert_revoked(&both, &revoked).await;
    assert_revoked(&both, &fresh).await;
    // A delta of a later complete list than the one that is there takes nothing off.
    let later = List::new(6).delta_of(5).revoke_for(7_u64, 8);
    let later = lists.put("later", client_ca(), &later);
    let gap = gateway(&echo, &[&base, &later], "").await;
    assert_revoked(&gap, &held).await;
}

#[tokio::test]
async fn a_folder_is_read_whole_and_looked_at_for_new_files() {
    let (echo, lists) = (Echo::start().await.unwrap(), Lists::new());
    lists.put("a", client_ca(), &List::new(1).revoke(7_u64));
    fs::write(lists.path(".hidden"), "nonsense").unwrap();
    let gateway = gateway(&echo, &[lists.0.path()], "").await;
    assert_revoked(&gateway, &leaf(client_ca(), 7)).await;
    let other = leaf(client_ca(), 8);
    assert_served(&gateway, &other).await;
    lists.put("b", client_ca(), &List::new(2).revoke(8_u64));
    let b = lists.path("b").display().to_string();
    let entries =
        format!("portcullis_crl_entries{{bundle=\"clients\",origin=\"{b}\",delta=\"false\"}}");
    until("the new file is read", async || {
        (gateway.metric(&entries).await == 1.0).then_some(())
    })
    .await;
    assert_revoked(&gateway, &other).await;
}
