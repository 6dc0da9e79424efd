//! Server certificates and the keys that sign for them.
use std::path::PathBuf;

use portcullis_hsm::uri::{ObjectType, Pkcs11Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::hsm_ref::{Tokens, Wanted};
use crate::{HsmRef, Located};

/// One certificate chain with the key that proves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The chain.
    pub chain: Located<ChainSource>,
    /// The key.
    pub key: Located<KeySource>,
    /// Where a PKCS#11 key is, resolved from the key's URI or the `hsm` field; always there for one.
    pub hsm: Option<HsmRef>,
}

/// What names a certificate chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainSource {
    /// PEM file: leaf first, then intermediates. Relative paths were resolved against the config file.
    File(PathBuf),
    /// `pkcs11:...`: certificate objects in the token of the key. Never with a software key.
    Token(Pkcs11Uri),
}

/// What names a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `pkcs11:...` (RFC 7512).
    Pkcs11(Pkcs11Uri),
    /// `file:PATH`, a PEM key in software. Resolved path. Only when listed in [`Keys::software`].
    Software(PathBuf),
}

/// `[keys]`: the exceptions to "generated in the HSM, cannot leave it", each by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Software keys that may be used: resolved paths.
    pub software: Vec<PathBuf>,
    /// Token keys that may be used though `CKA_EXTRACTABLE` is true or `CKA_SENSITIVE` is false.
    pub extractable: Vec<Pkcs11Uri>,
}

/// The least provenance the keys of a site must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyPolicy {
    /// Also what `[keys]` allows by name: software keys, and keys that could leave the token.
    Any,
    /// In a token and not extractable now, wherever it came from.
    Imported,
    /// Made in the HSM, and never outside.
    Generated,
}

impl KeyPolicy {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyPolicy::Any => "any",
            KeyPolicy::Imported => "imported",
            KeyPolicy::Generated => "generated",
        }
    }
}

/// `certificate` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCertificate {
    /// PEM file with the certificate chain: leaf first, then intermediates. Or `pkcs11:...`, when the chain
    /// is in the token of the key. Required.
    chain: Option<Located<String>>,
    /// The private key: `pkcs11:...` (RFC 7512) in a token, or `file:PATH` if `keys.software` lists it.
    /// Required.
    key: Option<Located<String>>,
    /// Name of the `[hsm.NAME]` or `[hsm_group.NAME]` the key is in. Needed only when its URI fits several.
    hsm: Option<Located<String>>,
}

/// `[keys]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawKeys {
    /// Software keys that may be used, as `file:PATH`. Every other key must be in a token.
    software: Option<Vec<Located<String>>>,
    /// Keys in a token that may be used although they could leave it, as `pkcs11:...`.
    extractable: Option<Vec<Located<String>>>,
}

impl RawKeys {
    pub(crate) fn check(self, check: &mut Check<'_>) -> Keys {
        let mut keys = Keys::default();
        for text in self.software.unwrap_or_default() {
            match key_source(check, &text) {
                Some(KeySource::Software(path)) => keys.software.push(path),
                Some(KeySource::Pkcs11(_)) => {
                    check
                        .error(&text.span, "this key is in a token, not in software")
                        .help("keys in a token need no permission unless they are extractable");
                }
                None => {}
            }
        }
        for text in self.extractable.unwrap_or_default() {
            match key_source(check, &text) {
                Some(KeySource::Pkcs11(uri)) => keys.extractable.push(uri),
                Some(KeySource::Software(_)) => {
                    check
                        .error(&text.span, "this key is a file, not in a token")
                        .help("list it in `software`");
                }
                None => {}
            }
        }
        keys
    }
}

impl RawCertificate {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        tokens: &Tokens<'_>,
        policy: KeyPolicy,
    ) -> Option<Certificate> {
        let chain = check
            .required(table, "chain", self.chain)
            .map(|text| (chain_source(check, &text), text));
        let text = check.required(table, "key", self.key);
        let (key, hsm) = checked_key(check, text, self.hsm, tokens, policy)?;
        let (source, chain) = chain?;
        let source = chain.with(source?);
        if let ChainSource::Token(uri) = &source.value {
            match (&key.value, hsm) {
                (KeySource::Software(_), _) => {
                    check
                        .error(
                            &source.span,
                            "the chain is in a token, but the key is a file",
                        )
                        .help("a chain is read from the token of its key: write a PEM file")
                        .related(&key.span, "the key");
                }
                (KeySource::Pkcs11(_), Some(place)) => {
                    let wanted = Wanted {
                        uri: &source.with(uri.clone()),
                        what: "chain",
                        by: "hsm",
                    };
                    tokens.held(check, &wanted, place, None);
                }
                (KeySource::Pkcs11(_), None) => {}
            }
        }
        Some(Certificate {
            chain: source,
            key,
            hsm,
        })
    }
}

/// A key that is named by URI or file, and perhaps by token; where it is, for one in a token.
pub(crate) fn checked_key(
    check: &mut Check<'_>,
    text: Option<Located<String>>,
    hsm: Option<Located<String>>,
    tokens: &Tokens<'_>,
    policy: KeyPolicy,
) -> Option<(Located<KeySource>, Option<HsmRef>)> {
    let named = hsm.map(|name| (tokens.named(check, &name), name.span));
    let text = text?;
    let key = text.with(key_source(check, &text)?);
    let hsm = match &key.value {
        KeySource::Software(path) => {
            if let Some((_, span)) = named {
                check.error(&span, "`hsm` does nothing here: the key is a file");
            }
            software_key(check, &text.with(path), tokens, policy);
            None
        }
        KeySource::Pkcs11(uri) => {
            let wanted = Wanted {
                uri: &text.with(uri.clone()),
                what: "key",
                by: "hsm",
            };
            tokens.place_of(check, &wanted, named.as_ref())
        }
    };
    Some((key, hsm))
}

/// Reports a key file that nobody allowed, or that the site refuses whoever allowed it.
fn software_key(
    check: &mut Check<'_>,
    path: &Located<&PathBuf>,
    tokens: &Tokens<'_>,
    policy: KeyPolicy,
) {
    if policy > KeyPolicy::Any {
        let policy = policy.as_str();
        check
            .error(&path.span, "this `key_policy` refuses software keys")
            .help(format!(
                "`{policy}` asks for a key in a token: use `pkcs11:...`, or `any`"
            ));
    } else if !tokens.keys.software.contains(path.value) {
        check
            .error(&path.span, "this software key is not allowed")
            .help(format!(
                "add to `[keys]`: software = [\"file:{}\"]",
                path.display()
            ));
    }
}

fn chain_source(check: &mut Check<'_>, text: &Located<String>) -> Option<ChainSource> {
    if !text.value.starts_with("pkcs11:") {
        return Some(ChainSource::File(check.path(text).value));
    }
    let uri = pkcs11(check, text)?;
    match uri.object_type() {
        None | Some(ObjectType::Certificate) => Some(ChainSource::Token(uri)),
        Some(_) => {
            check
                .error(
                    &text.span,
                    "this URI names something else than a certificate",
                )
                .help("write `type=cert`, or leave the type out");
            None
        }
    }
}

fn key_source(check: &mut Check<'_>, text: &Located<String>) -> Option<KeySource> {
    if let Some(path) = text.value.strip_prefix("file:") {
        if path.is_empty() {
            check.error(&text.span, "this path is empty");
            return None;
        }
        return Some(KeySource::Software(check.resolved(&text.span, path)));
    }
    if text.value.starts_with("pkcs11:") {
        return pkcs11(check, text).map(KeySource::Pkcs11);
    }
    check
        .error(
            &text.span,
            "a key is written as `pkcs11:...` or `file:PATH`",
        )
        .help("for example \"pkcs11:token=edge;object=api;type=private\"");
    None
}

/// A PKCS#11 URI that leaves the PIN to its token.
pub(crate) fn pkcs11(check: &mut Check<'_>, text: &Located<String>) -> Option<Pkcs11Uri> {
    match text.value.parse::<Pkcs11Uri>() {
        Ok(uri) if uri.pin_source().is_none() => Some(uri),
        Ok(_) => {
            check
                .error(&text.span, "`pin-source` does nothing here")
                .help("name the PIN source as `pin` of the `[hsm.NAME]`");
            None
        }
        Err(error) => {
            check.error(&text.span, format!("this is no PKCS#11 URI: {error}"));
            None
        }
    }
}
