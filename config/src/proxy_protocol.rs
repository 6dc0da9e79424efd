//! `proxy_protocol` of a listener: proxies in front that tell who their clients are.
//!
//! It is never on for everybody: whoever may send a header may say that it comes from anywhere.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Span};
use crate::forwarding::address_block;
use crate::{IpNet, Located};

/// `proxy_protocol` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Where connections may come from, and then begin with a header. Never empty.
    pub from: Vec<IpNet>,
}

/// `proxy_protocol` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawProxyProtocol {
    /// Address blocks of the proxies. Each of their connections must begin with a header of PROXY protocol, version 1
    /// or 2; connections from anywhere else are closed. Required.
    from: Option<Vec<Located<String>>>,
}

impl RawProxyProtocol {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span) -> ProxyProtocol {
        let written = check.required(table, "from", self.from);
        if written.as_ref().is_some_and(Vec::is_empty) {
            check
                .error(
                    table,
                    "`from` is empty, so every connection would be closed",
                )
                .help("list the addresses of the proxies in front, as in [\"10.0.0.0/8\"]");
        }
        let written = written.unwrap_or_default();
        let from = written.iter().filter_map(|text| {
            let net = address_block(check, text)?;
            if net.prefix == 0 {
                check
                    .error(&text.span, "everybody would be a trusted proxy")
                    .help(
                        "whoever may send the header may claim any address; list the proxies alone",
                    );
            }
            Some(net)
        });
        ProxyProtocol {
            from: from.collect(),
        }
    }
}
