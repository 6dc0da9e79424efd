//! Certificates of the run: one CA for servers, one for clients, and the servers' keys.

use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use portcullis_bench::pki::{Ca, Client, Leaf, write_file, write_secret};
use rcgen::{KeyPair, PublicKeyData as _, RsaKeySize};

use super::Token;

/// What the CA of clients is called, for forgeries.
pub(crate) const CLIENT_CA_NAME: &str = "Portcullis test clients";

static SERVER_CA: LazyLock<Ca> = LazyLock::new(|| {
    let root = Ca::root("Portcullis test servers").unwrap();
    root.intermediate("Portcullis test issuing").unwrap()
});
static CLIENT_CA: LazyLock<Ca> = LazyLock::new(|| Ca::root(CLIENT_CA_NAME).unwrap());

/// The CA, an intermediate one, that certifies the gateways of this run.
pub(crate) fn server_ca() -> &'static Ca {
    &SERVER_CA
}

/// The root that certifies the clients of this run.
pub(crate) fn client_ca() -> &'static Ca {
    &CLIENT_CA
}

/// A right client: SPIFFE ID `spiffe://test.portcullis/NAME`, DNS name `NAME.clients.test`, common name NAME.
pub(crate) fn client_leaf(name: &str) -> Leaf {
    let client = Client::new(name)
        .uri(&format!("spiffe://test.portcullis/{name}"))
        .and_then(|client| client.dns(&format!("{name}.clients.test")));
    client.unwrap().issued_by(client_ca()).unwrap()
}

/// The kind of a server key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    P256,
    P384,
    Rsa2048,
    Ed25519,
}

impl KeyKind {
    pub(crate) const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Rsa2048, Self::Ed25519];

    /// As `portcullis hsm keygen --kind` wants it; also the label of the key.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Rsa2048 => "rsa2048",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Where a gateway's keys are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keys {
    /// In files, which the configuration allows by name.
    Software,
    /// In the token of the run.
    Token(&'static Token),
}

impl Keys {
    /// Has a key certified for `hosts`; writes chain (and software key) into `folder` under names that begin
    /// with `stem`. Answers with the TOML of `certificate`.
    pub(super) fn certify(
        self,
        folder: &Path,
        stem: &str,
        kind: KeyKind,
        hosts: &[&str],
    ) -> String {
        let public_key = match self {
            Self::Software => software_key(kind).subject_public_key_info(),
            Self::Token(token) => token.public_key(kind),
        };
        let chain = server_ca().server_chain(hosts, &public_key).unwrap();
        let name = kind.name();
        write_file(&folder.join(format!("{stem}-{name}.pem")), &chain).unwrap();
        let key = match self {
            Self::Software => {
                let pem = software_key(kind).serialize_pem();
                write_secret(&folder.join(format!("{name}.key")), &pem).unwrap();
                software_uri(kind)
            }
            Self::Token(token) => token.key_uri(kind),
        };
        format!("{{ chain = '{stem}-{name}.pem', key = '{key}' }}")
    }
}

/// How the configuration names a software key.
pub(super) fn software_uri(kind: KeyKind) -> String {
    format!("file:{}.key", kind.name())
}

/// Made once per run: an RSA key takes a second.
fn software_key(kind: KeyKind) -> &'static KeyPair {
    static KEYS: [OnceLock<KeyPair>; 4] = [const { OnceLock::new() }; 4];
    KEYS[kind as usize].get_or_init(|| {
        let made = match kind {
            KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => {
                KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)
            }
            KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        made.unwrap()
    })
}
