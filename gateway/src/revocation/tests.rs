//! Stores: what is refused, what stays, what is fetched.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::{CrlScope, CrlSettings, Located, StalePolicy};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::testing::{Ca, HOUR, ListParams, NOW, ScopeParams, pem};
use super::{CrlStore, PathCert, Problem, RevocationError, keep_fresh, source};
use crate::reason::Reason;

const URL: &str = "http://crl.test/list";

fn settings(files: &[&Path], urls: &[&str]) -> CrlSettings {
    let located = |path: &&Path| Located {
        value: path.to_path_buf(),
        span: 3..5,
    };
    CrlSettings {
        files: files.iter().map(located).collect(),
        urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        cdp: false,
        stale: StalePolicy::Hard,
        refresh: Duration::from_secs(3600),
        check: Duration::from_millis(100),
        scope: CrlScope::Chain,
        max_size: 1 << 20,
        timeout: Duration::from_secs(5),
    }
}

fn open(
    settings: &CrlSettings,
    (ca, folder): (&Ca, &Path),
    old: Option<&Arc<CrlStore>>,
) -> Result<Arc<CrlStore>, Vec<RevocationError>> {
    let anchors = std::slice::from_ref(&ca.anchor);
    CrlStore::open(settings, anchors, folder, old)
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW.unsigned_abs()))
}

fn reason(store: &CrlStore, ca: &Ca, leaf: &[u8]) -> Option<Reason> {
    let leaf = PathCert::new(leaf, ca.key()).unwrap();
    store.check(&[leaf], now()).err().map(|it| it.reason)
}

fn revoking(serials: &[u64], number: u64) -> ListParams {
    ListParams {
        number,
        entries: serials.iter().map(|serial| (*serial, 0)).collect(),
        ..ListParams::default()
    }
}

fn listed(ca: &Ca, params: &ListParams) -> Arc<super::index::List> {
    source::read_bytes(ca.list(params), URL).unwrap().remove(0)
}

#[test]
fn missing_empty_cut_broken_and_foreign_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new("ca"), Ca::new("ca"));
    let good = ca.list(&ListParams::default());
    let foreign = other.list(&ListParams::default());
    // ecdsa-with-SHA224 has a name as long as that with SHA-256.
    let mut weak = good.clone();
    for at in 0..weak.len() - 8 {
        if weak[at..].starts_with(b"\x2a\x86\x48\xce\x3d\x04\x03\x02") {
            weak[at + 7] = 1;
        }
    }
    let mut cut_pem = pem(&good);
    cut_pem.truncate(cut_pem.len() / 2);
    for (name, content, word) in [
        ("empty", Vec::new(), "is empty"),
        ("blank", b" \n".to_vec(), "is empty"),
        ("text", b"nonsense".to_vec(), "no usable X509 CRL block"),
        ("cut.der", good[..good.len() - 1].to_vec(), "cut short"),
        ("cut.pem", cut_pem, "no usable X509 CRL block"),
        ("foreign", foreign, "not signed by the CA"),
        ("weak", weak, "algorithm that is not accepted"),
        ("large", vec![b'x'; 2 << 20], "max_size"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let errors = open(&settings(&[&path], &[]), (&ca, folder.path()), None).unwrap_err();
        let text = errors[0].to_string();
        assert!(text.contains(name) && text.contains(word), "{text}");
        assert_eq!(errors[0].span, 3..5);
    }
    let missing = folder.path().join("missing");
    assert!(open(&settings(&[&missing], &[]), (&ca, folder.path()), None).is_err());
    let hollow = tempfile::tempdir().unwrap();
    let refused = open(&settings(&[hollow.path()], &[]), (&ca, folder.path()), None);
    assert!(matches!(
        refused.unwrap_err()[0].problem,
        Problem::EmptyFolder
    ));
    // Both encodings, and a folder of them.
    std::fs::write(hollow.path().join("a.pem"), pem(&good)).unwrap();
    std::fs::write(hollow.path().join("b.der"), ca.list(&revoking(&[5], 2))).unwrap();
    let store = open(&settings(&[hollow.path()], &[]), (&ca, folder.path()), None).unwrap();
    let revoked = Some(Reason::ClientCertRevokedCrl);
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), revoked);
    assert_eq!(reason(&store, &ca, &ca.leaf(6, &[])), None);
}

#[test]
fn a_ca_of_the_chain_that_is_revoked_ends_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let root = Ca::new("root");
    let middle = root.below("middle", 77);
    let (upper, lower) = (folder.path().join("upper"), folder.path().join("lower"));
    std::fs::write(&upper, root.list(&revoking(&[77], 1))).unwrap();
    std::fs::write(&lower, middle.list(&ListParams::default())).unwrap();
    let mut wanted = settings(&[&upper, &lower], &[]);
    let leaf = middle.leaf(1, &[]);
    let path = [
        PathCert::new(&leaf, middle.key()).unwrap(),
        PathCert::new(&middle.der, root.key()).unwrap(),
    ];
    let store = open(&wanted, (&root, folder.path()), None).unwrap();
    let refused = store.check(&path, now()).unwrap_err();
    assert_eq!(refused.reason, Reason::ClientCertRevokedCrl);
    assert!(refused.detail.contains("4d"), "{}", refused.detail);
    let findings = store.findings(&path, now());
    assert!(findings[0].passes && !findings[1].passes, "{findings:?}");
    wanted.scope = CrlScope::Leaf;
    let store = open(&wanted, (&root, folder.path()), None).unwrap();
    assert!(store.check(&path, now()).is_ok());
    // Without a list the chain has no status.
    wanted.scope = CrlScope::Chain;
    wanted.files.pop();
    let store = open(&wanted, (&root, folder.path()), None).unwrap();
    let refused = store.check(&path, now()).unwrap_err();
    assert_eq!(refused.reason, Reason::ClientCertCrlMissing);
}

#[test]
fn a_file_that_breaks_leaves_what_was_read_before() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let path = folder.path().join("list");
    std::fs::write(&path, ca.list(&revoking(&[5], 1))).unwrap();
    let wanted = settings(&[&path], &[]);
    let store = open(&wanted, (&ca, folder.path()), None).unwrap();
    let epoch = store.epoch();
    for broken in [
        Vec::new(),
        b"0\x03".to_vec(),
        Ca::new("ca").list(&revoking(&[], 9)),
    ] {
        std::fs::write(&path, broken).unwrap();
        store.look_at_files();
        store.look_at_files();
        // The reload refuses, and the store goes on as it was.
        assert!(open(&wanted, (&ca, folder.path()), Some(&store)).is_err());
        assert!(reason(&store, &ca, &ca.leaf(5, &[])).is_some());
    }
    std::fs::remove_file(&path).unwrap();
    store.look_at_files();
    assert_eq!((store.stats().refused, store.epoch()), (4, epoch));
    std::fs::write(&path, ca.list(&revoking(&[6], 2))).unwrap();
    store.look_at_files();
    assert_eq!(store.epoch(), epoch + 1);
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), None);
    assert!(reason(&store, &ca, &ca.leaf(6, &[])).is_some());
    let again = open(&wanted, (&ca, folder.path()), Some(&store)).unwrap();
    assert!(Arc::ptr_eq(&store, &again));
}

#[test]
fn a_fetched_list_replaces_only_what_it_is_better_than() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let store = open(&settings(&[], &[URL]), (&ca, folder.path()), None).unwrap();
    let missing = Some(Reason::ClientCertCrlMissing);
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), missing);
    store.replace(URL, listed(&ca, &revoking(&[5], 2))).unwrap();
    let stranger = Ca::new("another name");
    let older = ListParams {
        this_update: NOW - 2 * HOUR,
        ..revoking(&[], 3)
    };
    for (list, word) in [
        (listed(&Ca::new("ca"), &revoking(&[], 3)), "not signed by"),
        (listed(&stranger, &revoking(&[], 3)), "no chain has shown"),
        (listed(&ca, &revoking(&[], 1)), "older"),
        (listed(&ca, &older), "older"),
    ] {
        let error = store.replace(URL, list).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    // An authentic list of another scope does not make this one vanish.
    let shard = ListParams {
        scope: ScopeParams {
            uri: Some("http://crl.test/shard"),
            ..ScopeParams::default()
        },
        ..revoking(&[], 9)
    };
    store.replace(URL, listed(&ca, &shard)).unwrap();
    assert!(reason(&store, &ca, &ca.leaf(5, &[])).is_some());
    assert_eq!(reason(&store, &ca, &ca.leaf(6, &[])), None);
    store.replace(URL, listed(&ca, &revoking(&[], 3))).unwrap();
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), None);
}

#[test]
fn the_copy_on_disk_is_used_after_a_restart_and_proven_again() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let wanted = settings(&[], &[URL]);
    let copies = folder.path().join("crl");
    source::write_copy(&copies, URL, &ca.list(&revoking(&[5], 2))).unwrap();
    let store = open(&wanted, (&ca, folder.path()), None).unwrap();
    let revoked = Some(Reason::ClientCertRevokedCrl);
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), revoked);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(source::copy_path(&copies, URL))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let foreign = Ca::new("ca").list(&revoking(&[], 3));
    source::write_copy(&copies, URL, &foreign).unwrap();
    let store = open(&wanted, (&ca, folder.path()), None).unwrap();
    let missing = Some(Reason::ClientCertCrlMissing);
    assert_eq!(reason(&store, &ca, &ca.leaf(5, &[])), missing);
}

/// Serves one body to everybody who asks for a path.
async fn serve(bodies: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = tcp.read(&mut asked).await.unwrap();
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            let path = asked.split(' ').nth(1).unwrap_or_default();
            let body = bodies.iter().find(|(at, _)| *at == path);
            let body = body.map_or(&[][..], |(_, body)| body);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = tcp.write_all(&[head.as_bytes(), body].concat()).await;
        }
    });
    address
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A list that is current when the test runs.
fn current(serials: &[u64]) -> ListParams {
    let now = UnixTime::now().as_secs().cast_signed();
    ListParams {
        this_update: now - HOUR,
        next_update: Some(now + HOUR),
        ..revoking(serials, 1)
    }
}

#[tokio::test]
async fn lists_are_fetched_from_addresses_and_from_those_that_verified_certificates_name() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let address = serve(vec![
        ("/broken", b"nonsense".to_vec()),
        ("/list", ca.list(&current(&[5]))),
    ])
    .await;
    let named = format!("{address}/list");
    let leaf = ca.leaf(5, &[&named]);
    let path = [PathCert::new(&leaf, ca.key()).unwrap()];
    let mut wanted = settings(&[], &[]);
    wanted.urls = vec![format!("{address}/broken")];
    wanted.cdp = true;
    let store = open(&wanted, (&ca, folder.path()), None).unwrap();
    keep_fresh(&store);
    until("the broken list is counted", || {
        store.stats().fetch_errors == 1
    })
    .await;
    let refused = store.check(&path, UnixTime::now()).unwrap_err();
    assert_eq!(refused.reason, Reason::ClientCertCrlMissing);
    until("the named list comes", || store.epoch() == 1).await;
    let refused = store.check(&path, UnixTime::now()).unwrap_err();
    assert_eq!(refused.reason, Reason::ClientCertRevokedCrl);
    until("a copy is kept", || {
        source::copy_path(&folder.path().join("crl"), &named).exists()
    })
    .await;
    let stats = store.stats();
    assert_eq!((stats.fetches, stats.lists.len()), (1, 1));
    assert_eq!(stats.lists[0].origin, named);
}

#[tokio::test]
async fn a_changed_file_is_noticed_and_a_store_nobody_holds_goes() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let path = folder.path().join("list");
    std::fs::write(&path, ca.list(&revoking(&[5], 1))).unwrap();
    let store = open(&settings(&[&path], &[]), (&ca, folder.path()), None).unwrap();
    keep_fresh(&store);
    keep_fresh(&store);
    let epoch = store.epoch();
    std::fs::write(&path, ca.list(&revoking(&[6, 7], 2))).unwrap();
    until("the change is noticed", || store.epoch() == epoch + 1).await;
    assert!(reason(&store, &ca, &ca.leaf(6, &[])).is_some());
    let weak = Arc::downgrade(&store);
    drop(store);
    until("the store goes", || weak.strong_count() == 0).await;
}

#[tokio::test]
async fn a_delta_is_fetched_from_where_its_list_says_and_lifts_a_hold() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let now = UnixTime::now().as_secs().cast_signed();
    let params = |number, base, reason| ListParams {
        number,
        base,
        entries: vec![(5, reason)],
        this_update: now - HOUR,
        next_update: Some(now + HOUR),
        ..ListParams::default()
    };
    let delta = serve(vec![("/delta", ca.list(&params(2, Some(1), 8)))]).await;
    let base = ListParams {
        freshest: Some(format!("{delta}/delta")),
        ..params(1, None, 6)
    };
    let address = serve(vec![("/list", ca.list(&base))]).await;
    let address = format!("{address}/list");
    let wanted = settings(&[], &[&address]);
    let store = open(&wanted, (&ca, folder.path()), None).unwrap();
    keep_fresh(&store);
    until("base and delta come", || store.epoch() == 2).await;
    let leaf = ca.leaf(5, &[]);
    let path = [PathCert::new(&leaf, ca.key()).unwrap()];
    assert_eq!(store.check(&path, UnixTime::now()), Ok(()));
    let findings = store.findings(&path, UnixTime::now());
    let says: Vec<&str> = findings[0].lists.iter().map(|it| &*it.says).collect();
    assert!(says.contains(&"no longer on hold"), "{says:?}");
}

/// What `openssl ca` makes, with a configuration as short as it takes.
fn openssl_list(ca: &Ca, folder: &Path) -> Option<Vec<u8>> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = ca.pems();
    std::fs::write(path("ca"), certificate).unwrap();
    std::fs::write(path("key"), key).unwrap();
    std::fs::write(path("number"), "10\n").unwrap();
    let index = "V\t350101000000Z\t\t06\tunknown\t/CN=six\n\
                 R\t350101000000Z\t240101000000Z,keyCompromise\t05\tunknown\t/CN=five\n\
                 R\t350101000000Z\t240101000000Z\t00B7E1\tunknown\t/CN=other\n";
    std::fs::write(path("index"), index).unwrap();
    let config = format!(
        "[ca]\ndefault_ca=x\n[x]\ndatabase={}\ncrlnumber={}\ndefault_md=sha256\n\
         default_crl_days=7\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n",
        path("index"),
        path("number")
    );
    std::fs::write(path("config"), config).unwrap();
    let made = std::process::Command::new("openssl")
        .args(["ca", "-gencrl", "-config", &path("config")])
        .args([
            "-cert",
            &path("ca"),
            "-keyfile",
            &path("key"),
            "-out",
            &path("list.pem"),
        ])
        .output()
        .ok()?;
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    Some(std::fs::read(path("list.pem")).unwrap())
}

#[test]
fn lists_of_openssl_and_rcgen_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new("ca");
    let Some(list) = openssl_list(&ca, folder.path()) else {
        eprintln!("SKIPPED lists_of_openssl_are_understood: no openssl (apt install openssl)");
        return;
    };
    let path = folder.path().join("list");
    for list in [list, ca.rcgen_list(5)] {
        std::fs::write(&path, list).unwrap();
        let store = open(&settings(&[&path], &[]), (&ca, folder.path()), None).unwrap();
        let status = |serial| {
            let leaf = ca.leaf(serial, &[]);
            let leaf = PathCert::new(&leaf, ca.key()).unwrap();
            let checked = store.check(&[leaf], UnixTime::now());
            checked.err().map(|refused| refused.detail)
        };
        assert!(status(5).unwrap().contains("keyCompromise"));
        assert_eq!(status(6), None);
        assert!(store.stats().lists[0].number.is_some());
    }
}

#[test]
fn the_certificates_of_a_verified_path_come_with_the_keys_of_their_issuers() {
    let root = Ca::new("root");
    let middle = root.below("middle", 77);
    let leaf = middle.leaf(1, &[]);
    let anchor_key = root.key();
    let path = PathCert::of_chain(&[&leaf, &middle.der], anchor_key).unwrap();
    let serials: Vec<_> = path
        .iter()
        .map(|it| crate::identity::hex(it.serial()))
        .collect();
    assert_eq!(serials, ["01", "4d"]);
    assert_eq!(path[0].issuer_key(), middle.key());
    assert_eq!(path[1].issuer_key(), root.key());
    assert_eq!(path[1].issuer_name(), root.anchor.subject.as_ref());
}
