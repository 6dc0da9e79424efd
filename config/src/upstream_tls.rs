//! `tls` of an `[upstream.NAME]`: whom the gateway believes there, and who it says it is.
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::certificate::RawCertificate;
use crate::check::{Check, Span};
use crate::host::parse_host;
use crate::hsm_ref::Tokens;
use crate::schema::one_or_many;
use crate::trust::Trusts;
use crate::value::quoted;
use crate::{Certificate, KeyPolicy, Located, OcspMode, Trust};

/// TLS to the endpoints of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Bundles the service's certificate must lead to, as alternatives; never empty.
    pub trust: Vec<Arc<Trust>>,
    /// Sent as SNI and expected in the certificate; `None` for the host of the endpoint.
    pub server_name: Option<String>,
    /// SPIFFE IDs of which the certificate must have one. Where there are any, the server name is not compared.
    pub spiffe_ids: Vec<String>,
    /// Shown to services that ask for one.
    pub certificate: Option<Certificate>,
    /// Least provenance of its key.
    pub key_policy: KeyPolicy,
}

/// `tls` of an upstream as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstreamTls {
    /// Whom the certificate of the service must lead to: name of a `[trust.NAME]`, or a PEM file; several are
    /// alternatives. Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    trust: Option<Vec<Located<String>>>,
    /// Server name that is sent and must stand in the certificate. Default: the host of the endpoint.
    server_name: Option<Located<String>>,
    /// SPIFFE IDs of which the certificate must have one, instead of the server name.
    #[schemars(schema_with = "one_or_many::<String>")]
    spiffe_ids: Option<Vec<Located<String>>>,
    /// Certificate and key that are shown to a service that asks for them.
    certificate: Option<Located<RawCertificate>>,
    /// Least provenance of that key: `generated`, `imported`, or `any` that `[keys]` allows.
    key_policy: Option<KeyPolicy>,
}

/// What `tls` refers to.
#[derive(Clone, Copy)]
pub(crate) struct Believed<'a> {
    pub(crate) trusts: &'a Trusts,
    pub(crate) tokens: &'a Tokens<'a>,
}

impl<'a> Believed<'a> {
    pub(crate) fn new(trusts: &'a Trusts, tokens: &'a Tokens<'a>) -> Self {
        Self { trusts, tokens }
    }
}

impl RawUpstreamTls {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        around: Believed<'_>,
    ) -> UpstreamTls {
        let texts = check
            .required(table, "trust", self.trust)
            .unwrap_or_default();
        check.distinct(&texts, "this");
        let mut trust = Vec::with_capacity(texts.len());
        for text in &texts {
            let bundle = around.trusts.find(check, text);
            if let Some(ocsp) = bundle.as_ref().and_then(|bundle| bundle.ocsp.as_ref())
                && ocsp.mode != OcspMode::Off
            {
                let message = format!(
                    "the bundle {} asks OCSP, which is not done for the certificates of services",
                    quoted(&text.value)
                );
                check
                    .error(&text.span, message)
                    .help("name a bundle with revocation lists (`crl`) and without `ocsp`");
            }
            trust.extend(bundle);
        }
        let ids = self.spiffe_ids.unwrap_or_default();
        check.distinct(&ids, "this ID");
        let key_policy = self.key_policy.unwrap_or(KeyPolicy::Any);
        UpstreamTls {
            trust,
            server_name: self.server_name.and_then(|name| server_name(check, &name)),
            spiffe_ids: ids.iter().filter_map(|id| spiffe_id(check, id)).collect(),
            certificate: self.certificate.and_then(|raw| {
                let (value, span) = (raw.value, raw.span);
                value.check(check, &span, around.tokens, key_policy)
            }),
            key_policy,
        }
    }
}

fn server_name(check: &mut Check<'_>, text: &Located<String>) -> Option<String> {
    match parse_host(&text.value) {
        Ok(host) => Some(host),
        Err(problem) => {
            let message = format!("{} is no server name: {problem}", quoted(&text.value));
            check.error(&text.span, message);
            None
        }
    }
}

/// An ID as the SPIFFE standard writes it: a trust domain and a path, nothing else.
fn spiffe_id(check: &mut Check<'_>, text: &Located<String>) -> Option<String> {
    let rest = text.value.strip_prefix("spiffe://");
    let domain = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
    if domain.is_some_and(|domain| !domain.is_empty())
        && rest.is_some_and(|rest| rest.bytes().all(plain) && !rest.ends_with('/'))
    {
        return Some(text.value.clone());
    }
    let message = format!("{} is no SPIFFE ID", quoted(&text.value));
    check
        .error(&text.span, message)
        .help("write it as \"spiffe://TRUST-DOMAIN/PATH\"");
    None
}
