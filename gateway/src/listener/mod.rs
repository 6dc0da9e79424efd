//! Sockets that accept clients.

use std::rc::Rc;

use crate::proxy::Worker;

pub mod quic;
pub mod tcp;

/// Counts an open connection, also when its task panics.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.shared.metrics.connections_open.dec();
    }
}
