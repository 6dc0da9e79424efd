use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};

use super::*;

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn hello_of(versions: &[&'static SupportedProtocolVersion]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let name = ServerName::try_from("api.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut records = Vec::new();
    client.write_tls(&mut records).unwrap();
    records
}

/// A ClientHello with these extensions, in records of at most `cut` bytes.
fn hello_with(extensions: &[(u16, Vec<u8>)], cut: usize) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([0; 32]);
    body.extend([4, 1, 2, 3, 4]); // session id
    body.extend([0, 2, 0x13, 1]);
    body.extend([1, 0]);
    let listed: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, bytes)| {
            let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [&kind.to_be_bytes()[..], &len, bytes].concat()
        })
        .collect();
    body.extend(u16::try_from(listed.len()).unwrap().to_be_bytes());
    body.extend(listed);
    let mut message = vec![1];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    let record = |fragment: &[u8]| {
        let len = u16::try_from(fragment.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &len, fragment].concat()
    };
    message.chunks(cut).flat_map(record).collect()
}

fn psks(identities: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = identities
        .iter()
        .flat_map(|identity| {
            let len = u16::try_from(identity.len()).unwrap().to_be_bytes();
            [&len[..], identity, &[0; 4]].concat()
        })
        .collect();
    let len = u16::try_from(list.len()).unwrap().to_be_bytes();
    (PRE_SHARED_KEY, [&len[..], &list, &[0, 0]].concat())
}

#[test]
fn what_is_cut_short_or_is_something_else_offers_nothing() {
    let whole = hello_with(&[psks(&[b"ticket"]), (SESSION_TICKET, vec![1, 2])], 4096);
    assert!(Offer::read(&whole).is_some());
    for end in 0..whole.len() {
        assert_eq!(Offer::read(&whole[..end]), None, "cut at {end}");
    }
    assert_eq!(Offer::read(b"GET / HTTP/1.1\r\n\r\n"), None);
    let mut alert = whole.clone();
    alert[0] = 21;
    assert_eq!(Offer::read(&alert), None);
    let mut server_hello = whole;
    server_hello[5] = 2;
    assert_eq!(Offer::read(&server_hello), None);
}

#[test]
fn a_hello_in_many_records_says_the_same_as_in_one() {
    let versions = (SUPPORTED_VERSIONS, vec![4, 3, 4, 3, 3]);
    let extensions = [
        versions,
        (EARLY_DATA, vec![]),
        (SESSION_TICKET, vec![9; 7]),
        psks(&[b"first", b"second"]),
    ];
    let whole = Offer::read(&hello_with(&extensions, 4096)).unwrap();
    assert!(whole.tls13 && whole.early_data);
    assert_eq!(whole.psks, [&b"first"[..], b"second"]);
    assert_eq!(whole.ticket.as_deref(), Some(&[9; 7][..]));
    assert_eq!(whole.session_id, [1, 2, 3, 4]);
    for cut in [1, 3, 5, 50] {
        assert_eq!(
            Offer::read(&hello_with(&extensions, cut)),
            Some(offer(&whole))
        );
    }
}

fn offer(of: &Offer) -> Offer {
    Offer {
        tls13: of.tls13,
        psks: of.psks.clone(),
        early_data: of.early_data,
        ticket: of.ticket.clone(),
        session_id: of.session_id.clone(),
    }
}

#[test]
fn of_many_identities_only_the_first_few_are_looked_at() {
    let many: Vec<&[u8]> = (0..100).map(|_| &b"x"[..]).collect();
    let offer = Offer::read(&hello_with(&[psks(&many)], 4096)).unwrap();
    assert_eq!(offer.psks.len(), PSKS);
}

#[test]
fn the_version_is_read_as_a_real_client_sends_it() {
    fn offers(versions: &[&'static SupportedProtocolVersion]) -> Offer {
        Offer::read(&hello_of(versions)).unwrap()
    }
    assert!(offers(&[&rustls::version::TLS13]).tls13);
    assert!(offers(&[&rustls::version::TLS13, &rustls::version::TLS12]).tls13);
    let old = offers(&[&rustls::version::TLS12]);
    assert!(!old.tls13);
    assert_eq!(old.ticket, Some(Vec::new()));
}
