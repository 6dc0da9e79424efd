//! The SoftHSM token of this run, made once with the gateway's own command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use portcullis_bench::pki::{public_key_of, write_file, write_secret};

use super::KeyKind;
use super::process::SHIM;

/// Label of the token.
pub(crate) const LABEL: &str = "e2e";

/// Label of the secret that ticket keys can be derived from.
pub(crate) const ROOT: &str = "ticket-root";

const SOFTHSM: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A token with one key of each [`KeyKind`], labelled with the kind's name, and a secret [`ROOT`].
#[derive(Debug)]
pub(crate) struct Token {
    folder: PathBuf,
    module: PathBuf,
    /// DER SubjectPublicKeyInfo of each kind, in the order of [`KeyKind::ALL`].
    public_keys: Vec<Vec<u8>>,
}

impl Token {
    /// The token, made by the first test that asks.
    pub(crate) fn shared() -> &'static Self {
        static TOKEN: OnceLock<Token> = OnceLock::new();
        TOKEN.get_or_init(Self::make)
    }

    /// The PKCS#11 library.
    pub(crate) fn module(&self) -> &Path {
        &self.module
    }

    /// For the environment variable `SOFTHSM2_CONF` of whoever loads the module.
    pub(crate) fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The file with the user PIN.
    pub(crate) fn pin(&self) -> PathBuf {
        self.folder.join("pin")
    }

    /// URI of the key of this kind.
    pub(crate) fn key_uri(&self, kind: KeyKind) -> String {
        format!("pkcs11:token={LABEL};object={};type=private", kind.name())
    }

    pub(crate) fn public_key(&self, kind: KeyKind) -> Vec<u8> {
        self.public_keys[kind as usize].clone()
    }

    fn make() -> Self {
        let module = SOFTHSM.iter().map(PathBuf::from).find(|path| path.exists());
        let module = module.expect("SoftHSM is installed (apt install softhsm2)");
        // Not a temporary folder: what a static holds is never dropped. The next run cleans up.
        let run = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        remove_stale(&run);
        let folder = run.join(format!("softhsm-{}", std::process::id()));
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let tokens = folder.join("tokens");
        let conf = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        write_file(&folder.join("softhsm2.conf"), &conf).unwrap();
        write_secret(&folder.join("pin"), "471147\n").unwrap();
        write_secret(&folder.join("so-pin"), "08154711\n").unwrap();
        let mut token = Self {
            folder,
            module,
            public_keys: Vec::new(),
        };
        token.hsm("init --label e2e --so-pin file:so-pin");
        for kind in KeyKind::ALL {
            let name = kind.name();
            token.hsm(&format!(
                "keygen --token {LABEL} --kind {name} --label {name}"
            ));
            let uri = token.key_uri(kind);
            token.hsm(&format!(
                "selfsign --token {LABEL} --key {uri} --name localhost --out {name}.pem"
            ));
            let pem = fs::read_to_string(token.folder.join(format!("{name}.pem"))).unwrap();
            token.public_keys.push(public_key_of(&pem).unwrap());
        }
        token.hsm(&format!(
            "keygen --token {LABEL} --kind secret --label {ROOT}"
        ));
        token
    }

    /// Runs `portcullis hsm ...` against the token.
    pub(crate) fn hsm(&self, arguments: &str) {
        let output = Command::new(SHIM)
            .arg("hsm")
            .args(arguments.split_whitespace())
            .args(["--pin", "file:pin", "--module"])
            .arg(&self.module)
            .env("SOFTHSM2_CONF", self.conf())
            .current_dir(&self.folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "hsm {arguments}: {said}");
    }
}

/// Removes the tokens of runs that ended.
fn remove_stale(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("softhsm-"));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path()); // Another run may do the same.
        }
    }
}
