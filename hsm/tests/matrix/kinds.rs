//! Every kind of key that a token makes, and what is served with it.

use portcullis_hsm::generate::{keygen, selfsign};
use portcullis_hsm::{Extractable, Key, KeyKind, Provenance, Token};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};

use crate::handshake;

pub(crate) const P256: KeyKind = KeyKind::EcdsaP256;
pub(crate) const P384: KeyKind = KeyKind::EcdsaP384;
pub(crate) const P521: KeyKind = KeyKind::EcdsaP521;
pub(crate) const RSA_2048: KeyKind = KeyKind::Rsa { bits: 2048 };
pub(crate) const RSA_3072: KeyKind = KeyKind::Rsa { bits: 3072 };
pub(crate) const ED25519: KeyKind = KeyKind::Ed25519;

const ALL: [KeyKind; 6] = [P256, P384, P521, RSA_2048, RSA_3072, ED25519];

/// What a module is known to do.
pub(crate) struct Known {
    /// The kinds of key it makes.
    pub(crate) kinds: &'static [KeyKind],
    /// What it tells of a key that it made.
    pub(crate) provenance: Provenance,
}

/// Makes a key of every kind, and has each that was made serve TLS 1.2 and 1.3; all is as it is `known`.
pub(crate) fn all_serve(token: &Token, known: &Known) {
    let mut served = Vec::new();
    for kind in ALL {
        let info = match keygen(token, kind, &kind.to_string(), None) {
            Ok(info) => info,
            Err(error) => {
                eprintln!("{}: no {kind}: {error}", token.info().model);
                continue;
            }
        };
        assert_eq!(info.kind, kind);
        assert_eq!(info.provenance, known.provenance, "{info:?}");
        let uri = info.uri.parse().unwrap();
        let key = token.key(&uri, Extractable::Refuse).unwrap();
        assert_eq!(key.info(), &info);
        serves(&key);
        served.push(kind);
    }
    assert_eq!(served, known.kinds);
    let stats = token.stats();
    assert_eq!(stats.errors, 0, "{stats:?}");
}

fn serves(key: &Key) {
    let pem = selfsign(key, &[handshake::NAME.to_owned()], 30).unwrap();
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let certified = key.certify(vec![leaf]).unwrap();
    for version in [&TLS12, &TLS13] {
        handshake::complete(&certified, version)
            .unwrap_or_else(|error| panic!("{}, {version:?}: {error}", key.info().kind));
    }
}
