//! Which running gateway a command speaks to.

use std::path::PathBuf;

use portcullis_config::Config;

use super::{ConfigFile, Exit, colored, complain};
use crate::admin::{self, ControlError};

/// The control socket of a running gateway.
#[derive(clap::Args)]
pub(super) struct Socket {
    /// Control socket of the gateway; default: `admin.socket` of the configuration.
    #[arg(short, long)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

impl Socket {
    /// Sends one line and hands back the answer.
    pub(super) fn call(&self, line: &str) -> Result<String, Exit> {
        let socket = self.path()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| complain(error, Exit::Failed))?;
        runtime
            .block_on(admin::call(&socket, line))
            .map_err(|error| match error {
                ControlError::Refused(text) => complain(text, Exit::Config),
                error => complain(error, Exit::Failed),
            })
    }

    /// Whether the socket is named, so that no configuration is needed to find it.
    pub(super) fn is_named(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether there is one to speak to.
    pub(super) fn is_known(&self) -> bool {
        let configured = || {
            self.config()
                .is_ok_and(|config| config.admin.socket.is_some())
        };
        self.is_named() || configured()
    }

    /// The configuration of the gateway.
    pub(super) fn config(&self) -> Result<Config, Exit> {
        match Config::load(&self.file.config) {
            Ok((config, _)) => Ok(config),
            Err(errors) => Err(complain(errors.render(colored()), Exit::Config)),
        }
    }

    fn path(&self) -> Result<PathBuf, Exit> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        self.config()?.admin.socket.ok_or_else(|| {
            let advice =
                "the configuration has no admin.socket; set one, use --socket, or send SIGHUP to reload";
            complain(advice, Exit::Config)
        })
    }
}
