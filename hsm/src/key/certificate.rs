//! placeholder
use crate::error::HsmError;
use crate::uri::Pkcs11Uri;
use cryptoki::session::Session;
use rustls::pki_types::CertificateDer;
pub(crate) fn chain(_: &Session, _: &Pkcs11Uri) -> Result<Vec<CertificateDer<'static>>, HsmError> {
    Ok(Vec::new())
}
