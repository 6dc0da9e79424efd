//! Where an upstream is: `http://HOST:PORT`, `https://HOST:PORT` or `tcp://HOST:PORT`, alone or with a weight.
use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Located;
use crate::check::{Check, Span};
use crate::host::parse_host;
use crate::value::{Number, quoted};

/// Host and port of an upstream, and its share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether there is TLS.
    pub scheme: Scheme,
    /// DNS name or IP literal (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Its share of the requests, beside the others' weights. Default 1.
    pub weight: u32,
}

/// What an address begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http://`.
    Http,
    /// `https://`.
    Https,
    /// `tcp://`: bytes, over TLS where the upstream has `tls`.
    Tcp,
}

/// The heaviest endpoint.
const WEIGHT_MAX: usize = 1_000;

/// An endpoint as written: an address, or a table.
#[derive(Debug)]
pub(crate) enum RawEndpoint {
    Address(String),
    Table(RawEndpointTable),
}

/// `{ url = "http://HOST:PORT", weight = 2 }` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEndpointTable {
    /// The address, `http://HOST:PORT`, `https://HOST:PORT` or `tcp://HOST:PORT`. Required.
    url: Option<Located<String>>,
    /// Its share of the requests, beside the weights of the others.
    weight: Option<Located<Number>>,
}

impl RawEndpoint {
    pub(super) fn check(self, check: &mut Check<'_>, place: &Span) -> Option<Located<Endpoint>> {
        let table = match self {
            RawEndpoint::Address(url) => {
                let text = Located {
                    value: url,
                    span: place.clone(),
                };
                return endpoint(check, &text);
            }
            RawEndpoint::Table(table) => table,
        };
        let weight = check.count(table.weight, 1, 1..=WEIGHT_MAX);
        let url = check.required(place, "url", table.url)?;
        let mut endpoint = endpoint(check, &url)?;
        endpoint.value.weight = u32::try_from(weight).unwrap_or(1);
        Some(endpoint)
    }
}

/// Reads `http://HOST:PORT`, `https://HOST:PORT` or `tcp://HOST:PORT`.
pub(crate) fn endpoint(check: &mut Check<'_>, text: &Located<String>) -> Option<Located<Endpoint>> {
    let (scheme, usual_port, rest) = match text.value.split_once("://") {
        Some(("http", rest)) => (Scheme::Http, 80, rest),
        Some(("https", rest)) => (Scheme::Https, 443, rest),
        // None that could be meant: 0 cannot be written.
        Some(("tcp", rest)) => (Scheme::Tcp, 0, rest),
        _ => {
            let message = format!("{} is no endpoint", quoted(&text.value));
            check.error(&text.span, message).help(
                "write it as \"http://HOST:PORT\", \"https://HOST:PORT\" or \"tcp://HOST:PORT\"",
            );
            return None;
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        check
            .error(&text.span, "an endpoint has no path, query or user")
            .help("the path of a request is forwarded as it is; write only \"http://HOST:PORT\"");
        return None;
    }
    let (host, port) = host_and_port(check, &text.span, authority, usual_port)?;
    if port == 0 {
        check.error(&text.span, "a tcp endpoint needs its port");
        return None;
    }
    Some(text.with(Endpoint {
        scheme,
        host,
        port,
        weight: 1,
    }))
}

/// Reads `HOST` or `HOST:PORT`.
pub(crate) fn host_and_port(
    check: &mut Check<'_>,
    span: &Span,
    authority: &str,
    usual_port: u16,
) -> Option<(String, u16)> {
    // An IPv6 literal has colons of its own, so the port begins behind the bracket.
    let port_at = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[port_at..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(port_at + colon);
            let digits = port[1..].bytes().all(|byte| byte.is_ascii_digit());
            (
                host,
                port[1..]
                    .parse::<u16>()
                    .ok()
                    .filter(|port| digits && *port != 0),
            )
        }
        None => (authority, Some(usual_port)),
    };
    let Some(port) = port else {
        check.error(span, "a port is a number from 1 to 65535");
        return None;
    };
    match parse_host(host) {
        Ok(host) => Some((host, port)),
        Err(problem) => {
            check.error(span, format!("{} is no host: {problem}", quoted(host)));
            None
        }
    }
}

impl<'de> Deserialize<'de> for RawEndpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AddressOrTable;
        impl<'de> Visitor<'de> for AddressOrTable {
            type Value = RawEndpoint;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a table")
            }
            fn visit_str<E: serde::de::Error>(self, url: &str) -> Result<RawEndpoint, E> {
                Ok(RawEndpoint::Address(url.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEndpoint, A::Error> {
                let table = RawEndpointTable::deserialize(MapAccessDeserializer::new(map));
                table.map(RawEndpoint::Table)
            }
        }
        // An untagged enum would lose the places.
        deserializer.deserialize_any(AddressOrTable)
    }
}

/// The table, or a string.
impl JsonSchema for RawEndpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = RawEndpointTable::json_schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema
    }
}
