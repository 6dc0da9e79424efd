//! Revocation lists: reading and indexing a large one, and asking about a path of two certificates.
//!
//! The memory a list takes is told on stderr before the benches run.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis::revocation::{CrlStore, PathCert};
use portcullis_config::{CrlScope, CrlSettings, Located, StalePolicy};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};

use common::is_brief;

mod common;

/// Of a large list; of a small one where nothing is measured.
fn entries() -> u64 {
    if is_brief() { 1_000 } else { 100_000 }
}

/// Opened to see how much memory one takes.
const STORES: usize = 10;

struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str, above: Option<&Ca>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = match above {
            Some(above) => params.signed_by(&key, &above.issuer),
            None => params.self_signed(&key),
        };
        let der = der.expect("a certificate").der().clone();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    fn anchor(&self) -> TrustAnchor<'_> {
        webpki::anchor_from_trusted_cert(&self.der).expect("an anchor")
    }

    /// Serial numbers of 16 bytes, as CAs give them.
    fn list(&self, entries: u64) -> Vec<u8> {
        let revoked = |at: u64| {
            let high = at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            RevokedCertParams {
                serial_number: SerialNumber::from([&high[..], &at.to_be_bytes()].concat()),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: Some(RevocationReason::Superseded),
                invalidity_date: None,
            }
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: (0..entries).map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.issuer)
            .expect("a list")
            .der()
            .to_vec()
    }
}

fn open(root: &Ca, files: &[&Path], folder: &Path) -> Arc<CrlStore> {
    let located = |path: &&Path| Located {
        value: path.to_path_buf(),
        span: 0..0,
    };
    let settings = CrlSettings {
        files: files.iter().map(located).collect(),
        urls: Vec::new(),
        cdp: false,
        stale: StalePolicy::Hard,
        refresh: Duration::from_secs(3600),
        check: Duration::from_secs(10),
        scope: CrlScope::Chain,
        max_size: 1 << 30,
        timeout: Duration::from_secs(10),
    };
    let opened = CrlStore::open(&settings, &[root.anchor().to_owned()], folder, None);
    opened.expect("the lists are read")
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_usize) * 4096
}

#[expect(clippy::print_stderr, reason = "a figure criterion has no place for")]
fn revocation(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for lists");
    let root = Ca::new("root", None);
    let middle = Ca::new("middle", Some(&root));
    let (upper, lower) = (folder.path().join("upper"), folder.path().join("lower"));
    let entries = entries();
    let large = root.list(entries);
    std::fs::write(&upper, &large).expect("the list is written");
    std::fs::write(&lower, middle.list(entries)).expect("the list is written");
    let length = large.len();
    drop(large);
    // The first ones take what making the list left behind.
    let first: Vec<_> = (0..STORES)
        .map(|_| open(&root, &[&upper], folder.path()))
        .collect();
    let before = resident_bytes();
    let second: Vec<_> = (0..STORES)
        .map(|_| open(&root, &[&upper], folder.path()))
        .collect();
    let more = resident_bytes().saturating_sub(before) / STORES;
    eprintln!("{entries} entries, {length} bytes of DER: {more} bytes resident");
    drop((first, second));
    criterion.bench_function("revocation/open_100k", |bencher| {
        bencher.iter(|| black_box(open(&root, &[&upper], folder.path())));
    });

    let store = open(&root, &[&upper, &lower], folder.path());
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::default().signed_by(&key, &middle.issuer);
    let leaf = leaf.expect("a certificate").der().clone();
    let (root_key, middle_key) = (root.anchor(), middle.anchor());
    let path = || {
        [
            PathCert::new(&leaf, middle_key.subject_public_key_info.as_ref()).expect("a leaf"),
            PathCert::new(&middle.der, root_key.subject_public_key_info.as_ref()).expect("a CA"),
        ]
    };
    let now = UnixTime::now();
    criterion.bench_function("revocation/path_of_two", |bencher| {
        bencher.iter(|| black_box(path()));
    });
    let path = path();
    criterion.bench_function("revocation/check_of_two", |bencher| {
        bencher.iter(|| black_box(store.check(&path, now)).is_ok());
    });
}

criterion_group!(benches, revocation);
criterion_main!(benches);
