//! Name constraints whose form the verifier cannot decide.
//!
//! webpki decides DNS names and addresses, and refuses every certificate under a CA with a constraint of another
//! form it has a name of: safe, but the operator must be told that it is the form and not the name.

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints};
use x509_parser::prelude::FromDer;

/// The form of the constraint, of a CA in `intermediates` or of an anchor, that nobody decides, if there is one.
pub(super) fn undecided<'a>(
    intermediates: &[CertificateDer<'_>],
    anchors: impl Iterator<Item = &'a [u8]>,
) -> Option<&'static str> {
    let of_intermediate = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let constraints = certificate.name_constraints().ok()??;
        undecided_form(constraints.value)
    };
    let of_anchor = |content: &[u8]| {
        // Trust anchors hold the extension without its outer SEQUENCE.
        let der = sequence(content);
        let (_, constraints) = NameConstraints::from_der(&der).ok()?;
        undecided_form(&constraints)
    };
    intermediates
        .iter()
        .find_map(of_intermediate)
        .or_else(|| anchors.into_iter().find_map(of_anchor))
}

fn undecided_form(constraints: &NameConstraints<'_>) -> Option<&'static str> {
    let permitted = constraints.permitted_subtrees.iter().flatten();
    let excluded = constraints.excluded_subtrees.iter().flatten();
    permitted
        .chain(excluded)
        .find_map(|subtree| match subtree.base {
            GeneralName::DNSName(_) | GeneralName::IPAddress(_) => None,
            GeneralName::URI(_) => Some("URI"),
            GeneralName::DirectoryName(_) => Some("directory name"),
            GeneralName::RFC822Name(_) => Some("mail address"),
            _ => Some("other"),
        })
}

/// `content` as a DER SEQUENCE.
pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    let mut der = vec![0x30];
    match content.len() {
        short @ 0..=0x7f => der.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            der.push(0x80 | (bytes.len() - skip) as u8);
            der.extend_from_slice(&bytes[skip..]);
        }
    }
    der.extend_from_slice(content);
    der
}
