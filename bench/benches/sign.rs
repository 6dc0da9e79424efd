//! Signatures: a software key inline, and a token's key through the queue and a session thread.
//!
//! The token half runs where `PORTCULLIS_BENCH_KEY` names a key (`pkcs11:token=…;object=…`),
//! `PORTCULLIS_BENCH_MODULE` the module and `PORTCULLIS_BENCH_PIN` the file of the PIN.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{Criterion, criterion_group, criterion_main};
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{Extractable, Key, PinSource, Sessions, Token, TokenSelect, TokenSettings};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::SignatureScheme::ECDSA_NISTP256_SHA256;

fn bench_key(criterion: &mut Criterion, name: &str, key: &Key) {
    let signer = key
        .signing_key()
        .choose_scheme(&[ECDSA_NISTP256_SHA256])
        .expect("a P-256 key");
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| black_box(signer.sign(b"the transcript of a handshake")));
    });
}

fn software(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for the key");
    let file = folder.path().join("key.pem");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    std::fs::write(&file, key.serialize_pem()).expect("the key is written");
    bench_key(
        criterion,
        "sign/software-p256",
        &Key::software(&file).expect("the key is read"),
    );
}

fn token(criterion: &mut Criterion) {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(uri), Some(module), Some(pin)) = (
        variable("PORTCULLIS_BENCH_KEY"),
        variable("PORTCULLIS_BENCH_MODULE"),
        variable("PORTCULLIS_BENCH_PIN"),
    ) else {
        return;
    };
    let uri: Pkcs11Uri = uri.parse().expect("PORTCULLIS_BENCH_KEY is a PKCS#11 URI");
    let select = TokenSelect::Label(uri.token().unwrap_or_default().into());
    let mut settings = TokenSettings::new("bench", module.as_ref(), select);
    settings.pin = Some(PinSource::File(pin.into()));
    settings.sessions = Sessions::Count(NonZeroUsize::MIN);
    let token = Token::open(settings).expect("the token opens");
    bench_key(
        criterion,
        "sign/token-p256",
        &token
            .key(&uri, Extractable::Allow)
            .expect("the key is there"),
    );
    drop(token);
    portcullis_hsm::join_closed_tokens();
}

criterion_group!(benches, software, token);
criterion_main!(benches);
