//! The gateway's TLS as quinn-proto wants it.
//!
//! Decisions are made in `tls::quic`; here they get the shape of quinn-proto's traits. What needs no decision (keys of
//! the Initial space, tags of Retry packets) is quinn-proto's own.

use std::any::Any;
use std::io::Cursor;
use std::sync::Arc;

use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::quic::{DirectionalKeys, KeyChange, Secrets, Version};

use crate::tls::quic::{QuicHandshake, QuicSites, QuicVerdict};

/// The cryptography of one connection that is about to begin.
pub(super) struct Crypto {
    /// For what is the same for every connection.
    pub(super) common: Arc<QuicServerConfig>,
    pub(super) sites: QuicSites,
    /// Bytes of the ClientHello.
    pub(super) hello_bytes: usize,
    /// Where the handshake says what it came to.
    pub(super) verdict: QuicVerdict,
}

impl ServerConfig for Crypto {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.common.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.common.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let mut parameters = Vec::new();
        params.write(&mut parameters);
        // Others than these two are not in `supported_versions`.
        let tls_version = match version {
            1 => Version::V1,
            _ => Version::V1Draft,
        };
        Box::new(TlsSession {
            handshake: QuicHandshake::new(
                Arc::clone(&self.sites),
                (tls_version, parameters),
                self.hello_bytes,
                Arc::clone(&self.verdict),
            ),
            crypto: self,
            version,
            next: None,
        })
    }
}

/// A handshake, and later the keys of its connection.
struct TlsSession {
    crypto: Arc<Crypto>,
    version: u32,
    handshake: QuicHandshake,
    /// The secrets of the next key update.
    next: Option<Secrets>,
}

impl Session for TlsSession {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        let keys = self.crypto.initial_keys(self.version, dst_cid);
        match (keys, side) {
            (Ok(keys), Side::Server) => keys,
            // The version was taken from a packet that these keys opened, and this is a server.
            _ => unreachable!("a server session of a supported version"),
        }
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None // The verdict says it.
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None // The verdict says it.
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        let connection = self.handshake.connection();
        connection.is_none_or(|connection| connection.is_handshaking())
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        match self.handshake.read(buf) {
            Ok(()) => Ok(false),
            // The client learns the alert and no word more.
            Err(alert) => Err(TransportError {
                code: TransportErrorCode::crypto(alert.into()),
                frame: None,
                reason: String::new(),
            }),
        }
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let connection = self.handshake.connection();
        let Some(sent) = connection.and_then(|connection| connection.quic_transport_parameters())
        else {
            return Ok(None);
        };
        Ok(Some(TransportParameters::read(
            Side::Server,
            &mut Cursor::new(sent),
        )?))
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let keys = match self.handshake.write(buf)? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        };
        let ((local_header, local), (remote_header, remote)) =
            (split(keys.local), split(keys.remote));
        Some(Keys {
            header: KeyPair {
                local: local_header,
                remote: remote_header,
            },
            packet: KeyPair { local, remote },
        })
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair {
            local: Box::new(keys.local),
            remote: Box::new(keys.remote),
        })
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false // Retry packets go to clients.
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError) // HTTP/3 exports nothing.
    }
}

fn split(keys: DirectionalKeys) -> (Box<dyn HeaderKey>, Box<dyn PacketKey>) {
    (Box::new(keys.header), Box::new(keys.packet))
}
