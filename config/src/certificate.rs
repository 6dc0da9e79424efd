//! Server certificates and the keys that sign for them.
use std::path::PathBuf;

use portcullis_hsm::uri::Pkcs11Uri;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::value::quoted;
use crate::{Hsm, Located, TokenSelector};

/// One certificate chain with the key that proves it.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// PEM file: leaf first, then intermediates. Relative paths were resolved against the config file.
    pub chain: Located<PathBuf>,
    /// The key.
    pub key: Located<KeySource>,
    /// Index into [`crate::Config::hsms`] for a PKCS#11 key, resolved from the key's URI or the `hsm` field.
    pub hsm: Option<usize>,
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

/// `certificate` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCertificate {
    /// PEM file with the certificate chain: leaf first, then intermediates. Required.
    chain: Option<Located<String>>,
    /// The private key: `pkcs11:...` (RFC 7512) in a token, or `file:PATH` if `keys.software` lists it.
    /// Required.
    key: Option<Located<String>>,
    /// Name of the `[hsm.NAME]` the key is in. Needed only when the key's URI fits several.
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

/// What certificates refer to.
pub(crate) struct Tokens<'a> {
    pub(crate) names: &'a Names,
    /// In the order of the names; `None` where the check failed.
    pub(crate) hsms: &'a [Option<Hsm>],
    pub(crate) keys: &'a Keys,
}

impl RawCertificate {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        tokens: &Tokens<'_>,
    ) -> Option<Certificate> {
        let chain = check
            .required(table, "chain", self.chain)
            .map(|text| check.path(&text));
        let text = check.required(table, "key", self.key);
        let named = self
            .hsm
            .map(|name| (tokens.names.index(check, &name), name.span));
        let text = text?;
        let key = key_source(check, &text)?;
        let hsm = match &key {
            KeySource::Software(path) => {
                if let Some((_, span)) = named {
                    check.error(&span, "`hsm` does nothing here: the key is a file");
                }
                if !tokens.keys.software.contains(path) {
                    check
                        .error(&text.span, "this software key is not allowed")
                        .help(format!(
                            "add to `[keys]`: software = [\"file:{}\"]",
                            path.display()
                        ));
                }
                None
            }
            KeySource::Pkcs11(uri) => match named {
                Some((index, span)) => {
                    let hsm = index.and_then(|index| tokens.hsms.get(index)?.as_ref());
                    if hsm.is_some_and(|hsm| fit(uri, &hsm.token) == Fit::No) {
                        check
                            .error(&span, "the key names another token than this hsm")
                            .related(&text.span, "the key");
                    }
                    index
                }
                None => resolve(check, uri, &text.span, tokens),
            },
        };
        Some(Certificate {
            chain: chain?,
            key: text.with(key),
            hsm,
        })
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
    match text.value.parse::<Pkcs11Uri>() {
        Ok(uri) if uri.pin_source().is_none() => Some(KeySource::Pkcs11(uri)),
        Ok(_) => {
            check
                .error(&text.span, "`pin-source` does nothing here")
                .help("name the PIN source as `pin` of the `[hsm.NAME]`");
            None
        }
        Err(error) if text.value.starts_with("pkcs11:") => {
            check.error(&text.span, format!("this is no PKCS#11 URI: {error}"));
            None
        }
        Err(_) => {
            check
                .error(
                    &text.span,
                    "a key is written as `pkcs11:...` or `file:PATH`",
                )
                .help("for example \"pkcs11:token=edge;object=api;type=private\"");
            None
        }
    }
}

/// How well a token fits the URI of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The URI names another token.
    No,
    /// Nothing is said against it.
    Maybe,
    /// The URI names it.
    Yes,
}

fn fit(uri: &Pkcs11Uri, token: &TokenSelector) -> Fit {
    let named = match token {
        TokenSelector::Slot(slot) => uri.slot_id().map(|id| id == *slot),
        TokenSelector::Label(label) => uri.token().map(|token| token == label),
        TokenSelector::Serial(serial) => uri.serial().map(|named| named == serial),
    };
    match named {
        Some(true) => Fit::Yes,
        Some(false) => Fit::No,
        None => Fit::Maybe,
    }
}

/// The one hsm a key without `hsm` can be in.
fn resolve(
    check: &mut Check<'_>,
    uri: &Pkcs11Uri,
    span: &Span,
    tokens: &Tokens<'_>,
) -> Option<usize> {
    let fits = |wanted: Fit| -> Vec<usize> {
        let fit_of =
            |hsm: &Option<Hsm>| hsm.as_ref().map_or(Fit::Maybe, |hsm| fit(uri, &hsm.token));
        let fitting = tokens
            .hsms
            .iter()
            .enumerate()
            .filter(|(_, hsm)| fit_of(hsm) == wanted);
        fitting.map(|(index, _)| index).collect()
    };
    let candidates = match fits(Fit::Yes) {
        named if named.is_empty() => fits(Fit::Maybe),
        named => named,
    };
    match candidates.as_slice() {
        [only] => return Some(*only),
        [] if check.lost_tables() => {}
        [] if tokens.hsms.is_empty() => {
            check
                .error(span, "this key is in a token, but there is no `[hsm.NAME]`")
                .help("add one with `module`, `token` and `pin`");
        }
        [] => {
            let names: Vec<_> = (0..tokens.names.len())
                .map(|at| quoted(tokens.names.get(at)))
                .collect();
            let message = "no hsm has the token this key names";
            check
                .error(span, message)
                .help(format!("there is {}", names.join(", ")));
        }
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|at| quoted(tokens.names.get(*at)))
                .collect();
            let help = format!("add `hsm = \"NAME\"` with one of {}", names.join(", "));
            check
                .error(span, "this key can be in several tokens")
                .help(help);
        }
    }
    None
}
