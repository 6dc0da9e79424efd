//! TCP listeners: every worker has its own socket for each bind address (SO_REUSEPORT), so that accepting
//! shares nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::connection;
use crate::proxy::Worker;
use crate::reason::Reason;
use crate::telemetry::RefusalRecord;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;
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
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
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
    while let Some(Ok((tcp, peer))) = now_or_never(listener.accept()).await {
        begin(tcp, peer, &name, &worker);
    }
}

fn begin(tcp: TcpStream, peer: SocketAddr, name: &Arc<str>, worker: &Rc<Worker>) {
    let metrics = &worker.shared.metrics;
    metrics.connections.inc();
    let Some(slot) = worker.shared.connections.try_take() else {
        worker.refuse(&RefusalRecord {
            reason: Reason::ConnectionLimit,
            client: peer,
            listener: name,
            site: None,
            server_name: None,
            identity: None,
            request_id: None,
            detail: None,
        });
        return;
    };
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    metrics.connections_open.inc();
    let open = OpenConnection(Rc::clone(worker));
    let connection = connection::run(tcp, peer, Arc::clone(name), Rc::clone(worker), slot);
    tokio::task::spawn_local(async move {
        let _open = open;
        connection.await;
    });
}

/// Counts an open connection, also when its task panics.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.shared.metrics.connections_open.dec();
    }
}

/// Polls once.
async fn now_or_never<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
