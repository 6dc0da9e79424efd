//! JSON Web Signatures (RFC 7515) by keys that never leave their token.
//!
//! A signature waits in a step, so the thread serves others meanwhile, and it ends by the token's deadline. The
//! algorithm follows from the key, and a key signs with one algorithm only.

mod ecdsa;
mod jwk;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_hsm::{Key, KeyKind, step};
use rustls::SignatureScheme;
use serde_json::{Value, json};

/// A key with the algorithm it signs with and the name it is known by.
#[derive(Debug)]
pub struct JwsSigner {
    key: Key,
    scheme: SignatureScheme,
    /// For [`Self::jwks`].
    jwk: Value,
    /// `kid`: the thumbprint of the key (RFC 7638).
    kid: String,
    /// The protected header, encoded.
    header: String,
}

/// Why there is no signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwsError {
    /// The key cannot serve JSON Web Signatures.
    Unsupported(&'static str),
    /// The key did not sign, as the token tells.
    NotSigned(String),
}

impl fmt::Display for JwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(reason) => write!(f, "the key cannot sign identities: {reason}"),
            Self::NotSigned(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for JwsError {}

impl JwsSigner {
    /// Takes a key that was proven.
    ///
    /// # Errors
    /// [`JwsError::Unsupported`].
    pub fn new(key: Key) -> Result<Self, JwsError> {
        let (scheme, alg) = algorithms(key.info().kind)
            .iter()
            .find(|(scheme, _)| key.signing_key().choose_scheme(&[*scheme]).is_some())
            .ok_or(JwsError::Unsupported("its token has no mechanism for it"))?;
        let members = jwk::members(key.info().kind, key.spki())
            .ok_or(JwsError::Unsupported("its public half cannot be read"))?;
        let kid = jwk::thumbprint(&members);
        let mut jwk = Value::Object(members);
        for (name, value) in [("kid", &*kid), ("alg", *alg), ("use", "sig")] {
            jwk[name] = json!(value);
        }
        let header = json!({ "alg": alg, "kid": kid, "typ": "JWT" }).to_string();
        Ok(Self {
            scheme: *scheme,
            jwk,
            kid,
            header: URL_SAFE_NO_PAD.encode(header),
            key,
        })
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// Signs claims: a JWT in compact form.
    ///
    /// # Errors
    /// [`JwsError::NotSigned`] when the token refuses, is away or is not done by its deadline.
    pub async fn sign(&self, claims: &Value) -> Result<String, JwsError> {
        let signing = self.key.signing_key();
        let signer = signing
            .choose_scheme(&[self.scheme])
            .ok_or(JwsError::Unsupported("its token has no mechanism for it"))?;
        let mut text = self.header.clone();
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
        let message = text.clone().into_bytes();
        let signature = step::run(move || signer.sign(&message))
            .await
            .map_err(|error| JwsError::NotSigned(error.to_string()))?;
        let signature = match ecdsa::width(self.key.info().kind) {
            Some(width) => ecdsa::fixed(&signature, width)
                .ok_or_else(|| JwsError::NotSigned("the signature is malformed".to_owned()))?,
            None => signature,
        };
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }
}

/// How a kind of key signs, the best first (RFC 7518, section 3.1; RFC 8037, section 3.1).
fn algorithms(kind: KeyKind) -> &'static [(SignatureScheme, &'static str)] {
    match kind {
        KeyKind::EcdsaP256 => &[(SignatureScheme::ECDSA_NISTP256_SHA256, "ES256")],
        KeyKind::EcdsaP384 => &[(SignatureScheme::ECDSA_NISTP384_SHA384, "ES384")],
        KeyKind::EcdsaP521 => &[(SignatureScheme::ECDSA_NISTP521_SHA512, "ES512")],
        KeyKind::Ed25519 => &[(SignatureScheme::ED25519, "EdDSA")],
        KeyKind::Rsa { .. } => &[
            (SignatureScheme::RSA_PSS_SHA256, "PS256"),
            (SignatureScheme::RSA_PKCS1_SHA256, "RS256"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    use rcgen::{KeyPair, PublicKeyData as _};

    use super::*;

    fn software(pair: &KeyPair) -> Key {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        std::fs::write(&path, pair.serialize_pem()).unwrap();
        Key::software(&path).unwrap()
    }

    #[tokio::test]
    async fn every_kind_of_key_signs_what_its_algorithm_verifies() {
        let kinds: [(_, &str, &dyn VerificationAlgorithm); 4] = [
            (
                &rcgen::PKCS_ECDSA_P256_SHA256,
                "ES256",
                &signature::ECDSA_P256_SHA256_FIXED,
            ),
            (
                &rcgen::PKCS_ECDSA_P384_SHA384,
                "ES384",
                &signature::ECDSA_P384_SHA384_FIXED,
            ),
            (&rcgen::PKCS_ED25519, "EdDSA", &signature::ED25519),
            (
                &rcgen::PKCS_RSA_SHA256,
                "PS256",
                &signature::RSA_PSS_2048_8192_SHA256,
            ),
        ];
        for (algorithm, alg, verifier) in kinds {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let signer = JwsSigner::new(software(&pair)).unwrap();
            let token = signer.sign(&json!({ "sub": "a" })).await.unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let (header, claims) = signed.split_once('.').unwrap();
            let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
            let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
            assert_eq!(
                header,
                json!({ "alg": alg, "kid": signer.kid(), "typ": "JWT" })
            );
            assert_eq!(decoded(claims), br#"{"sub":"a"}"#);
            let spki = pair.subject_public_key_info();
            let public = UnparsedPublicKey::new(verifier, &spki);
            public
                .verify(signed.as_bytes(), &decoded(signature))
                .unwrap();
            let wrong = signed.replacen('.', "x.", 1);
            assert!(
                public
                    .verify(wrong.as_bytes(), &decoded(signature))
                    .is_err()
            );
            let key = &signer.jwks()["keys"][0];
            assert_eq!(
                (&key["alg"], &key["kid"]),
                (&json!(alg), &json!(signer.kid()))
            );
            assert!(key.get("d").is_none() && key["use"] == "sig");
        }
    }
}
