//! A TLS handshake in memory, on this thread: the token signs, the client verifies.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, Error, RootCertStore, ServerConfig,
    ServerConnection, SideData, SupportedProtocolVersion,
};

/// What the certificate is for.
pub(crate) const NAME: &str = "site.example";

/// A whole handshake of this version with the certificate, which the client trusts as it is.
pub(crate) fn complete(
    certified: &Arc<CertifiedKey>,
    version: &'static SupportedProtocolVersion,
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert[0].clone())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(certified))));
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server))?;
    let mut client = ClientConnection::new(Arc::new(client), NAME.try_into().unwrap())?;
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server)?;
        pass(&mut server, &mut client)?;
    }
    assert_eq!(server.protocol_version(), Some(version.version));
    assert_eq!(client.peer_certificates(), Some(&certified.cert[..]));
    Ok(())
}

/// What one end has to say reaches the other.
fn pass<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut unread = &bytes[..];
    while !unread.is_empty() {
        to.read_tls(&mut unread).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}
