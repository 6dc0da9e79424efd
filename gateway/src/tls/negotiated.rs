//! What a handshake agreed on, over TCP and over QUIC.

use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

/// What a handshake agreed on.
#[derive(Debug, Clone, Copy)]
pub struct Negotiated {
    /// Full, resumed, or with a HelloRetryRequest.
    pub kind: Option<HandshakeKind>,
    /// Of TLS.
    pub version: Option<ProtocolVersion>,
    /// The cipher suite.
    pub suite: Option<CipherSuite>,
    /// The key exchange.
    pub group: Option<NamedGroup>,
}

impl Negotiated {
    /// Read from a connection whose handshake has come so far.
    pub fn of(tls: &CommonState) -> Self {
        Self {
            kind: tls.handshake_kind(),
            version: tls.protocol_version(),
            suite: tls.negotiated_cipher_suite().map(|suite| suite.suite()),
            group: tls
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
        }
    }
}
