//! The command line of the load generator, so that the end-to-end tests run the real process.

use std::process::ExitCode;

fn main() -> ExitCode {
    portcullis_bench::command::main()
}
