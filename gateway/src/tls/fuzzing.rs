//! The readers of what clients offer and of what is sealed, for the fuzz targets.

use super::client_hello::Offer;
use super::resumption::reads_session;

/// Whether the bytes are records that begin with a ClientHello.
///
/// # Panics
/// It offers more than its bytes can hold.
pub fn reads_hello(bytes: &[u8]) -> bool {
    let Some(offer) = Offer::read(bytes) else {
        return false;
    };
    let tickets = offer.psks.iter().chain(&offer.ticket);
    let offered: usize = tickets.map(Vec::len).sum();
    assert!(offer.psks.len() <= 4 && offered + offer.session_id.len() <= bytes.len());
    true
}

/// Whether the bytes are a session, as rustls writes it or as it is sealed.
///
/// # Panics
/// It does not come back as it was written.
pub fn reads_sessions(bytes: &[u8]) -> bool {
    reads_session(bytes)
}
