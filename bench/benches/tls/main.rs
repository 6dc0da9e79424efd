//! The TLS room under the gateway's own configuration: handshakes in memory, and records through the stream.

mod handshake;
mod stream;
mod world;

use criterion::{criterion_group, criterion_main};

/// As in the gateway: allocations are a part of a handshake.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, handshake::handshakes, stream::records);
criterion_main!(benches);
