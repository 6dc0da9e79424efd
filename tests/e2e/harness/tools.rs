//! Other people's clients: curl and openssl, with a deadline.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use portcullis_bench::pki::write_file;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{Gateway, SHIM, Token, server_ca, within};

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Gateway {
    /// `curl ARGUMENTS https://localhost:PORT/PATH`, trusting the CA of this run.
    pub(crate) async fn curl(&self, arguments: &[&str], path: &str) -> Said {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--cacert"]);
        command.arg(self.server_trust()).args(arguments);
        command.arg(self.url() + path);
        run(command, "").await
    }

    /// `openssl s_client ARGUMENTS -connect ADDRESS`, with `input` as what it sends.
    pub(crate) async fn s_client(&self, arguments: &[&str], input: &str) -> Said {
        self.s_client_with(arguments, input, None).await
    }

    /// The same, under another `openssl.cnf`.
    pub(crate) async fn s_client_with(
        &self,
        arguments: &[&str],
        input: &str,
        conf: Option<&Path>,
    ) -> Said {
        let mut command = Command::new("openssl");
        let address = self.address().to_string();
        if let Some(conf) = conf {
            command.env("OPENSSL_CONF", conf);
        }
        command.args(["s_client", "-connect", &address, "-CAfile"]);
        command.arg(self.server_trust()).args(arguments);
        run(command, input).await
    }

    /// `portcullis tickets ...` as an operator does it beside the gateway: with its configuration, and the token.
    pub(crate) async fn tickets(&self, words: &[&str]) -> Said {
        let mut command = Command::new(SHIM);
        command.arg("tickets").args(words);
        command.args(["--config", "portcullis.toml"]);
        command.env("SOFTHSM2_CONF", Token::shared().conf());
        command.current_dir(self.folder());
        run(command, "").await
    }

    fn server_trust(&self) -> std::path::PathBuf {
        let path = self.folder().join("server-root.pem");
        write_file(&path, server_ca().root_pem()).unwrap();
        path
    }
}

/// Whether a program is installed.
pub(crate) async fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .await;
    found.is_ok_and(|output| output.status.success())
}

/// Runs a program to its end.
pub(crate) async fn run(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).kill_on_drop(true);
    let program = Path::new(command.as_std().get_program())
        .display()
        .to_string();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    // A program that ended early reads nothing, which its output explains better.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = within(&program, child.wait_with_output()).await.unwrap();
    Said {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
