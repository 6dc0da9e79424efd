//! The signer: a process of its own that has the PKCS#11 library loaded, and the PIN.
//!
//! A vendor's library that crashes, leaks or hangs then costs a process that is started again, and no
//! connection of the gateway; and whoever breaks into the gateway finds no PIN and no login, only a socket that
//! makes signatures with the keys it is told the names of. One connection is one session of the token, so that
//! queues, deadlines and recovery are the same as with the library in the process. The signer offers what a
//! gateway needs: find and list keys, read certificates, sign. It has no way to read, wrap, make or delete a key.

pub(crate) mod protocol;
pub(crate) mod remote;
mod sandbox;
mod server;

pub use sandbox::{Confined, confine, harden};
pub use server::{serve_inherited, serve_socket};
