//! The demo: a real gateway with its key in a SoftHSM token, a PKI, an echo upstream, and curl
//! lines.
//!
//! Everything it makes lies in one folder (`target/demo/`), made anew at each start. It ends the
//! gateway it started, by its pid, and nothing else.

mod files;
mod gateway;
mod token;
mod tries;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::echo::Echo;

use gateway::Gateway;

/// Where the demo keeps its things and listens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder it makes anew; its name must be `demo`.
    pub folder: PathBuf,
    /// The `portcullis` program.
    pub program: PathBuf,
    /// Where clients come in.
    pub https: SocketAddr,
    /// Where probes and metrics are.
    pub admin: SocketAddr,
}

impl Settings {
    /// `target/demo/` and `target/release/portcullis`, found from where this program lies.
    pub fn beside_this_program() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let build = own.parent().context("this program lies in no folder")?;
        let target = build
            .parent()
            .context("this program lies in no build folder")?;
        Ok(Self {
            folder: target.join("demo"),
            program: build.join("portcullis"),
            https: (Ipv4Addr::LOCALHOST, 8443).into(),
            admin: (Ipv4Addr::LOCALHOST, 9901).into(),
        })
    }
}

/// What is done once everything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Show the curl lines and wait for Ctrl-C or SIGTERM.
    Serve,
    /// Run the curl lines and tell whether each did what it should.
    Check,
}

/// Sets everything up, runs it, and takes it down.
pub async fn run(settings: &Settings, mode: Mode) -> anyhow::Result<()> {
    let program = settings.program.display();
    ensure!(
        settings.program.exists(),
        "{program} is missing: build it first (make build)"
    );
    for address in [settings.https, settings.admin] {
        TcpListener::bind(address)
            .with_context(|| format!("{address} is in use: is another demo running?"))?;
    }
    // Listened for from the start, so that a signal during the set-up ends the demo in order as
    // well.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    renew_folder(&settings.folder)?;

    let key = token::server_key(settings)?;
    if matches!(key.place, token::Place::File) {
        say(SOFTWARE_BANNER);
    }
    let echo = Echo::start().await?;
    files::write(settings, &key, &echo.url())?;
    let mut gateway = Gateway::start(settings, &key)?;
    let outcome = tokio::select! {
        outcome = work(settings, mode, &key) => outcome,
        ended = gateway.ended() => Err(ended),
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    gateway.stop().await?;
    outcome
}

async fn work(settings: &Settings, mode: Mode, key: &token::ServerKey) -> anyhow::Result<()> {
    gateway::wait_until_ready(settings).await?;
    match mode {
        Mode::Check => tries::check(settings).await,
        Mode::Serve => {
            say(&tries::describe(settings, key));
            std::future::pending().await
        }
    }
}

/// Removes what an earlier demo left. Only a folder of this name, and no link, is ever removed.
fn renew_folder(folder: &Path) -> anyhow::Result<()> {
    ensure!(
        folder.file_name().is_some_and(|name| name == "demo"),
        "the folder must be named demo"
    );
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {
            fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?
        }
        Ok(_) => bail!("{} is not a folder: move it away", folder.display()),
        Err(_) => {}
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

const SOFTWARE_BANNER: &str = "
**************************************************************************
*  NO SOFTHSM WAS FOUND: THE SERVER'S KEY IS A PLAIN FILE.               *
*  This shows everything but the point. Install softhsm2, or name its    *
*  library in SOFTHSM2_MODULE, and start the demo again.                 *
**************************************************************************
";

#[expect(clippy::print_stdout, reason = "the demo talks to people")]
fn say(text: &str) {
    println!("{text}");
}
