//! `portcullis hsm serve`: the signer, a process that has the PKCS#11 library loaded and the PIN.
//!
//! The gateway starts one for each token with `isolation = "process"`. With `--socket` it stands by itself,
//! under another user for example, and gateways name its socket as `signer`.

use std::path::PathBuf;

use clap::Args;
use portcullis_hsm::signer;
use portcullis_hsm::{TokenSelect, TokenSettings};

use super::arguments::pin_source;
use crate::certificates::state_dir;
use crate::cli::{Exit, complain};

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Serve {
    /// The PKCS#11 library.
    #[arg(long, value_name = "PATH")]
    module: PathBuf,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", group = "select")]
    token: Option<String>,
    /// Slot id of the token. Slot ids move; prefer the label.
    #[arg(long, group = "select")]
    slot: Option<u64>,
    /// Serial number of the token.
    #[arg(long, group = "select")]
    serial: Option<String>,
    /// Where the user PIN comes from: file:PATH, env:NAME, credential:NAME, fd:N or prompt. Without it the token
    /// is used without login, or has a keypad.
    #[arg(long, value_name = "SOURCE")]
    pin: Option<String>,
    /// Log in although the token says that few PIN tries are left.
    #[arg(long)]
    login_at_count_low: bool,
    /// Where refused PINs are remembered; default: $STATE_DIRECTORY, else /var/lib/portcullis.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Unix socket to listen on. Users other than this one and root need --allow-uid.
    #[arg(
        long,
        value_name = "PATH",
        required_unless_present = "inherited",
        conflicts_with = "inherited"
    )]
    socket: Option<PathBuf>,
    /// A user that may connect, by number; may be given several times.
    #[arg(long = "allow-uid", value_name = "UID", requires = "socket")]
    allow_uid: Vec<u32>,
    /// Take connections from descriptor 0: how the gateway starts it.
    #[arg(long, hide = true)]
    inherited: bool,
}

impl Serve {
    pub(super) fn run(self) -> Exit {
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(error) => return complain(format_args!("{error:#}"), Exit::Usage),
        };
        let served = match &self.socket {
            None => signer::confine().and_then(|_| signer::serve_inherited(&settings)),
            Some(socket) => signer::harden().and_then(|()| {
                let arguments = vec!["hsm".to_owned(), "serve".to_owned()];
                let program = (PathBuf::from("/proc/self/exe"), arguments);
                signer::serve_socket(socket, &self.allow_uid, program, &settings)
            }),
        };
        match served {
            Ok(()) => Exit::Done,
            Err(error) => complain(format_args!("signer: {error}"), Exit::Failed),
        }
    }

    fn settings(&self) -> anyhow::Result<TokenSettings> {
        let label = self.token.clone().map(TokenSelect::Label);
        let serial = self.serial.clone().map(TokenSelect::Serial);
        let select = label.or(serial).or(self.slot.map(TokenSelect::Slot));
        let select = select
            .ok_or_else(|| anyhow::anyhow!("name the token with --token, --serial or --slot"))?;
        let mut settings = TokenSettings::new("signer", &self.module, select);
        settings.pin = self.pin.as_deref().map(pin_source).transpose()?;
        settings.login_at_count_low = self.login_at_count_low;
        settings.state_dir = Some(state_dir(self.state_dir.as_deref()));
        Ok(settings)
    }
}
