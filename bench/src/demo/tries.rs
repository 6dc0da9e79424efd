//! The curl lines of the demo: each is shown with what it must do, and `--check` holds it to that.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::token::{Place, ServerKey};
use super::{Settings, say};

/// Longest time one curl may take.
const SECONDS: &str = "15";

/// What must happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// This status, whatever the body.
    Status(u16),
    /// 200, and the echoed request carries the identity of the client.
    Identity,
    /// No HTTP answer: the handshake fails.
    Refused,
}

/// One line to try.
struct Try {
    title: &'static str,
    /// Which client certificate, by file name.
    client: Option<&'static str>,
    options: &'static [&'static str],
    path: &'static str,
    outcome: Outcome,
}

const TRIES: [Try; 9] = [
    Try {
        title: "orders may see orders: 200, with the identity the gateway proved",
        client: Some("orders"),
        options: &[],
        path: "/orders/1",
        outcome: Outcome::Identity,
    },
    Try {
        title: "the same over HTTP/2",
        client: Some("orders"),
        options: &["--http2"],
        path: "/orders/1",
        outcome: Outcome::Identity,
    },
    Try {
        title: "the same over HTTP/1.1",
        client: Some("orders"),
        options: &["--http1.1"],
        path: "/orders/1",
        outcome: Outcome::Identity,
    },
    Try {
        title: "the same over TLS 1.2",
        client: Some("orders"),
        options: &["--tls-max", "1.2"],
        path: "/orders/1",
        outcome: Outcome::Identity,
    },
    Try {
        title: "orders may not see users: 403, for no rule allows it",
        client: Some("orders"),
        options: &[],
        path: "/users",
        outcome: Outcome::Status(403),
    },
    Try {
        title: "no certificate: refused in the handshake",
        client: None,
        options: &[],
        path: "/orders/1",
        outcome: Outcome::Refused,
    },
    Try {
        title: "no certificate, TLS 1.2: refused in the handshake",
        client: None,
        options: &["--tls-max", "1.2"],
        path: "/orders/1",
        outcome: Outcome::Refused,
    },
    Try {
        title: "a stranger, whose CA nobody trusts: refused in the handshake",
        client: Some("stranger"),
        options: &[],
        path: "/orders/1",
        outcome: Outcome::Refused,
    },
    Try {
        title: "an expired certificate: refused in the handshake",
        client: Some("expired"),
        options: &[],
        path: "/orders/1",
        outcome: Outcome::Refused,
    },
];

impl Try {
    /// What curl is called with.
    fn arguments(&self, folder: &Path, port: u16) -> Vec<String> {
        let file = |name: &str| folder.join(name).display().to_string();
        let mut arguments = vec!["-sS".to_owned(), "--cacert".to_owned(), file("ca.pem")];
        if let Some(client) = self.client {
            arguments.extend(["--cert".to_owned(), file(&format!("{client}.pem"))]);
            arguments.extend(["--key".to_owned(), file(&format!("{client}.key"))]);
        }
        arguments.extend(self.options.iter().map(|&option| option.to_owned()));
        arguments.push(format!("https://localhost:{port}{}", self.path));
        arguments
    }
}

/// The text shown when everything runs.
pub(super) fn describe(settings: &Settings, key: &ServerKey) -> String {
    // Shorter lines to copy, where the demo is run from the repository.
    let here = std::env::current_dir().unwrap_or_default();
    let folder = settings
        .folder
        .strip_prefix(&here)
        .unwrap_or(&settings.folder);
    let (port, admin) = (settings.https.port(), settings.admin);
    let mut text = String::from("\n");
    // Writing to a String cannot fail.
    let _ = match &key.place {
        Place::Token { module, .. } => writeln!(
            text,
            "Portcullis runs. Its key was made in a SoftHSM token ({}) and cannot leave it.",
            module.display()
        ),
        Place::File => writeln!(text, "Portcullis runs, with its key in a plain file."),
    };
    for one in &TRIES {
        let line = one.arguments(folder, port).join(" ");
        let _ = writeln!(text, "\n# {}\ncurl {line}", one.title);
    }
    let _ = writeln!(
        text,
        "\n# what the gateway counts\ncurl -s http://{admin}/metrics"
    );
    let _ = write!(
        text,
        "\nRefusals are logged here with their reason. Ctrl-C ends the demo.\n"
    );
    text
}

/// Runs every line and compares.
pub(super) async fn check(settings: &Settings) -> anyhow::Result<()> {
    let mut failed = 0;
    for one in &TRIES {
        let output = Command::new("curl")
            .args(["--max-time", SECONDS, "-w", "\nstatus %{http_code}\n"])
            .args(one.arguments(&settings.folder, settings.https.port()))
            .output()
            .await
            .context("run curl, which must be installed")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let right = match one.outcome {
            Outcome::Status(status) => said.contains(&format!("\nstatus {status}\n")),
            Outcome::Identity => {
                said.contains("\nstatus 200\n") && said.contains("spiffe://demo.portcullis/orders")
            }
            // A time-out is no answer either, but not a refusal.
            Outcome::Refused => said.contains("\nstatus 000\n") && output.status.code() != Some(28),
        };
        say(&format!(
            "{}: {}",
            if right { "ok" } else { "WRONG" },
            one.title
        ));
        if !right {
            failed += 1;
            say(&format!(
                "{said}{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    ensure!(
        failed == 0,
        "{failed} of {} lines did not do what they must",
        TRIES.len()
    );
    Ok(())
}
