//! The `portcullis` binary: an allocator and a way in.

use std::process::ExitCode;

// mimalloc: handshakes and requests are many small allocations on few threads, where it beats the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis::cli::main()
}
