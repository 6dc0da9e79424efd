//! The server's key: in a SoftHSM token of the demo's own, made with the gateway's command line.
//!
//! Only where no SoftHSM is installed the key is a file, and the demo says so in large letters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use aws_lc_rs::rand;
use rcgen::{KeyPair, PublicKeyData as _};

use crate::pki;

use super::Settings;

/// Label of the token, as in the key's URI.
const TOKEN: &str = "demo";

/// The key, as the configuration names it.
pub(super) const KEY_URI: &str = "pkcs11:token=demo;object=server;type=private";

/// Where distributions put SoftHSM.
const MODULES: [&str; 7] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/opt/softhsm/lib/softhsm/libsofthsm2.so",
];

/// Where the server's key is, and its public part.
#[derive(Debug)]
pub(super) struct ServerKey {
    pub(super) place: Place,
    /// DER SubjectPublicKeyInfo.
    pub(super) public_key: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Place {
    /// In a token of this module; `config` is what SOFTHSM2_CONF must say.
    Token { module: PathBuf, config: PathBuf },
    /// In `server.key`.
    File,
}

/// Makes the key. `SOFTHSM2_MODULE` names the module where it is in none of the usual places; set
/// but empty, it says that there is none.
pub(super) fn server_key(settings: &Settings) -> anyhow::Result<ServerKey> {
    match module()? {
        Some(module) => in_token(settings, module),
        None => in_file(&settings.folder),
    }
}

fn module() -> anyhow::Result<Option<PathBuf>> {
    let Some(named) = std::env::var_os("SOFTHSM2_MODULE") else {
        let usual = MODULES.iter().map(PathBuf::from);
        return Ok(usual.into_iter().find(|path| path.exists()));
    };
    let named = PathBuf::from(named);
    if named.as_os_str().is_empty() {
        return Ok(None);
    }
    // A slip of the pen must not end in a software key.
    ensure!(
        named.exists(),
        "SOFTHSM2_MODULE: {} does not exist",
        named.display()
    );
    Ok(Some(named))
}

fn in_token(settings: &Settings, module: PathBuf) -> anyhow::Result<ServerKey> {
    let folder = &settings.folder;
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens).context("make the folder of the token")?;
    let config = folder.join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    pki::write_file(&config, &text)?;
    for name in ["pin", "so-pin"] {
        pki::write_secret(&folder.join(name), &random_pin()?)?;
    }

    let hsm = |command: &str, arguments: &[&str]| {
        let mut process = Command::new(&settings.program);
        process.args(["hsm", command, "--module"]).arg(&module);
        process.args(arguments).current_dir(folder);
        run(process.env("SOFTHSM2_CONF", &config))
    };
    let so_pin = [
        "--label",
        TOKEN,
        "--so-pin",
        "file:so-pin",
        "--pin",
        "file:pin",
    ];
    hsm("init", &so_pin)?;
    let login = ["--token", TOKEN, "--pin", "file:pin"];
    hsm(
        "keygen",
        &[&login[..], &["--kind", "p256", "--label", "server"]].concat(),
    )?;
    // Only a certificate carries the public key out; the CA certifies the same key below.
    let certificate = ["--key", KEY_URI, "--name", "localhost", "--days", "1"];
    let out = ["--pin", "file:pin", "--out", "server-self.pem"];
    hsm("selfsign", &[&certificate[..], &out[..]].concat())?;
    let certificate = fs::read_to_string(folder.join("server-self.pem"))
        .context("read what portcullis hsm selfsign wrote")?;
    let public_key = pki::public_key_of(&certificate)?;
    Ok(ServerKey {
        place: Place::Token { module, config },
        public_key,
    })
}

fn in_file(folder: &Path) -> anyhow::Result<ServerKey> {
    let key = KeyPair::generate()?;
    pki::write_secret(&folder.join("server.key"), &key.serialize_pem())?;
    Ok(ServerKey {
        place: Place::File,
        public_key: key.subject_public_key_info(),
    })
}

/// Sixteen decimal digits: PINs of some tokens may have nothing else. One byte each, so 0 to 5 come
/// up a little more often; 51 bits remain.
fn random_pin() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)
        .ok()
        .context("the random generator failed")?;
    Ok(bytes
        .map(|byte| char::from(b'0' + byte % 10))
        .iter()
        .collect())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.success(),
        "{command:?} failed ({}): {said}",
        output.status
    );
    Ok(())
}
