//! `[forwarding.jwt]`: the identity of a client as a signed token, for upstreams that trust no network.
//!
//! The key is named and allowed as that of a certificate is; the header is one that nobody else writes.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::certificate::{KeyPolicy, KeySource, checked_key};
use crate::check::{Check, Span};
use crate::hsm_ref::Tokens;
use crate::value::{DurationText, quoted};
use crate::{HsmRef, Located};

/// How the identity of a client is signed for upstreams.
#[derive(Debug, Clone)]
pub struct IdentityJwt {
    /// The key that signs.
    pub key: Located<KeySource>,
    /// Where a PKCS#11 key is; always there for one.
    pub hsm: Option<HsmRef>,
    /// Name of the header, lower case. Default `x-client-identity`.
    pub header: String,
    /// Claim `iss`. Default `portcullis`.
    pub issuer: String,
    /// Claim `aud`; `None` is the name of the upstream.
    pub audience: Option<String>,
    /// From `iat` to `exp`. Default 60 s.
    pub lifetime: Duration,
}

/// `[forwarding.jwt]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawJwt {
    /// The key that signs: `pkcs11:...` in a token, or `file:PATH` if `keys.software` lists it. Required.
    key: Option<Located<String>>,
    /// Name of the `[hsm.NAME]` or `[hsm_group.NAME]` the key is in. Needed only when its URI fits several.
    hsm: Option<Located<String>>,
    /// Header the token is sent in; copies sent by clients are removed.
    header: Option<Located<String>>,
    /// Claim `iss`.
    issuer: Option<Located<String>>,
    /// Claim `aud`. Default: the name of the upstream.
    audience: Option<Located<String>>,
    /// How long a token is valid. One is used for all requests of a connection to an upstream until half of it.
    lifetime: Option<Located<DurationText>>,
}

/// Longer texts in every request help nobody.
const TEXT_MAX: usize = 256;

/// A token must outlive its way, and be worth nothing soon after it was stolen.
const LIFETIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(3600);

/// Headers that mean something to HTTP or are written by the gateway; with `-` at the end, all that begin so.
const TAKEN: [&str; 28] = [
    "accept",
    "accept-",
    "authorization",
    "client-cert",
    "client-cert-",
    "connection",
    "content-",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "if-",
    "keep-alive",
    "origin",
    "proxy-",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-",
    "x-real-ip",
    "x-request-id",
];

impl RawJwt {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        tokens: &Tokens<'_>,
    ) -> Option<IdentityJwt> {
        let text = check.required(table, "key", self.key);
        let key = checked_key(check, text, self.hsm, tokens, KeyPolicy::Any);
        let header = match self.header {
            Some(name) => header_name(check, &name),
            None => "x-client-identity".to_owned(),
        };
        let issuer = self.issuer.map(|text| plain(check, text));
        let audience = self.audience.map(|text| plain(check, text));
        let lifetime = check.duration(self.lifetime, Duration::from_secs(60), LIFETIME);
        let (key, hsm) = key?;
        Some(IdentityJwt {
            key,
            hsm,
            header,
            issuer: issuer.unwrap_or_else(|| "portcullis".to_owned()),
            audience,
            lifetime,
        })
    }
}

fn plain(check: &mut Check<'_>, text: Located<String>) -> String {
    let length = text.value.chars().count();
    if length == 0 || length > TEXT_MAX || text.value.contains(char::is_control) {
        let message = format!("a claim has 1 to {TEXT_MAX} printable characters");
        check.error(&text.span, message);
    }
    text.value
}

fn header_name(check: &mut Check<'_>, name: &Located<String>) -> String {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let text = name.value.as_str();
    if text.is_empty() || text.len() > TEXT_MAX || !text.bytes().all(plain) {
        check
            .error(
                &name.span,
                format!("{} is no name for a header of our own", quoted(text)),
            )
            .help("write it with lower-case letters, digits and `-`, like \"x-client-identity\"");
    } else if TAKEN
        .iter()
        .any(|taken| text == *taken || (taken.ends_with('-') && text.starts_with(taken)))
    {
        check
            .error(
                &name.span,
                format!("the header {} has another meaning", quoted(text)),
            )
            .help("choose a name that begins with `x-`, like \"x-client-identity\"");
    }
    text.to_owned()
}
