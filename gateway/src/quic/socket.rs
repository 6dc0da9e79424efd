//! A worker's UDP socket: many datagrams in one call, on the way in (GRO) and on the way out (GSO).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use bytes::BytesMut;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::routes::Datagram;

/// Kernel buffers: a burst must find room while the worker computes a handshake.
const BUFFER: usize = 2 * 1024 * 1024;
/// Bytes of a batch of datagrams that the kernel joined.
const LARGEST: usize = 64 * 1024;
/// Calls' worth of messages that are read at once.
const BATCH: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };
/// Datagrams of one connection that leave in one call.
const SEGMENTS: usize = 16;

/// A bound socket.
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Opens a socket that others may share the address with.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // What the system allows of it will do.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Room for a batch.
#[derive(Debug)]
pub struct Buffers(Vec<Vec<u8>>);

impl Default for Buffers {
    fn default() -> Self {
        Self(vec![vec![0; LARGEST]; BATCH])
    }
}

impl Socket {
    /// Takes over a bound socket; on a thread with a runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { socket, state })
    }

    /// Datagrams that may leave in one call.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments().clamp(1, SEGMENTS)
    }

    /// Waits for datagrams and hands them over one by one.
    pub async fn receive(
        &self,
        buffers: &mut Buffers,
        mut each: impl FnMut(Datagram),
    ) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH];
        let received = self
            .socket
            .async_io(Interest::READABLE, || {
                let mut slices = buffers.0.iter_mut().map(|buffer| IoSliceMut::new(buffer));
                let mut slices: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| {
                    slices.next().unwrap_or_else(|| IoSliceMut::new(&mut []))
                });
                self.state
                    .recv((&self.socket).into(), &mut slices, &mut metas)
            })
            .await?;
        let at = Instant::now();
        for (meta, buffer) in metas.iter().zip(&buffers.0).take(received) {
            let whole = &buffer[..meta.len.min(buffer.len())];
            for data in whole.chunks(meta.stride.max(1)) {
                each(Datagram {
                    at,
                    remote: meta.addr,
                    local: meta.dst_ip,
                    ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                    data: BytesMut::from(data),
                });
            }
        }
        Ok(())
    }

    /// Sends, and waits for room. What the network refuses is lost, as any datagram may be.
    pub(super) async fn send(&self, transmit: &Transmit, contents: &[u8]) {
        let Some(transmit) = outgoing(transmit, contents) else {
            return;
        };
        let sent = self
            .socket
            .async_io(Interest::WRITABLE, || {
                self.state.try_send((&self.socket).into(), &transmit)
            })
            .await;
        if let Err(error) = sent {
            tracing::trace!(%error, "datagram not sent");
        }
    }

    /// Sends if there is room now.
    pub fn try_send(&self, transmit: &Transmit, contents: &[u8]) {
        let Some(transmit) = outgoing(transmit, contents) else {
            return;
        };
        let _ = self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.socket).into(), &transmit)
        });
    }
}

/// What quinn-proto wants sent, for quinn-udp.
fn outgoing<'a>(transmit: &Transmit, contents: &'a [u8]) -> Option<quinn_udp::Transmit<'a>> {
    let ecn = transmit.ecn;
    Some(quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: contents.get(..transmit.size)?,
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    })
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.socket).finish()
    }
}
