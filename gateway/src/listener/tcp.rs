//! TCP listeners: every worker has its own socket for each bind address (SO_REUSEPORT), so that accepting
//! shares nothing.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::admit;
use crate::connection;
use crate::proxy::Worker;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
/// Rest before each accept while three quarters of `limits.handshakes` are in progress.
const CROWDED_REST: Duration = Duration::from_millis(1);
/// Rest after an accept that failed for want of descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Opens a listening socket that others may share the address with.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?; // Accepted sockets inherit it.
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until `stop` says so, then takes what the kernel has completed already, and closes.
pub async fn accept_all(
    listener: TcpListener,
    name: Arc<str>,
    worker: Rc<Worker>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        if worker.shared.handshakes.is_crowded() {
            // Clients wait in the kernel then, where they cost less than here.
            worker.shared.metrics.accept_pauses.inc();
            tokio::time::sleep(CROWDED_REST).await;
        }
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => begin(tcp, peer, &name, &worker),
            Err(error) => {
                // A client that left before it was accepted is nothing; a lack of descriptors is.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tracing::error!(%error, listener = %name, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
    // The kernel is asked itself: tokio's readiness may not know of the last connections yet, and what is
    // left when the socket closes is reset.
    let Ok(socket) = listener.into_std() else {
        return;
    };
    for _ in 0..BACKLOG {
        let Ok((tcp, peer)) = socket.accept() else {
            break;
        };
        let ready = tcp.set_nonblocking(true);
        if let Ok(tcp) = ready.and_then(|()| TcpStream::from_std(tcp)) {
            begin(tcp, peer, &name, &worker);
        }
    }
}

fn begin(tcp: TcpStream, peer: SocketAddr, name: &Arc<str>, worker: &Rc<Worker>) {
    let Some((slot, open)) = admit(peer, name, worker) else {
        return;
    };
    let (name, worker) = (Arc::clone(name), Rc::clone(worker));
    // Made in here: a future that is moved in takes its place twice, for as long as the connection lasts.
    tokio::task::spawn_local(async move {
        let _open = open;
        connection::run(tcp, peer, name, worker, slot).await;
    });
}
