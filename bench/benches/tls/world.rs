//! A gateway's configuration in force, its keys, and who speaks to it.

use std::path::{Path, PathBuf};

use portcullis::snapshot::{Snapshot, Standing};
use portcullis_bench::pki::{Ca, Client, Leaf, write_file, write_secret};
use portcullis_config::Config;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The gateway's own configuration in force, and who speaks to it.
pub(crate) struct World {
    /// Site 0 asks for no client certificate, site 1 demands one.
    pub(crate) snapshot: Snapshot,
    /// Clients trust it.
    pub(crate) roots: RootCertStore,
    /// A client of site 1, with one intermediate.
    pub(crate) client: Leaf,
    /// The certificate of the sites, for a server that is not ours.
    pub(crate) server: (Vec<CertificateDer<'static>>, String),
    /// Keeps ticket keys fresh; and for whoever waits.
    pub(crate) runtime: Runtime,
    folder: TempDir,
}

/// Names of the sites.
pub(crate) const OPEN: &str = "open.example.com";
pub(crate) const MUTUAL: &str = "mutual.example.com";

impl World {
    /// Makes keys and certificates, and loads them as the gateway does.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let key = KeyPair::generate()?;
        let server_ca = Ca::root("servers")?;
        let chain = server_ca.server_chain(&[OPEN, MUTUAL], &key.subject_public_key_info())?;
        write_file(&at("server.pem"), &chain)?;
        write_secret(&at("server.key"), &key.serialize_pem())?;
        let clients = Ca::root("clients")?;
        clients.write_trust(&at("clients.pem"))?;
        let client = Client::new("orders").uri("spiffe://example.com/ns/shop/sa/orders")?;
        let client = client.issued_by(&clients.intermediate("issuing")?)?;
        write_file(&at("portcullis.toml"), &configuration(folder.path()))?;
        let (config, _) = Config::load(&at("portcullis.toml"))?;
        let standing = Standing::open(&config)?;
        let built = Snapshot::build(&config, &standing, None);
        let snapshot = built.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(snapshot.resumption.resources.keys.begin())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server_ca.pem().as_bytes())?)?;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
        Ok(Self {
            snapshot,
            roots,
            client,
            server: (chain, key.serialize_pem()),
            runtime,
            folder,
        })
    }

    /// A file of the configuration's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn configuration(folder: &Path) -> String {
    let site = |name: &str, lines: &str| {
        format!(
            "[[site]]\nhosts = ['{name}']\nupstream = 'http://127.0.0.1:1'\n\
             certificate = {{ chain = 'server.pem', key = 'file:server.key' }}\n{lines}"
        )
    };
    let demand = "client_cert = { mode = 'require', trust = 'clients' }\n";
    format!(
        "state_dir = {folder:?}\n[keys]\nsoftware = ['file:server.key']\n[trust.clients]\nanchors = 'clients.pem'\n\
         [[listener]]\nbind = '127.0.0.1:0'\n{}{}",
        site(OPEN, ""),
        site(MUTUAL, demand)
    )
}

/// X25519 alone, as in the tables of docs/BENCHMARKS.md.
pub(crate) fn x25519() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..aws_lc_rs::default_provider()
    }
}
