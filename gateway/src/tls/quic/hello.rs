//! A ClientHello that comes as CRYPTO bytes, read as if it had come in records.

use rustls::AlertDescription;
use rustls::server::{Accepted as Hello, Acceptor};

use super::Failure;
use crate::reason::Reason;

const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message.
const HEAD: usize = 4;
/// Bytes of a record, of the made-up ones the parser is given.
const RECORD: usize = 16 * 1024;

/// Whether a ClientHello is complete, as far as its head says.
pub(super) fn is_whole(message: &[u8], limit: usize) -> Result<bool, Failure> {
    let Some([kind, length @ ..]) = message.first_chunk::<HEAD>() else {
        return Ok(false);
    };
    if *kind != CLIENT_HELLO {
        let alert = AlertDescription::UnexpectedMessage;
        return Err(Failure::new(Reason::NotTls, alert, "no ClientHello"));
    }
    let whole = HEAD + u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
    if whole > limit || message.len() > limit {
        let detail = format!("{} bytes", whole.max(message.len()));
        let alert = AlertDescription::DecodeError;
        return Err(Failure::new(Reason::ClientHelloTooLarge, alert, detail));
    }
    Ok(message.len() >= whole)
}

/// The message behind record headers, as it would have come over TCP.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut records = Vec::with_capacity(message.len() + 5);
    for piece in message.chunks(RECORD) {
        records.extend([22, 3, 1]);
        records.extend(u16::try_from(piece.len()).unwrap_or(u16::MAX).to_be_bytes());
        records.extend_from_slice(piece);
    }
    records
}

/// What rustls reads in them.
pub(super) fn parse(records: &[u8]) -> Result<Hello, Failure> {
    let (mut acceptor, mut rest) = (Acceptor::default(), records);
    while !rest.is_empty() {
        let read = acceptor.read_tls(&mut rest);
        if read.map_or(true, |read| read == 0) {
            break;
        }
        match acceptor.accept() {
            Ok(Some(hello)) => return Ok(hello),
            Ok(None) => {}
            Err((error, _)) => {
                return Err(Failure::tls(&error, Some(AlertDescription::DecodeError)));
            }
        }
    }
    let alert = AlertDescription::DecodeError;
    Err(Failure::new(
        Reason::HandshakeProtocol,
        alert,
        "a broken ClientHello",
    ))
}
