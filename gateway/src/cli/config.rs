//! `portcullis config show|schema`.

use clap::Subcommand;
use portcullis_config::Config;

use super::{ConfigFile, Exit, colored, complain, say};

/// What to show of a configuration.
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// The effective configuration: includes merged, variables and defaults filled in.
    Show(ConfigFile),
    /// The JSON Schema of the configuration, for editors.
    Schema,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Exit {
        match self {
            Self::Show(file) => match Config::load(&file.config) {
                Ok((config, _)) => say(config.to_toml()),
                Err(errors) => complain(errors.render(colored()), Exit::Config),
            },
            Self::Schema => say(format_args!("{:#}", portcullis_config::schema())),
        }
    }
}
