//! The claims of a signed identity (RFC 7519): who the client is, for whom and until when that is said.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::identity::Identity;

/// Bytes of names in a token; with more, `dns` and `uri` are left out, for half a list would be another one.
const MAX_NAMES: usize = 8 * 1024;

/// By whom, for whom and when.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// Claim `iss`.
    pub issuer: &'a str,
    /// Claim `aud`.
    pub audience: &'a str,
    /// Claim `site`: the site of the client's handshake.
    pub site: &'a str,
    /// Claims `iat` and `nbf`, seconds since the Unix epoch.
    pub now: i64,
    /// Seconds from there to `exp`.
    pub lifetime: i64,
}

impl Occasion<'_> {
    /// Claim `exp`: never past the end of the client's certificate. `None` when that is over.
    pub fn expires(&self, identity: &Identity) -> Option<i64> {
        let end = (self.now + self.lifetime).min(identity.not_after);
        (end > self.now).then_some(end)
    }
}

/// The claims about a verified identity. `None` when its certificate is past its end.
pub fn claims(identity: &Identity, occasion: &Occasion<'_>) -> Option<Value> {
    let expires = occasion.expires(identity)?;
    let mut claims = json!({
        "iss": occasion.issuer,
        "aud": occasion.audience,
        "iat": occasion.now,
        "nbf": occasion.now,
        "exp": expires,
        "sub": subject(identity),
        // RFC 8705, section 3.1.
        "cnf": { "x5t#S256": URL_SAFE_NO_PAD.encode(identity.sha256) },
        "verified": true,
        "site": occasion.site,
        "subject": identity.subject,
        "issuer": identity.issuer,
        "serial": identity.serial,
    });
    if let Some(spiffe) = &identity.spiffe {
        claims["spiffe"] = json!(spiffe);
    }
    let names = identity.uris.iter().chain(&identity.dns);
    if names.map(String::len).sum::<usize>() <= MAX_NAMES {
        claims["uri"] = json!(identity.uris);
        claims["dns"] = json!(identity.dns);
    }
    Some(claims)
}

/// The SPIFFE ID; else the subject, which begins with an attribute's name and so never looks like one; else,
/// for a certificate without either, its fingerprint.
pub fn subject(identity: &Identity) -> String {
    match &identity.spiffe {
        Some(spiffe) => spiffe.clone(),
        None if identity.subject.is_empty() => format!("sha256:{}", identity.sha256_hex()),
        None => identity.subject.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OCCASION: Occasion<'_> = Occasion {
        issuer: "portcullis",
        audience: "orders",
        site: "api",
        now: 1000,
        lifetime: 60,
    };

    fn identity() -> Identity {
        Identity {
            spiffe: Some("spiffe://a/b".to_owned()),
            uris: vec!["spiffe://a/b".to_owned()],
            dns: vec!["b.example".to_owned()],
            subject: "CN=b".to_owned(),
            issuer: "CN=ca".to_owned(),
            serial: "1f".to_owned(),
            not_after: 5000,
            ..Identity::default()
        }
    }

    #[test]
    fn nothing_is_said_past_the_end_of_the_certificate() {
        let mut ends = identity();
        ends.not_after = 1000;
        assert_eq!(claims(&ends, &OCCASION), None);
        ends.not_after = 1001;
        assert_eq!(claims(&ends, &OCCASION).unwrap()["exp"], 1001);
        assert_eq!(claims(&identity(), &OCCASION).unwrap()["exp"], 1060);
    }

    #[test]
    fn too_many_names_are_left_out_together() {
        let mut many = identity();
        many.dns = vec!["a".repeat(100); 100];
        let claims = claims(&many, &OCCASION).unwrap();
        assert!(claims.get("dns").is_none() && claims.get("uri").is_none());
        assert_eq!(claims["spiffe"], "spiffe://a/b");
    }

    #[test]
    fn the_subject_is_the_best_name_there_is() {
        let mut poor = identity();
        assert_eq!(claims(&poor, &OCCASION).unwrap()["sub"], "spiffe://a/b");
        poor.spiffe = None;
        let told = claims(&poor, &OCCASION).unwrap();
        assert_eq!(told["sub"], "CN=b");
        assert!(told.get("spiffe").is_none());
        poor.subject.clear();
        let fingerprint = format!("sha256:{}", "00".repeat(32));
        assert_eq!(claims(&poor, &OCCASION).unwrap()["sub"], fingerprint);
    }
}
