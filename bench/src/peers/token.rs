//! The key of the `hsm` scenario: made in SoftHSM, behind a module that delays each signature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::pki::{public_key_of, write_file, write_secret};

use super::certificates::Certificates;
use super::kind::path_text;

const LABEL: &str = "bench";

/// Throw-away, like the token.
const PIN: &str = "471147";

/// How long a signature takes, in microseconds.
const DELAY_US: u32 = 2_000;

/// How many are made at the same time.
const ENGINES: u32 = 16;

/// A token with one P-256 key.
pub(super) struct Token {
    folder: PathBuf,
    module: PathBuf,
}

impl Token {
    /// Makes token, key and certificate in `folder` with the gateway's own command line.
    pub(super) fn make(
        folder: &Path,
        module: &Path,
        gateway: &Path,
        certificates: &Certificates,
    ) -> anyhow::Result<Self> {
        ensure!(
            module.is_file(),
            "{} is missing: build it (cargo build --release -p fault-module), or name it with \
             --fault-module",
            module.display()
        );
        let tokens = folder.join("tokens");
        fs::create_dir_all(&tokens).context("make the folder of the token")?;
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        write_file(&folder.join("softhsm2.conf"), &config)?;
        let faults = format!("delay_us = {DELAY_US}\nengines = {ENGINES}\n");
        write_file(&folder.join("faults"), &faults)?;
        write_secret(&folder.join("pin"), PIN)?;
        write_secret(&folder.join("so-pin"), PIN)?;
        let token = Self {
            folder: folder.to_owned(),
            module: module.to_owned(),
        };
        let label = [
            "--label",
            LABEL,
            "--so-pin",
            "file:so-pin",
            "--pin",
            "file:pin",
        ];
        token.hsm(gateway, "init", &label)?;
        let key = [
            "--token", LABEL, "--pin", "file:pin", "--kind", "p256", "--label", "server",
        ];
        token.hsm(gateway, "keygen", &key)?;
        let uri = token.uri();
        // Only a certificate carries the public key out; the CA certifies the same key below.
        let certificate = [
            "--key",
            &uri,
            "--name",
            "localhost",
            "--days",
            "1",
            "--pin",
            "file:pin",
            "--out",
            "self.pem",
        ];
        token.hsm(gateway, "selfsign", &certificate)?;
        let certificate = fs::read_to_string(folder.join("self.pem"))
            .context("read what portcullis hsm selfsign wrote")?;
        certificates.certify(&public_key_of(&certificate)?)?;
        Ok(token)
    }

    /// Its label.
    pub(super) fn label(&self) -> &'static str {
        LABEL
    }

    /// How many signatures it makes at the same time.
    pub(super) fn engines(&self) -> u32 {
        ENGINES
    }

    /// The PKCS#11 library.
    pub(super) fn module(&self) -> String {
        path_text(&self.module)
    }

    /// The file with the PIN.
    pub(super) fn pin_file(&self) -> String {
        path_text(&self.folder.join("pin"))
    }

    /// The key.
    pub(super) fn uri(&self) -> String {
        format!("pkcs11:token={LABEL};object=server;type=private")
    }

    /// The key, for peers that have no other place for the PIN.
    pub(super) fn uri_with_pin(&self) -> String {
        format!("{};pin-value={PIN}", self.uri())
    }

    /// What whoever loads the library must have in its environment.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| path_text(&self.folder.join(name));
        vec![
            ("SOFTHSM2_CONF", file("softhsm2.conf")),
            ("FAULT_SETTINGS", file("faults")),
            ("PKCS11_MODULE_PATH", self.module()),
        ]
    }

    fn hsm(&self, gateway: &Path, command: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut process = Command::new(gateway);
        process.args(["hsm", command, "--module"]).arg(&self.module);
        process.args(arguments).current_dir(&self.folder);
        process.envs(self.environment());
        let output = process
            .output()
            .with_context(|| format!("run {}", gateway.display()))?;
        let said = [output.stdout, output.stderr].concat();
        ensure!(
            output.status.success(),
            "portcullis hsm {command}: {}",
            String::from_utf8_lossy(&said).trim()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_refused_with_how_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(folder.path()).unwrap();
        let refused = Token::make(
            folder.path(),
            Path::new("/nowhere/libfault_module.so"),
            Path::new("/bin/true"),
            &certificates,
        );
        let told = refused.err().unwrap().to_string();
        assert!(told.contains("/nowhere/libfault_module.so"), "{told}");
        assert!(told.contains("-p fault-module"), "{told}");
    }
}
