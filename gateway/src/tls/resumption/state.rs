//! A session as rustls writes it, and as it is sealed.
//!
//! rustls hands a ticketer the encoding of its `ServerSessionValue`, with the client's whole chain inside. Here it is
//! taken apart, so that the version is known, certificates that both sides of a restart know are only referred to, and
//! what the chain was believed for goes along. A test pins the encoding to the version of rustls in use; what does not
//! parse to its last byte is not sealed and not resumed.

use rustls::{CipherSuite, ProtocolVersion};
use zeroize::Zeroizing;

use crate::tls::client_hello::Reader;

/// First byte of what is sealed; another meaning gets another number.
const STATE: u8 = 1;

const FLAG_EMS: u8 = 1;
const FLAG_SERVER_NAME: u8 = 2;
const FLAG_ALPN: u8 = 4;

/// What rustls needs to resume: everything of its session but the client's certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session<'a> {
    pub(super) server_name: Option<&'a [u8]>,
    pub(super) version: ProtocolVersion,
    pub(super) suite: CipherSuite,
    secret: Secret<'a>,
    extended_master_secret: bool,
    alpn: Option<&'a [u8]>,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    age_add: u32,
}

/// The pre-shared key or the master secret.
#[derive(Clone, PartialEq, Eq)]
struct Secret<'a>(&'a [u8]);

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

impl<'a> Session<'a> {
    /// Reads what rustls wrote, and the client's chain beside it, the leaf first.
    pub(super) fn of_rustls(encoded: &'a [u8]) -> Option<(Self, Vec<&'a [u8]>)> {
        let mut reader = Reader(encoded);
        let server_name = match reader.u8()? {
            0 => None,
            _ => Some(reader.list8()?),
        };
        let version = reader.u16()?.into();
        let suite = reader.u16()?.into();
        let secret = Secret(reader.list8()?);
        let extended_master_secret = reader.u8()? == 1;
        let mut chain = Vec::new();
        if reader.u8()? == 1 {
            let mut list = Reader(reader.list24()?);
            while !list.0.is_empty() {
                chain.push(list.list24()?);
            }
        }
        let alpn = match reader.u8()? {
            1 => Some(reader.list8()?),
            _ => None,
        };
        reader.list16()?; // application data: never set
        let created = u64::from_be_bytes(reader.array()?);
        let age_add = u32::from_be_bytes(reader.array()?);
        let session = Self {
            server_name,
            version,
            suite,
            secret,
            extended_master_secret,
            alpn,
            created,
            age_add,
        };
        reader.0.is_empty().then_some((session, chain))
    }

    /// As rustls reads it, without the client's chain: who the client is, is not rustls' to remember.
    pub(super) fn to_rustls(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(160));
        match self.server_name {
            None => out.push(0),
            Some(name) => {
                out.push(1);
                list8(&mut out, name);
            }
        }
        out.extend(u16::from(self.version).to_be_bytes());
        out.extend(u16::from(self.suite).to_be_bytes());
        list8(&mut out, self.secret.0);
        out.push(u8::from(self.extended_master_secret));
        out.push(0);
        match self.alpn {
            None => out.push(0),
            Some(alpn) => {
                out.push(1);
                list8(&mut out, alpn);
            }
        }
        out.extend([0, 0]);
        out.extend(self.created.to_be_bytes());
        out.extend(self.age_add.to_be_bytes());
        out
    }

    /// Appends what is sealed; the client's part goes behind it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(STATE);
        let flag = |set, flag| if set { flag } else { 0 };
        out.push(
            flag(self.extended_master_secret, FLAG_EMS)
                | flag(self.server_name.is_some(), FLAG_SERVER_NAME)
                | flag(self.alpn.is_some(), FLAG_ALPN),
        );
        out.extend(u16::from(self.version).to_be_bytes());
        out.extend(u16::from(self.suite).to_be_bytes());
        list8(out, self.secret.0);
        for text in [self.server_name, self.alpn].into_iter().flatten() {
            list8(out, text);
        }
        out.extend(self.created.to_be_bytes());
        out.extend(self.age_add.to_be_bytes());
    }

    /// Reads what [`Self::write`] wrote, and what follows it.
    pub(super) fn read(sealed: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader(sealed);
        if reader.u8()? != STATE {
            return None;
        }
        let flags = reader.u8()?;
        let version = reader.u16()?.into();
        let suite = reader.u16()?.into();
        let secret = Secret(reader.list8()?);
        let mut text = |flag| match flags & flag {
            0 => Some(None),
            _ => reader.list8().map(Some),
        };
        let (server_name, alpn) = (text(FLAG_SERVER_NAME)?, text(FLAG_ALPN)?);
        let session = Self {
            server_name,
            version,
            suite,
            secret,
            extended_master_secret: flags & FLAG_EMS != 0,
            alpn,
            created: u64::from_be_bytes(reader.array()?),
            age_add: u32::from_be_bytes(reader.array()?),
        };
        Some((session, reader.0))
    }
}

/// Everything that is put here had a length of one byte before.
fn list8(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(&bytes[..len.into()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encoding of rustls 0.23, from its own test of `ServerSessionValue`.
    fn encoded(chain: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![1, 3, b'a', b'.', b'b', 3, 4, 0x13, 1, 2, 7, 8, 0];
        out.push(u8::from(!chain.is_empty()));
        if !chain.is_empty() {
            let total: usize = chain.iter().map(|der| der.len() + 3).sum();
            out.extend(&u32::try_from(total).unwrap().to_be_bytes()[1..]);
            for der in chain {
                out.extend(&u32::try_from(der.len()).unwrap().to_be_bytes()[1..]);
                out.extend(*der);
            }
        }
        out.extend([1, 2, b'h', b'2', 0, 0]);
        out.extend(77u64.to_be_bytes());
        out.extend(5u32.to_be_bytes());
        out
    }

    #[test]
    fn what_does_not_parse_to_its_last_byte_is_no_session() {
        let whole = encoded(&[b"leaf", b"issuer"]);
        for end in 0..whole.len() {
            assert_eq!(Session::of_rustls(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(Session::of_rustls(&[&whole[..], &[0]].concat()), None);
    }

    #[test]
    fn a_session_comes_back_as_it_was_but_for_the_chain() {
        let whole = encoded(&[b"leaf", b"issuer"]);
        let (session, chain) = Session::of_rustls(&whole).unwrap();
        assert_eq!(chain, [&b"leaf"[..], b"issuer"]);
        assert_eq!(session.version, ProtocolVersion::TLSv1_3);
        assert_eq!(session.created, 77);
        let mut sealed = Vec::new();
        session.write(&mut sealed);
        sealed.extend(b"client");
        let (again, client) = Session::read(&sealed).unwrap();
        assert_eq!((&again, client), (&session, &b"client"[..]));
        assert_eq!(*again.to_rustls(), encoded(&[]));
        assert!(
            !format!("{session:?}").contains('7') || !format!("{session:?}").contains("[7, 8]")
        );
    }

    #[test]
    fn sealed_bytes_that_are_cut_short_are_no_session() {
        let whole = encoded(&[]);
        let (session, _) = Session::of_rustls(&whole).unwrap();
        let mut sealed = Vec::new();
        session.write(&mut sealed);
        for end in 0..sealed.len() {
            assert_eq!(Session::read(&sealed[..end]), None, "cut at {end}");
        }
    }
}
