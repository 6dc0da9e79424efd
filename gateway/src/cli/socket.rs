//! Which running gateway a command speaks to.

use std::path::PathBuf;

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
    pub(super) fn call(self, line: &str) -> Result<String, Exit> {
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

    fn path(self) -> Result<PathBuf, Exit> {
        if let Some(socket) = self.socket {
            return Ok(socket);
        }
        match portcullis_config::Config::load(&self.file.config) {
            Ok((config, _)) => config.admin.socket.ok_or_else(|| {
                let advice =
                    "the configuration has no admin.socket; set one, use --socket, or send SIGHUP to reload";
                complain(advice, Exit::Config)
            }),
            Err(errors) => Err(complain(errors.render(colored()), Exit::Config)),
        }
    }
}
