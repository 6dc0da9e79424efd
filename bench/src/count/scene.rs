//! What is counted, and the certificates it takes.

use std::path::Path;

use rcgen::{KeyPair, PublicKeyData as _};

use crate::pki::{Ca, Client, Leaf, write_file, write_secret};

/// Host of the site that asks for no client certificate.
pub(super) const OPEN: &str = "open.example.com";
/// Host of the site that demands one.
pub(super) const MUTUAL: &str = "mutual.example.com";

/// One thing a client does again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A full TLS 1.3 handshake, from accept to close.
    Full,
    /// A full one with a client certificate.
    FullMutual,
    /// A resumed TLS 1.3 handshake.
    Resumed,
    /// A resumed one of a client with a certificate.
    ResumedMutual,
    /// A GET over a standing HTTP/1.1 connection, 1 KiB back.
    Http1,
    /// The same over HTTP/2.
    Http2,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::FullMutual,
        Self::Resumed,
        Self::ResumedMutual,
        Self::Http1,
        Self::Http2,
    ];

    /// As it stands in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::FullMutual => "full-mtls",
            Self::Resumed => "resumed",
            Self::ResumedMutual => "resumed-mtls",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
        }
    }

    /// The scene of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scene| scene.name() == name)
    }

    /// Units of the two series whose difference is taken.
    pub(super) fn units(self) -> (usize, usize) {
        match self {
            Self::Http1 | Self::Http2 => (50, 450),
            _ => (5, 45),
        }
    }

    /// The host it asks for.
    pub(super) fn host(self) -> &'static str {
        match self {
            Self::FullMutual | Self::ResumedMutual => MUTUAL,
            _ => OPEN,
        }
    }
}

/// Keys and certificates of a run.
pub(super) struct Pki {
    /// Clients trust it.
    pub(super) server_ca: Ca,
    /// A client of [`MUTUAL`], with one intermediate.
    pub(super) client: Leaf,
    client_ca: Ca,
    chain: String,
    key: KeyPair,
}

impl Pki {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let server_ca = Ca::root("servers")?;
        let chain = server_ca.server_chain(&[OPEN, MUTUAL], &key.subject_public_key_info())?;
        let client_ca = Ca::root("clients")?;
        let client = Client::new("orders").uri("spiffe://example.com/ns/shop/sa/orders")?;
        let client = client.issued_by(&client_ca.intermediate("issuing")?)?;
        Ok(Self {
            server_ca,
            client,
            client_ca,
            chain,
            key,
        })
    }

    /// Writes what the gateway's configuration names.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        write_file(&folder.join("server.pem"), &self.chain)?;
        write_secret(&folder.join("server.key"), &self.key.serialize_pem())?;
        self.client_ca.write_trust(&folder.join("clients.pem"))
    }
}
