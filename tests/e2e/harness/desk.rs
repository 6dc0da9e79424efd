//! Where `portcullis hsm` is tried: a token store of its own, and the programs that read it.

use std::fs;
use std::path::PathBuf;

use portcullis_bench::pki::{write_file, write_secret};
use serde_json::Value;
use tokio::process::Command;

use super::tools::{Said, run};
use super::{SHIM, Token};

const PIN: &str = "471147";

/// A token store of its own, and a folder to work in.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let conf = format!(
            "directories.tokendir = {}\nlog.level = ERROR\n",
            tokens.display()
        );
        write_file(&folder.path().join("softhsm2.conf"), &conf).unwrap();
        write_secret(&folder.path().join("pin"), &format!("{PIN}\n")).unwrap();
        write_secret(&folder.path().join("so-pin"), "08154711\n").unwrap();
        write_secret(&folder.path().join("wrong"), "174711\n").unwrap();
        Self { folder }
    }

    /// With the token `edge`.
    pub(crate) async fn new() -> Self {
        let desk = Self::empty();
        let made = desk.done("init --label edge --so-pin file:so-pin").await;
        assert_eq!(made["token"]["label"], "edge");
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program in the folder.
    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) -> Said {
        self.typed(program, arguments, "").await
    }

    /// The same, with what it reads.
    pub(crate) async fn typed(&self, program: &str, arguments: &[&str], input: &str) -> Said {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("HOME", self.folder.path());
        run(command, input).await
    }

    /// `portcullis hsm WORDS`, with the right PIN unless another source is among the words.
    pub(crate) async fn hsm(&self, words: &str) -> Said {
        let module = Token::shared().module().display().to_string();
        let mut arguments = vec!["hsm"];
        arguments.extend(words.split_whitespace());
        if !["modules", "status"].contains(&arguments[1]) {
            arguments.extend(["--module", &module]);
            if !words.contains("--pin") {
                arguments.extend(["--pin", "file:pin"]);
            }
        }
        let said = self.run(SHIM, &arguments).await;
        for pin in [PIN, "174711", "08154711"] {
            let told = format!("{}{}", said.stdout, said.stderr);
            assert!(!told.contains(pin), "{words} tells a PIN: {told}");
        }
        said
    }

    /// How it ends, and its JSON.
    pub(crate) async fn json(&self, words: &str) -> (Option<i32>, Value) {
        let said = self.hsm(&format!("{words} --output json")).await;
        let value = serde_json::from_str(&said.stdout).unwrap_or(Value::Null);
        (said.status.code(), value)
    }

    /// The JSON of a command that must succeed, and tell what comes next.
    pub(crate) async fn done(&self, words: &str) -> Value {
        let said = self.hsm(&format!("{words} --output json")).await;
        assert!(said.status.success(), "hsm {words}: {said:?}");
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        let next = value["next"].as_array().unwrap();
        assert!(!next.is_empty(), "hsm {words} tells no next step: {value}");
        value
    }

    pub(crate) async fn openssl(&self, words: &str) -> String {
        let arguments: Vec<_> = words.split_whitespace().collect();
        let said = self.run("openssl", &arguments).await;
        assert!(said.status.success(), "openssl {words}: {said:?}");
        said.stdout
    }

    pub(crate) async fn pkcs11_tool(&self, words: &str) -> String {
        let module = Token::shared().module().display().to_string();
        let mut arguments = vec!["--module", &module, "--token-label", "edge"];
        arguments.extend(["--login", "--pin", PIN]);
        arguments.extend(words.split_whitespace());
        let said = self.run("pkcs11-tool", &arguments).await;
        assert!(said.status.success(), "pkcs11-tool {words}: {said:?}");
        said.stdout
    }
}

/// A URI, path or message among the JSON.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
