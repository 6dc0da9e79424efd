//! What ails a token: brought about for real, and ended again.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::harness::{Gateway, GatewayBuilder, Token, Vault, until};
use crate::hsm_faults::{Faults, module};

const P11_KIT_CLIENT: &str = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so";

/// Short, so that what hangs is known as hung within a test; two sessions, so that few calls take them all.
const BOUNDS: &str = "sessions = 2\nhang_timeout = '250ms'\nmax_hung = 4\ndeadline = '800ms'";

/// An outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The token is behind a p11-kit server, which is killed and started again.
    ServerKilled,
    /// SoftHSM's token folder is moved away and back.
    FolderVanished,
    /// All sessions die at once, and the login with them.
    SessionsClosed,
    /// Each signature ends the process that has the module loaded: a signer.
    ModuleAborts,
    /// No signature returns, in the gateway's process.
    CallsHang,
    /// No signature returns, in a signer process.
    SignerHangs,
    /// Signatures fail at random.
    OneInAHundredFails,
}

/// What clients may notice of it, where there is one token only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Nothing,
    /// Of handshakes; standing connections never notice anything.
    Refusals,
}

impl Cause {
    pub(crate) fn notice(self) -> Notice {
        match self {
            Self::SessionsClosed | Self::OneInAHundredFails => Notice::Nothing,
            _ => Notice::Refusals,
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Self::ServerKilled | Self::FolderVanished => "",
            Self::SessionsClosed => "dead_sessions = 1\n",
            Self::ModuleAborts => "crash_every = 1\n",
            Self::CallsHang | Self::SignerHangs => "hang_every = 1\nhang_ms = 3600000\n",
            Self::OneInAHundredFails => "error_percent = 1\n",
        }
    }
}

/// A token that may be ailed by one cause.
pub(crate) struct Stage {
    cause: Cause,
    vault: Vault,
    faults: Faults,
    server: Option<P11Server>,
}

impl Stage {
    /// `None`, and why on stderr, where something is not installed.
    pub(crate) async fn set(cause: Cause) -> Option<Self> {
        if cause == Cause::ServerKilled && !Path::new(P11_KIT_CLIENT).exists() {
            skip(
                "the p11-kit server",
                "no p11-kit-client.so",
                "p11-kit p11-kit-modules",
            );
            return None;
        }
        let vault = Vault::new().await;
        let server = match cause {
            Cause::ServerKilled => Some(P11Server::start(&vault).await),
            _ => None,
        };
        Some(Self {
            cause,
            vault,
            faults: Faults::new(""),
            server,
        })
    }

    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// A gateway with this token as `main`, for a site whose key `holder` holds: `main`, or a group with it.
    pub(crate) fn gateway(&self, holder: &str) -> GatewayBuilder {
        let module = match self.cause {
            Cause::ServerKilled => P11_KIT_CLIENT.into(),
            Cause::FolderVanished => Token::shared().module().to_owned(),
            _ => module(),
        };
        let isolation = match self.cause {
            Cause::ModuleAborts | Cause::SignerHangs => "process",
            _ => "none",
        };
        let lines = format!("{BOUNDS}\nisolation = '{isolation}'");
        let mut builder = self.vault.steer(Gateway::builder());
        for (name, value) in self.faults.environment() {
            builder = builder.env(name, value);
        }
        if let Some(server) = &self.server {
            let address = format!("unix:path={}", server.socket.display());
            builder = builder.env("P11_KIT_SERVER_ADDRESS", address);
        }
        builder
            .site(self.vault.site(holder))
            .extra_toml(&self.vault.hsm("main", &module, &lines))
    }

    /// The outage begins.
    pub(crate) async fn begin(&mut self) {
        match self.cause {
            Cause::ServerKilled => self.server = None,
            Cause::FolderVanished => self.move_folder("tokens", "elsewhere"),
            _ => self.faults.set(self.cause.settings()),
        }
    }

    /// The cause is gone.
    pub(crate) async fn end(&mut self) {
        match self.cause {
            Cause::ServerKilled => self.server = Some(P11Server::start(&self.vault).await),
            Cause::FolderVanished => self.move_folder("elsewhere", "tokens"),
            // Others may be opened at any time, so it begins and ends at once: here once more.
            Cause::SessionsClosed => self.faults.set("dead_sessions = 2\n"),
            _ => self.faults.set(""),
        }
    }

    /// Waits until the token has felt it, though nobody else did.
    pub(crate) async fn felt(&self, gateway: &Gateway) {
        until("signatures are asked for again", async || {
            let again = gateway
                .metric("portcullis_hsm_retries_total{hsm=\"main\"}")
                .await;
            (again >= 2.0).then_some(())
        })
        .await;
    }

    fn move_folder(&self, from: &str, to: &str) {
        let desk = self.vault.desk();
        fs::rename(desk.path(from), desk.path(to)).unwrap();
    }
}

/// Says why a test tests nothing here.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(crate) fn skip(name: &str, reason: &str, packages: &str) {
    eprintln!("SKIPPED {name}: {reason} (apt install {packages})");
}

/// `p11-kit server` in front of a vault: a token behind a connection that can break.
struct P11Server {
    child: Child,
    socket: PathBuf,
}

impl P11Server {
    /// Listens when this returns.
    async fn start(vault: &Vault) -> Self {
        let socket = vault.desk().path("p11.sock");
        let _ = fs::remove_file(&socket); // The first one leaves none behind.
        let child = Command::new("p11-kit")
            .args(["server", "--foreground", "--name"])
            .arg(&socket)
            .arg("--provider")
            .arg(Token::shared().module())
            .arg("pkcs11:token=edge")
            .env("SOFTHSM2_CONF", vault.conf())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It forks for each connection.
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self { child, socket };
        until("the p11-kit server listens", async || {
            std::os::unix::net::UnixStream::connect(&server.socket).ok()
        })
        .await;
        server
    }
}

impl Drop for P11Server {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL); // It may have ended.
        let _ = self.child.wait();
    }
}
