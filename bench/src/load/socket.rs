//! Connections to the target, from so many addresses that ports never run out.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::failure::Failure;

/// Source addresses on a loopback network. Each has 28,000 ports, and a closed connection keeps its port for a minute.
const SOURCES: u32 = 2_000;

/// Connects to one address.
#[derive(Debug)]
pub(super) struct Dialer {
    target: SocketAddr,
    next: Cell<u32>,
}

impl Dialer {
    /// `first` is where the round of source addresses begins.
    pub(super) fn new(target: SocketAddr, first: u32) -> Self {
        Self {
            target,
            next: Cell::new(first % SOURCES),
        }
    }

    /// A new connection.
    pub(super) async fn dial(&self) -> Result<TcpStream, Failure> {
        let connecting = async {
            let socket = match self.target {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_nodelay(true)?;
            if let Some(source) = self.source() {
                socket.bind((source, 0).into())?;
            }
            socket.connect(self.target).await
        };
        connecting.await.map_err(|_| Failure::Connect)
    }

    /// 127.0.1.1 to 127.0.8.250 for a target on 127.0.0.0/8; elsewhere the kernel knows better.
    fn source(&self) -> Option<Ipv4Addr> {
        if !matches!(self.target.ip(), IpAddr::V4(address) if address.is_loopback()) {
            return None;
        }
        let at = self.next.get();
        self.next.set((at + 1) % SOURCES);
        // Both parts are below 251.
        Some(Ipv4Addr::new(
            127,
            0,
            1 + (at / 250) as u8,
            1 + (at % 250) as u8,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_round_on_the_loopback_network_only() {
        let dialer = Dialer::new(([127, 0, 0, 1], 1).into(), 1_999);
        assert_eq!(dialer.source(), Some(Ipv4Addr::new(127, 0, 8, 250)));
        assert_eq!(dialer.source(), Some(Ipv4Addr::new(127, 0, 1, 1)));
        let far = Dialer::new(([192, 0, 2, 1], 1).into(), 0);
        assert_eq!(far.source(), None);
    }
}
