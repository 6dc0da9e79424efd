//! The gateway's command line, so that the end-to-end tests run the real process, arguments and signals
//! included.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis::cli::main()
}
