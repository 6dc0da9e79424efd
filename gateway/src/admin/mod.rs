//! What operators and their machines talk to: probes and metrics over plain HTTP, changes over a unix socket.
//!
//! The HTTP side is read only. Changes go through the socket, which has mode 0600 and asks the kernel who is
//! calling. Admin does not know the server: it sends a [`Command`] and waits for the answer.

mod control;
mod hsm;
mod probes;
mod requests;
mod text;
mod tickets;
mod trust;
mod upstreams;

pub use control::{ControlError, call, listen as listen_control};
pub use probes::{State, listen as listen_probes};

use tokio::sync::oneshot;

/// Something an operator asks for.
#[derive(Debug)]
pub enum Command {
    /// Read the configuration again and put it in force.
    Reload(oneshot::Sender<Result<String, String>>),
}
