//! Every kind of key that a token makes, and what is served with it.

use portcullis_hsm::generate::{keygen, selfsign};
use portcullis_hsm::{Extractable, HsmError, KeyKind, Provenance, Token};
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

/// Makes a key of every kind, and has each serve TLS 1.2 and 1.3; all is as it is `known`.
pub(crate) fn all_serve(token: &Token, known: &Known) {
    let mut served = Vec::new();
    for kind in ALL {
        match serve(token, kind, known.provenance) {
            Ok(()) => served.push(kind),
            Err(error) => eprintln!("{}: no {kind}: {error}", token.info().model),
        }
    }
    assert_eq!(served, known.kinds, "known of the versions of Debian 12");
}

/// An error where the module does not make such a key, or one that is of no use.
fn serve(token: &Token, kind: KeyKind, provenance: Provenance) -> Result<(), HsmError> {
    let info = keygen(token, kind, &kind.to_string(), None)?;
    assert_eq!((info.kind, info.provenance), (kind, provenance), "{info:?}");
    let key = token.key(&info.uri.parse()?, Extractable::Refuse)?;
    assert_eq!(key.info(), &info);
    let pem = selfsign(&key, &[handshake::NAME.to_owned()], 30)?;
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let certified = key.certify(vec![leaf])?;
    for version in [&TLS12, &TLS13] {
        handshake::complete(&certified, version)
            .unwrap_or_else(|error| panic!("{kind}, {version:?}: {error}"));
    }
    Ok(())
}
