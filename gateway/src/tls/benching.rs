//! The server's side of a handshake over bytes in memory, for the benches.
//!
//! It takes the steps of `accept` one after the other (read the hello, decide on resumption, step rustls, conclude)
//! without a socket, without waiting and without a token: what is measured is computing alone.

use std::sync::Arc;

use rustls::Error;
use rustls::server::Acceptor;

use super::client_cert::{clear_verdict, take_proof};
use super::client_hello::Offer;
use super::resumption::{Fetched, Outcome};
use super::server_config::SiteTls;
use super::socket::Copied;

/// Performs one handshake. `client` is given what the server sent, and appends what the client sends; it is asked until
/// the server is done, and once more for the server's last flight.
///
/// # Errors
/// What rustls finds wrong, or a client that ends too early.
pub fn handshake(
    tls: &SiteTls,
    mut client: impl FnMut(&[u8], &mut Vec<u8>),
) -> Result<Outcome, Error> {
    let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
    client(&[], &mut incoming);
    let mut acceptor = Acceptor::default();
    let mut records = Vec::with_capacity(incoming.len());
    let mut rest = &incoming[..];
    let hello = loop {
        let mut copied = Copied(&mut rest, &mut records);
        if acceptor.read_tls(&mut copied).unwrap_or(0) == 0 {
            return Err(Error::General("half a ClientHello".to_owned()));
        }
        if let Some(hello) = acceptor.accept().map_err(|(error, _)| error)? {
            break hello;
        }
    };
    let server_name = hello.client_hello().server_name().map(str::to_owned);
    let offer = tls.resumes().then(|| Offer::read(&records)).flatten();
    let prepared = tls.prepare((offer.as_ref(), Fetched::Nothing), server_name.as_deref());
    let started = hello.into_connection(Arc::clone(&prepared.config));
    let mut connection = started.map_err(|(error, _)| error)?;
    let mut proof = None;
    loop {
        outgoing.clear();
        while connection.wants_write() {
            // A Vec takes everything.
            let _ = connection.write_tls(&mut outgoing);
        }
        incoming.clear();
        client(&outgoing, &mut incoming);
        if !connection.is_handshaking() {
            return Ok(prepared.conclude(connection.handshake_kind()).1);
        }
        prepared.follow(connection.handshake_kind(), proof.as_ref());
        clear_verdict();
        let mut rest = &incoming[..];
        while connection.is_handshaking() {
            if connection.read_tls(&mut rest).unwrap_or(0) == 0 {
                break;
            }
            connection.process_new_packets()?;
        }
        if incoming.is_empty() {
            return Err(Error::General("the client ended".to_owned()));
        }
        proof = proof.or_else(take_proof);
    }
}
