//! Tokens of a test's own that hold one key, certified for `localhost`; twins of them; a signer in front of one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portcullis_bench::pki::{write_file, write_secret};
use rcgen::{KeyPair, PublicKeyData as _};

use super::{Desk, GatewayBuilder, SHIM, Site, Token, server_ca, until};

/// A token of its own, `edge`, with the P-256 key `api`, which was imported.
pub(crate) struct Vault {
    desk: Desk,
    key: KeyPair,
}

impl Vault {
    /// With a fresh key.
    pub(crate) async fn new() -> Self {
        Self::in_token_of(Desk::new().await).await
    }

    /// With a fresh key, in the token that a desk has already.
    pub(crate) async fn in_token_of(desk: Desk) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self::holding(desk, key).await
    }

    /// Another token, in a store of its own, with the same key.
    pub(crate) async fn twin(&self) -> Self {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        Self::holding(Desk::new().await, key).await
    }

    async fn holding(desk: Desk, key: KeyPair) -> Self {
        write_secret(&desk.path("api.key"), &key.serialize_pem()).unwrap();
        desk.done("import --key-file api.key --label api").await;
        let public_key = key.subject_public_key_info();
        let chain = server_ca().server_chain(&["localhost"], &public_key);
        write_file(&desk.path("chain.pem"), &chain.unwrap()).unwrap();
        Self { desk, key }
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// For `SOFTHSM2_CONF`.
    pub(crate) fn conf(&self) -> PathBuf {
        self.desk.path("softhsm2.conf")
    }

    /// `[hsm.NAME]` for this token behind `module`, with more keys.
    pub(crate) fn hsm(&self, name: &str, module: &Path, lines: &str) -> String {
        let (module, pin) = (module.display(), self.desk.path("pin"));
        let pin = pin.display();
        format!("[hsm.{name}]\nmodule = '{module}'\ntoken = 'edge'\npin = 'file:{pin}'\n{lines}\n")
    }

    /// The site `localhost` with the key `api`, which `hsm`, a token or a group, holds.
    pub(crate) fn site(&self, hsm: &str) -> Site {
        let chain = self.desk.path("chain.pem");
        self.site_of(&format!(
            "{{ chain = '{}', key = 'pkcs11:object=api;type=private', hsm = '{hsm}' }}",
            chain.display()
        ))
    }

    /// The site `localhost` with another certificate of this token.
    pub(crate) fn site_of(&self, certificate: &str) -> Site {
        Site::new("localhost").certificate(certificate)
    }

    /// A gateway that finds this store, and remembers refused PINs beside it.
    pub(crate) fn steer(&self, builder: GatewayBuilder) -> GatewayBuilder {
        let state = self.desk.path("state");
        builder
            .top(&format!("state_dir = '{}'", state.display()))
            .env("SOFTHSM2_CONF", self.conf())
    }
}

/// `portcullis hsm serve` for a vault: a token that no fault of the gateway's own process reaches.
pub(crate) struct Signer {
    child: Child,
    socket: PathBuf,
}

impl Signer {
    /// Listens when this returns.
    pub(crate) async fn start(vault: &Vault) -> Self {
        let desk = vault.desk();
        let socket = desk.path("signer.sock");
        let child = Command::new(SHIM)
            .args(["hsm", "serve", "--token", "edge", "--pin", "file:pin"])
            .args(["--state-dir", "state", "--socket", "signer.sock"])
            .arg("--module")
            .arg(Token::shared().module())
            .current_dir(desk.path(""))
            .env("SOFTHSM2_CONF", vault.conf())
            .stdin(Stdio::null())
            .stderr(File::create(desk.path("signer.log")).unwrap())
            .spawn()
            .unwrap();
        let signer = Self { child, socket };
        until("the signer listens", async || {
            std::os::unix::net::UnixStream::connect(&signer.socket).ok()
        })
        .await;
        signer
    }

    /// `[hsm.NAME]` for it, with more keys.
    pub(crate) fn hsm(&self, name: &str, lines: &str) -> String {
        format!(
            "[hsm.{name}]\nsigner = '{}'\n{lines}\n",
            self.socket.display()
        )
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended.
        let _ = self.child.wait();
    }
}
