//! Fresh certificates for one comparison: equal for all peers, gone with it.

use std::path::{Path, PathBuf};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};

use crate::load::Identity;
use crate::pki::{Ca, Client, write_file, write_secret};

use super::kind::path_text;

/// Names every server certificate has.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

/// A CA, a server of each kind of key, and a client, as files.
pub(super) struct Certificates {
    folder: PathBuf,
    ca: Ca,
    client: Identity,
}

impl Certificates {
    /// Makes them in this folder: `NAME.crt`, `NAME.key`, and `NAME.pem` with both.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let ca = Ca::root("Portcullis bench CA")?;
        write_file(&folder.join("ca.crt"), ca.pem())?;
        // Some peers want a file of further certificates, which there are none of.
        write_file(&folder.join("empty.crt"), "")?;
        let keys = [
            ("ecdsa", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?),
            (
                "rsa",
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
            ),
        ];
        for (name, key) in keys {
            let chain = ca.server_chain(&HOSTS, &key.subject_public_key_info())?;
            let key = key.serialize_pem();
            write_file(&folder.join(format!("{name}.crt")), &chain)?;
            write_secret(&folder.join(format!("{name}.key")), &key)?;
            write_secret(
                &folder.join(format!("{name}.pem")),
                &format!("{key}{chain}"),
            )?;
        }
        let files = Client::new("bench client")
            .issued_by(&ca)?
            .write(folder, "client")?;
        Ok(Self {
            folder: folder.to_owned(),
            client: Identity::read(&files.chain, &files.key)?,
            ca,
        })
    }

    /// Certifies a key that is in a token, as `token.crt`.
    pub(super) fn certify(&self, public_key: &[u8]) -> anyhow::Result<()> {
        let chain = self.ca.server_chain(&HOSTS, public_key)?;
        write_file(&self.folder.join("token.crt"), &chain)
    }

    /// The path of a file.
    pub(super) fn file(&self, name: &str, kind: &str) -> String {
        path_text(&self.folder.join(format!("{name}.{kind}")))
    }

    /// The folder they are in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The client.
    pub(super) fn client(&self) -> &Identity {
        &self.client
    }
}
