//! `portcullis-bench`: load for TLS servers, what it costs them, and reports of both.

use std::process::ExitCode;

// Of three allocators the quickest for many small connections, as in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis_bench::command::main()
}
