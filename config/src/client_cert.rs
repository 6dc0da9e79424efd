//! Whether a client must show who it is.
use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::schema::one_or_many;
use crate::trust::Trusts;
use crate::{Located, Trust};

/// What is asked of clients about certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertMode {
    /// No certificate is asked for.
    Ignore,
    /// Asked for; absence is served as "no identity"; a presented invalid certificate is refused.
    Accept,
    /// A valid certificate or no connection.
    Require,
    /// Asked for; the client proves that it holds the key, and nothing else is looked at. Such an identity has
    /// no role.
    Unverified,
}

impl ClientCertMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            ClientCertMode::Ignore => "ignore",
            ClientCertMode::Accept => "accept",
            ClientCertMode::Require => "require",
            ClientCertMode::Unverified => "unverified",
        }
    }

    /// Whether chains are verified, so that trust anchors are needed.
    pub fn verifies(self) -> bool {
        matches!(self, ClientCertMode::Accept | ClientCertMode::Require)
    }

    /// Whether a route with `route` can be on a site with this mode: the handshake was made under the site's.
    fn leaves_room_for(self, route: ClientCertMode) -> bool {
        use ClientCertMode::{Accept, Ignore, Require, Unverified};
        match self {
            Ignore => true,
            Unverified => route != Ignore,
            Accept => matches!(route, Accept | Require),
            Require => route == Require,
        }
    }
}

/// `client_cert = { mode, trust }` of a site or route, after inheriting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// The mode.
    pub mode: ClientCertMode,
    /// Trust bundles; a certificate that is good for one of them is good. Never empty for `Accept` and
    /// `Require`, always for the others.
    pub trust: Vec<Arc<Trust>>,
    /// Where the mode was written; empty where nothing was.
    pub span: Range<usize>,
}

impl ClientCert {
    pub(crate) const IGNORE: ClientCert = ClientCert {
        mode: ClientCertMode::Ignore,
        trust: Vec::new(),
        span: 0..0,
    };

    /// Whether both ask the same, wherever it was written.
    pub(crate) fn same(&self, other: &ClientCert) -> bool {
        let names = |cert: &ClientCert| -> Vec<String> {
            cert.trust.iter().map(|trust| trust.name.clone()).collect()
        };
        self.mode == other.mode && names(self) == names(other)
    }
}

/// `client_cert` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawClientCert {
    /// `ignore`, `accept` (no certificate is fine, a wrong one is not), `require`, or `unverified` (any
    /// certificate whose key the client has; it gives no role). Required.
    mode: Option<Located<ClientCertMode>>,
    /// Whom client certificates must lead to: name of a `[trust.NAME]`, or a PEM file; several are
    /// alternatives. A route without it takes the site's.
    #[schemars(schema_with = "one_or_many::<String>")]
    trust: Option<Vec<Located<String>>>,
}

impl RawClientCert {
    /// Of a listener or site.
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        table: &Span,
        trusts: &Trusts,
    ) -> Option<ClientCert> {
        self.read(check, (table, trusts), &[])
    }

    /// Of a route, which may ask more than its site.
    pub(crate) fn check_route(
        self,
        check: &mut Check<'_>,
        (table, trusts): (&Span, &Trusts),
        site: &ClientCert,
    ) -> Option<ClientCert> {
        let place = self.mode.as_ref().map_or(table, |mode| &mode.span).clone();
        let route = self.read(check, (table, trusts), &site.trust)?;
        if !site.mode.leaves_room_for(route.mode) {
            let message = format!(
                "a route cannot be `{}` on a site that is `{}`: the handshake comes before the path",
                route.mode.as_str(),
                site.mode.as_str()
            );
            check
                .error(&place, message)
                .help("make the site the milder one, and let routes demand more");
        }
        Some(route)
    }

    fn read(
        self,
        check: &mut Check<'_>,
        (table, trusts): (&Span, &Trusts),
        inherited: &[Arc<Trust>],
    ) -> Option<ClientCert> {
        let mode = check.required(table, "mode", self.mode);
        let written = self
            .trust
            .as_ref()
            .map(|trust| trust.first().map(|text| text.span.clone()));
        let texts = self.trust.unwrap_or_default();
        check.distinct(&texts, "this");
        let mut trust: Vec<_> = texts
            .iter()
            .filter_map(|text| trusts.find(check, text))
            .collect();
        let mode = mode?;
        if mode.value.verifies() {
            if texts.is_empty() && written.is_none() {
                trust.extend_from_slice(inherited);
            }
            if trust.is_empty() && texts.is_empty() && !check.lost_key(table, "trust") {
                let message = format!("`mode = \"{}\"` needs `trust`", mode.value.as_str());
                check
                    .error(&mode.span, message)
                    .help("add `trust = \"clients.pem\"` with the CA certificates of your clients, or name a `[trust.NAME]`");
            }
        } else if let Some(place) = written {
            let why = match mode.value {
                ClientCertMode::Unverified => "no chain is looked at",
                _ => "no certificate is asked for",
            };
            let message = format!(
                "`trust` does nothing with `mode = \"{}\"`: {why}",
                mode.value.as_str()
            );
            check
                .error(&place.unwrap_or_else(|| table.clone()), message)
                .help("use `mode = \"accept\"` or `\"require\"`, or remove `trust`");
            trust.clear();
        }
        Some(ClientCert {
            mode: mode.value,
            trust,
            span: mode.span,
        })
    }
}
