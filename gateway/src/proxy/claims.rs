//! What only the gateway may say about a client, by the names it goes under: identity, origin, framing.
//!
//! A name counts in every spelling that some stack behind the gateway would read as the name.

use http::{HeaderMap, HeaderName};

/// Removes what only the gateway may say about a client. Upstreams that fold `_` into `-` (CGI, WSGI), or
/// whatever is no letter, would read `X_Forwarded_Client_Cert` as ours, so all spellings go.
pub(super) fn remove_claims(
    headers: &mut HeaderMap,
    trusted: bool,
    token_header: Option<&HeaderName>,
) {
    let token = token_header.map(HeaderName::as_str);
    let claims: Vec<HeaderName> = headers
        .keys()
        .map(|name| (name, name.as_str()))
        .filter(|(_, text)| is_claim(text, trusted) || token.is_some_and(|name| folds(text, name)))
        .map(|(name, _)| name)
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

fn is_claim(name: &str, trusted: bool) -> bool {
    // Most fields are told from every claim below by their first letter, which no spelling changes.
    if !matches!(name.as_bytes().first(), Some(b'x' | b'c' | b'f' | b't')) {
        return false;
    }
    let is = |claim: &str| folds(name, claim);
    let starts = |claim: &str| {
        let start = name.get(..claim.len());
        start.is_some_and(|start| folds(start, claim))
    };
    // A spelling with anything but `-` is never what a trusted hop sends; an exact one may be.
    let folded = !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // Framing in a spelling that only some stacks would read as framing.
    if folded && (is("transfer-encoding") || is("content-length")) {
        return true;
    }
    if is("x-forwarded-client-cert")
        || is("client-cert")
        || is("client-cert-chain")
        || is("client-cert-verified")
    {
        return true;
    }
    let hop = starts("x-forwarded-") || is("forwarded") || is("x-real-ip");
    hop && (!trusted || folded)
}

/// Whether a name reads as `claim` to somebody who takes every sign for a `-`.
fn folds(name: &str, claim: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || (b == b'-' && !a.is_ascii_alphanumeric());
    name.len() == claim.len() && name.bytes().zip(claim.bytes()).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_reads_as_a_dash_and_no_letter_does() {
        for name in ["client-cert", "client_cert", "client.cert", "client~cert"] {
            assert!(is_claim(name, true), "{name}");
        }
        for name in [
            "clientxcert",
            "client-cert-",
            "client-certs",
            "xclient-cert",
            "client",
        ] {
            assert!(!is_claim(name, false), "{name}");
        }
    }

    #[test]
    fn a_trusted_hop_is_heard_in_the_exact_spelling_alone() {
        for name in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            assert!(!is_claim(name, true) && is_claim(name, false), "{name}");
            let odd = name.replace('-', "_");
            assert!(odd == name || is_claim(&odd, true), "{odd}");
        }
        assert!(is_claim("x-forwarded-client-cert", true));
        assert!(is_claim("content_length", true) && !is_claim("content-length", true));
    }
}
