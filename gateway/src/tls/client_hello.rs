//! What a ClientHello offers for resumption, read out of the raw bytes before rustls answers it.
//!
//! Advisory: rustls parses the same bytes and decides alone what is negotiated. What is misread here costs a full
//! handshake and nothing else, for a session is handed to rustls only under the very bytes the client offered it by.

use std::borrow::Cow;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TLS_1_3: u16 = 0x0304;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

/// Pre-shared keys that are looked at; a client has as many tickets as it was given, and offers one or two.
const PSKS: usize = 4;

/// What a client offers (RFC 8446, section 4.2; RFC 5077; RFC 5246, section 7.4.1.2).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    /// TLS 1.3 is among its versions.
    pub(super) tls13: bool,
    /// Identities of pre-shared keys, the client's first first.
    pub(super) psks: Vec<Vec<u8>>,
    /// Data follows under the first of them.
    pub(super) early_data: bool,
    /// The TLS 1.2 ticket; empty where the client has none and would take one.
    pub(super) ticket: Option<Vec<u8>>,
    /// The session id, which in TLS 1.3 means nothing.
    pub(super) session_id: Vec<u8>,
}

impl Offer {
    /// Reads records that begin with a ClientHello, as they came. `None` where they are not understood.
    pub(super) fn read(records: &[u8]) -> Option<Self> {
        let message = message(records)?;
        let mut hello = Reader(&message);
        hello.take(2 + 32)?; // legacy_version, random
        let mut offer = Self {
            session_id: hello.list8()?.to_vec(),
            ..Self::default()
        };
        hello.list16()?; // cipher_suites
        hello.list8()?; // legacy_compression_methods
        if hello.0.is_empty() {
            return Some(offer); // No extensions at all.
        }
        let mut extensions = Reader(hello.list16()?);
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            offer.extension(kind, extensions.list16()?)?;
        }
        Some(offer)
    }

    /// Whether it offers a session, or something that looks like one.
    pub(super) fn has_session(&self) -> bool {
        let ticket = self.ticket.as_ref().is_some_and(|it| !it.is_empty());
        ticket || !self.psks.is_empty()
    }

    fn extension(&mut self, kind: u16, body: &[u8]) -> Option<()> {
        match kind {
            SUPPORTED_VERSIONS => {
                let mut versions = Reader(Reader(body).list8()?);
                while let Some(version) = versions.u16() {
                    self.tls13 |= version == TLS_1_3;
                }
            }
            SESSION_TICKET => self.ticket = Some(body.to_vec()),
            EARLY_DATA => self.early_data = true,
            PRE_SHARED_KEY => {
                let mut identities = Reader(Reader(body).list16()?);
                while !identities.0.is_empty() && self.psks.len() < PSKS {
                    self.psks.push(identities.list16()?.to_vec());
                    identities.take(4)?; // obfuscated_ticket_age
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// The body of the ClientHello, out of one record or several.
fn message(mut records: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut whole: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    loop {
        let mut reader = Reader(records);
        if reader.take(1)? != [HANDSHAKE] {
            return None;
        }
        reader.take(2)?; // legacy_record_version
        let fragment = reader.list16()?;
        records = reader.0;
        if whole.is_empty() {
            whole = Cow::Borrowed(fragment);
        } else {
            whole.to_mut().extend_from_slice(fragment);
        }
        let Some([kind, length @ ..]) = whole.first_chunk::<4>() else {
            continue;
        };
        if *kind != CLIENT_HELLO {
            return None;
        }
        let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
        if whole.len() >= 4 + length {
            return Some(match whole {
                Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[4..4 + length]),
                Cow::Owned(bytes) => Cow::Owned(bytes[4..4 + length].to_vec()),
            });
        }
    }
}

/// Big-endian numbers and lists with a length in front (RFC 8446, section 3).
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn list8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    pub(super) fn list16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    pub(super) fn list24(&mut self) -> Option<&'a [u8]> {
        let [a, b, c] = self.array()?;
        self.take(u32::from_be_bytes([0, a, b, c]) as usize)
    }
}

#[cfg(test)]
mod tests;
