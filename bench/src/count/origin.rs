//! The upstream: it answers each request with the same 1 KiB, and reads no more of it than its end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

const BODY: usize = 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A listening origin. Its threads end with the process.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
}

impl Origin {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // The gateway closes; what went wrong shows in its answers.
                thread::spawn(|| drop(answer(connection)));
            }
        });
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n");
    let answer = [head.into_bytes(), vec![b'x'; BODY]].concat();
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    loop {
        match connection.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
        // Requests have no body and come one at a time.
        if buffer[..filled].ends_with(HEAD_END) {
            connection.write_all(&answer)?;
            filled = 0;
        }
    }
}
