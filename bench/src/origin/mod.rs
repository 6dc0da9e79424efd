//! A server behind the gateways that are measured: cheap, so that they are what is measured.
//!
//! It answers `/1k`, `/10m` and `/bytes/N` (at most 1 GiB) over HTTP/1.1 with keep-alive and pipelining, and over
//! HTTP/2 without TLS where a client begins with its preface. Every other path is answered 404. It looks at
//! no body and believes its clients: it is for load on a machine of one's own, never for the world.

mod http1;
mod http2;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

/// The longest answer.
const LONGEST: u64 = 1 << 30;

/// What is sent, again and again; its length divides 10 MiB.
static CONTENT: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// After a failed accept, such as one without descriptors left.
const PAUSE: Duration = Duration::from_millis(10);

/// An origin on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    // Its end is dropped with it, which ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Origin {
    /// Starts one on this address, port 0 for any, on one core if one is named.
    pub fn start(bind: SocketAddr, core: Option<usize>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime for the origin")?;
        let listener = {
            let _inside = runtime.enter();
            listen(bind)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            if let Some(core) = core {
                // Where it may not be pinned it works all the same.
                let _ = pin_this_thread(core);
            }
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener) => {}
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new()
            .name("origin".to_owned())
            .spawn(work)
            .context("start the thread of the origin")?;
        Ok(Self {
            address,
            _stop: stop,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Lets this thread, and what it starts, run on one core only.
pub fn pin_this_thread(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    ensure!(core < CpuSet::MAX_CPU, "there is no core {core}");
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("stay on core {core}"))
}

fn listen(bind: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = match bind {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(bind)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("listen on {bind}"))
}

async fn accept(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream));
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// One connection, whichever protocol it begins with. What goes wrong ends it; its client will tell.
async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut start = Vec::with_capacity(http1::MOST_BUFFERED);
    while start.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(&start) {
        match stream.read_buf(&mut start).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    if start.starts_with(http2::PREFACE) {
        http2::serve(stream, start).await;
    } else {
        let _ = http1::serve(stream, start).await;
    }
}

/// How many bytes a path asks for; none is 404.
fn bytes_of(path: &str) -> Option<u64> {
    match path {
        "/1k" => Some(1 << 10),
        "/10m" => Some(10 << 20),
        other => {
            let number = other.strip_prefix("/bytes/")?.parse().ok()?;
            (number <= LONGEST).then_some(number)
        }
    }
}

#[cfg(test)]
mod tests;
