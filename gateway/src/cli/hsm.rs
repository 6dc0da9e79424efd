//! `portcullis hsm`.
#[derive(clap::Subcommand)]
pub(super) enum HsmCommand {}
pub(super) fn run(command: HsmCommand) -> anyhow::Result<()> {
    match command {}
}
