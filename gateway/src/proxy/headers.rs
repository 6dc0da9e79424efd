//! What is taken off a request or response, and what is put on, on the way through.
//!
//! Order matters: fields nominated by Connection go first, so that no client can have an identity field
//! removed after it was set; then everything only the gateway may say; then what the gateway says.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use portcullis_config::Forwarding;

use super::authority::RequestHost;
use super::claims::remove_claims;
use super::identity_headers::{Told, XFCC};
use super::ids::{Ids, is_plain_id, trace_id};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HOP_BY_HOP: [HeaderName; 6] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::UPGRADE,
    // The codec writes its own; HTTP/2 must not see it.
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHORIZATION,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the gateway knows about a request's sender.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    /// Peer address.
    pub ip: IpAddr,
    /// The same as text.
    pub address: &'a HeaderValue,
    /// Whether its request came over TLS.
    pub secure: bool,
    /// Who it is, as the upstream is told.
    pub told: &'a Told<'a>,
}

/// The ids a request goes by from here on.
#[derive(Debug)]
pub(super) struct RequestIds {
    /// `x-request-id`.
    pub request: HeaderValue,
    /// `traceparent`.
    pub traceparent: HeaderValue,
}

/// Rewrites the fields of a request for the upstream.
pub(super) fn prepare_request(
    parts: &mut Parts,
    host: &RequestHost,
    sender: &Sender<'_>,
    forwarding: &Forwarding,
    ids: &Ids,
) -> RequestIds {
    let trusted = forwarding
        .trusted_hops
        .iter()
        .any(|net| net.contains(sender.ip));
    let headers = &mut parts.headers;
    let wants_trailers = has_token(headers, &header::TE, "trailers");
    remove_hop_by_hop(headers);
    let xfcc = sender.told.xfcc(headers); // May be made from the client's own, which goes now.
    remove_claims(headers, trusted, sender.told.token_header);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers.insert(header::HOST, host.header.clone());
    let request = request_id(headers, trusted, ids);
    let traceparent = trace(headers, ids);
    if forwarding.x_forwarded {
        append_list(headers, &X_FORWARDED_FOR, sender.address.clone());
        headers
            .entry(X_FORWARDED_PROTO)
            .or_insert(HeaderValue::from_static(match sender.secure {
                true => "https",
                false => "http",
            }));
        headers
            .entry(X_FORWARDED_HOST)
            .or_insert_with(|| host.header.clone());
    }
    if forwarding.forwarded
        && let Some(element) = forwarded_element(sender, host)
    {
        append_list(headers, &header::FORWARDED, element);
    }
    if let Some(xfcc) = xfcc {
        headers.insert(XFCC, xfcc);
    }
    sender.told.write(headers);
    append_via(headers, parts.version);
    RequestIds {
        request,
        traceparent,
    }
}

/// Rewrites the fields of a response for the client (RFC 9110, sections 7.6.1 and 6.6.1).
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    if !headers.contains_key(header::DATE) {
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        if let Ok(now) = HeaderValue::try_from(now) {
            headers.insert(header::DATE, now);
        }
    }
}

/// Removes what concerns one connection only: the fields Connection names, and the known ones.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','))
            .map(str::trim)
            // What nearly everybody sends names no field but Keep-Alive, which goes anyway.
            .filter(|name| !matches!(*name, "keep-alive" | "close"))
            .filter_map(|name| HeaderName::try_from(name).ok())
            // These are not the client's to remove: the gateway reads or writes them itself.
            .filter(|name| {
                !matches!(
                    *name,
                    header::HOST | header::CONTENT_LENGTH | header::TRANSFER_ENCODING
                )
            })
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    // One look at the names there are costs less than a search for each that there might be.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

/// Removes from a request's trailers what a header section may not say either: no trailer is trusted.
/// `token_header` is where signed identities stand.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, token_header: Option<&HeaderName>) {
    remove_hop_by_hop(trailers);
    remove_claims(trailers, false, token_header);
}

fn request_id(headers: &mut HeaderMap, trusted: bool, ids: &Ids) -> HeaderValue {
    if trusted
        && let Some(given) = headers.get(&X_REQUEST_ID)
        && is_plain_id(given.as_bytes())
    {
        return given.clone();
    }
    let made = ids.request_id();
    headers.insert(X_REQUEST_ID, made.clone());
    made
}

fn trace(headers: &mut HeaderMap, ids: &Ids) -> HeaderValue {
    let mut given = headers.get_all(&TRACEPARENT).iter();
    let only = given.next().filter(|_| given.next().is_none());
    if let Some(given) = only
        && given.to_str().ok().and_then(trace_id).is_some()
    {
        return given.clone();
    }
    let made = ids.traceparent();
    headers.insert(TRACEPARENT, made.clone());
    // A state without its parent means nothing (W3C Trace Context, section 3.3).
    headers.remove("tracestate");
    made
}

/// `for=…;host=…;proto=https` (RFC 7239, sections 4 and 6).
fn forwarded_element(sender: &Sender<'_>, host: &RequestHost) -> Option<HeaderValue> {
    let (before, after) = match sender.ip.to_canonical() {
        IpAddr::V4(_) => ("for=", ";host=\""),
        IpAddr::V6(_) => ("for=\"[", "]\";host=\""),
    };
    let parts: [&[u8]; 5] = [
        before.as_bytes(),
        sender.address.as_bytes(),
        after.as_bytes(),
        // The host was parsed as an authority, which has neither quotes nor backslashes.
        host.header.as_bytes(),
        match sender.secure {
            true => b"\";proto=https",
            false => b"\";proto=http",
        },
    ];
    HeaderValue::from_maybe_shared(Bytes::from(parts.concat())).ok()
}

fn append_list(headers: &mut HeaderMap, name: &HeaderName, element: HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, element);
        return;
    }
    let mut list = String::new();
    let given = headers.get_all(name).iter();
    for value in given
        .chain([&element])
        .filter_map(|value| value.to_str().ok())
    {
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(value);
    }
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(name, value);
    }
}

/// RFC 9110, section 7.6.3: a gateway names itself on requests.
fn append_via(headers: &mut HeaderMap, version: http::Version) {
    let ours = match version {
        http::Version::HTTP_3 => "3 portcullis",
        http::Version::HTTP_2 => "2 portcullis",
        http::Version::HTTP_10 => "1.0 portcullis",
        _ => "1.1 portcullis",
    };
    append_list(headers, &header::VIA, HeaderValue::from_static(ours));
}

pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lists
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use portcullis_config::{IpNet, Xfcc};

    use super::*;
    use crate::proxy::identity_headers::{
        CLIENT_CERT, CLIENT_CERT_CHAIN, CLIENT_CERT_VERIFIED, ToldXfcc,
    };

    const TOKEN: HeaderName = HeaderName::from_static("x-client-identity");

    fn forwarding(trusted: bool) -> Forwarding {
        let net = IpNet {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
        };
        let trusted_hops = if trusted { vec![net] } else { vec![] };
        Forwarding {
            trusted_hops,
            xfcc: Xfcc::default(),
            jwt: None,
            x_forwarded: true,
            forwarded: true,
        }
    }

    fn rewritten(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let mut request = Request::builder()
            .uri("/")
            .header("host", "api.example.com");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let host = RequestHost::of(&parts).unwrap();
        let told = Told {
            token_header: Some(&TOKEN),
            xfcc: ToldXfcc::Set(HeaderValue::from_static("Hash=00")),
            leaf: Some(HeaderValue::from_static(":AA==:")),
            chain: None,
            mark: Some(HeaderValue::from_static("?1")),
            token: Some(HeaderValue::from_static("a.b.c")),
        };
        let address = HeaderValue::from_static("10.1.2.3");
        let sender = Sender {
            address: &address,
            ip: "10.1.2.3".parse().unwrap(),
            secure: true,
            told: &told,
        };
        prepare_request(
            &mut parts,
            &host,
            &sender,
            &forwarding(trusted),
            &Ids::new(),
        );
        parts.headers
    }

    #[test]
    fn inbound_identity_is_stripped_in_every_spelling() {
        for trusted in [false, true] {
            for name in [
                "X-Forwarded-Client-Cert",
                "x_forwarded_client_cert",
                "x.forwarded~client|cert",
                "Client-Cert",
                "client_cert-chain",
                "Client_Cert_Verified",
                "X-Client-Identity",
                "x_client-identity",
            ] {
                let headers = rewritten(&[(name, "forged"), (name, "forged again")], trusted);
                assert!(
                    headers
                        .iter()
                        .all(|(_, value)| !value.as_bytes().starts_with(b"forged")),
                    "{name}"
                );
                for own in [XFCC, CLIENT_CERT, CLIENT_CERT_VERIFIED, TOKEN] {
                    assert_eq!(headers.get_all(&own).iter().count(), 1, "{own}");
                }
                assert!(!headers.contains_key(CLIENT_CERT_CHAIN));
            }
        }
    }

    #[test]
    fn a_nominated_identity_field_is_still_set_by_the_gateway() {
        let headers = rewritten(
            &[
                ("connection", "x-forwarded-client-cert, x-secret, host"),
                ("x-secret", "1"),
            ],
            false,
        );
        assert_eq!(headers[&XFCC], "Hash=00");
        assert!(!headers.contains_key("x-secret") && !headers.contains_key("connection"));
        assert_eq!(headers[header::HOST], "api.example.com");
    }

    #[test]
    fn forwarding_claims_count_only_from_trusted_hops() {
        let fields = [
            ("x-forwarded-for", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-proto", "http"),
        ];
        let untrusted = rewritten(&fields, false);
        assert_eq!(untrusted[&X_FORWARDED_FOR], "10.1.2.3");
        assert_eq!(untrusted[&X_FORWARDED_PROTO], "https");
        assert_eq!(
            untrusted[header::FORWARDED],
            "for=10.1.2.3;host=\"api.example.com\";proto=https"
        );
        let trusted = rewritten(&fields, true);
        assert_eq!(trusted[&X_FORWARDED_FOR], "1.1.1.1, 10.1.2.3");
        assert_eq!(trusted[&X_FORWARDED_PROTO], "http");
    }

    #[test]
    fn request_ids_of_strangers_are_replaced_and_traces_go_on() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = rewritten(&[("x-request-id", "mine"), ("traceparent", trace)], false);
        assert_ne!(headers[&X_REQUEST_ID], "mine");
        assert_eq!(headers[&TRACEPARENT], trace);
        assert_eq!(
            rewritten(&[("x-request-id", "mine")], true)[&X_REQUEST_ID],
            "mine"
        );
    }

    #[test]
    fn hop_by_hop_fields_end_here_and_te_trailers_is_said_anew() {
        let headers = rewritten(
            &[
                ("te", "gzip, trailers"),
                ("upgrade", "h2c"),
                ("keep-alive", "5"),
                ("proxy-connection", "x"),
            ],
            false,
        );
        assert_eq!(headers[header::TE], "trailers");
        assert!(!headers.contains_key("upgrade") && !headers.contains_key("keep-alive"));
        assert!(!headers.contains_key("proxy-connection"));
    }
}
