//! `[forwarding.xfcc]`: what becomes of `X-Forwarded-Client-Cert`.
//!
//! A copy a client sends is believed only from identities that are named here, and only in the modes that
//! keep one; that both stand together is checked.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Names, Span};
use crate::policy::RoleRef;
use crate::schema::one_or_many;

/// What becomes of `X-Forwarded-Client-Cert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xfcc {
    /// Default `set`.
    pub mode: XfccMode,
    /// Whose own copy is kept, in the modes `append` and `forward`; then never empty. Never `anyone`.
    pub trusted: Vec<RoleRef>,
    /// What the element says besides `By` and `Hash`. Default subject, URIs and DNS names.
    pub details: Vec<XfccDetail>,
}

/// What is done about `X-Forwarded-Client-Cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum XfccMode {
    /// The client's copy is removed, ours is sent.
    Set,
    /// The client's copy is removed, none is sent.
    Sanitize,
    /// Ours follows the copy of a trusted client.
    Append,
    /// The copy of a trusted client is sent as it is, and nothing of others.
    Forward,
}

/// A part of an `X-Forwarded-Client-Cert` element that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum XfccDetail {
    /// `Subject`: the subject's name.
    Subject,
    /// `URI`: each URI SAN.
    Uri,
    /// `DNS`: each DNS SAN.
    Dns,
    /// `Cert`: the certificate, as URL-encoded PEM.
    Cert,
    /// `Chain`: the certificate and what the client sent with it, as URL-encoded PEM.
    Chain,
}

impl XfccMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            XfccMode::Set => "set",
            XfccMode::Sanitize => "sanitize",
            XfccMode::Append => "append",
            XfccMode::Forward => "forward",
        }
    }

    /// Whether the copy of a trusted client is kept.
    pub fn keeps(self) -> bool {
        matches!(self, XfccMode::Append | XfccMode::Forward)
    }

    /// Whether an element of our own is sent.
    pub fn says(self) -> bool {
        matches!(self, XfccMode::Set | XfccMode::Append)
    }
}

impl XfccDetail {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            XfccDetail::Subject => "subject",
            XfccDetail::Uri => "uri",
            XfccDetail::Dns => "dns",
            XfccDetail::Cert => "cert",
            XfccDetail::Chain => "chain",
        }
    }
}

impl Default for Xfcc {
    fn default() -> Self {
        Xfcc {
            mode: XfccMode::Set,
            trusted: Vec::new(),
            details: vec![XfccDetail::Subject, XfccDetail::Uri, XfccDetail::Dns],
        }
    }
}

/// `[forwarding.xfcc]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawXfcc {
    /// `set` (ours alone), `sanitize` (none), `append` (ours behind the copy of a trusted client) or `forward`
    /// (the copy of a trusted client alone).
    mode: Option<Located<XfccMode>>,
    /// Roles whose own copy is kept, or `verified`. Required with `append` and `forward`.
    #[schemars(schema_with = "one_or_many::<String>")]
    trusted: Option<Vec<Located<String>>>,
    /// What is said besides `By` and `Hash`: `subject`, `uri`, `dns`, `cert`, `chain`.
    details: Option<Vec<Located<XfccDetail>>>,
}

impl RawXfcc {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span, roles: &Names) -> Xfcc {
        let default = Xfcc::default();
        let mode = self.mode.as_ref().map_or(default.mode, |mode| mode.value);
        let place = self.mode.as_ref().map_or(table, |mode| &mode.span);
        let word = mode.as_str();
        let written = self.trusted.is_some();
        let trusted = self.trusted.unwrap_or_default();
        if mode.keeps() && trusted.is_empty() && !check.lost_key(table, "trusted") {
            check
                .error(place, format!("`mode = \"{word}\"` needs `trusted`"))
                .help(
                    "add `trusted = [\"ROLE\"]` with the roles of the proxies whose header is kept",
                );
        } else if !mode.keeps() && written && !check.lost_key(table, "mode") {
            let place = trusted.first().map_or(table, |role| &role.span);
            check
                .error(
                    place,
                    "`trusted` does nothing here: no copy of a client is kept",
                )
                .help("use `mode = \"append\"` or `\"forward\"`, or remove `trusted`");
        }
        if let Some(detail) = self
            .details
            .iter()
            .flatten()
            .next()
            .filter(|_| !mode.says())
        {
            let message = format!("`details` does nothing with `mode = \"{word}\"`");
            check
                .error(&detail.span, message)
                .help("no element of our own is sent: remove `details`");
        }
        check.distinct(&trusted, "this role");
        check.distinct(self.details.as_deref().unwrap_or_default(), "this detail");
        Xfcc {
            mode,
            trusted: trusted
                .iter()
                .filter_map(|role| proven(check, role, roles))
                .collect(),
            details: self.details.map_or(default.details, |details| {
                details.into_iter().map(|detail| detail.value).collect()
            }),
        }
    }
}

/// A role that takes a verified certificate to have.
fn proven(check: &mut Check<'_>, role: &Located<String>, roles: &Names) -> Option<RoleRef> {
    match role.value.as_str() {
        "anyone" => {
            check
                .error(
                    &role.span,
                    "`anyone` proves nothing, so it cannot be trusted",
                )
                .help("name a role, or `verified` for every client with a valid certificate");
            None
        }
        "verified" => Some(RoleRef::Verified),
        _ => roles.index(check, role).map(RoleRef::Role),
    }
}
