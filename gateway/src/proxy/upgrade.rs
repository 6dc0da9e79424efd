//! The handshake of a WebSocket on its way through (RFC 6455, section 4; RFC 9110, section 7.8).
//!
//! `websocket` is the only protocol that is ever passed on: any other Upgrade (h2c, TLS) is taken off like every
//! field that concerns one connection, so that nothing gets past the checks of a request inside another protocol.

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use http_body::Body;

use super::authority::RequestHost;
use super::headers::has_token;
use crate::upstream::RequestBody;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Marks what was an extended CONNECT for a WebSocket (RFC 8441) and is a GET now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extended;

/// A request for a WebSocket as it came, so that it can be decided on again while the WebSocket lasts.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) parts: Parts,
    pub(super) host: RequestHost,
}

impl Asked {
    /// The request, if it asks for a WebSocket and for nothing else.
    pub(super) fn of(parts: &Parts, host: &RequestHost, body: &RequestBody) -> Option<Box<Self>> {
        let headers = &parts.headers;
        let fits = headers.contains_key(header::UPGRADE)
            && parts.method == Method::GET
            && (parts.version == Version::HTTP_11 || parts.extensions.get::<Extended>().is_some())
            && body.is_end_stream()
            && is_websocket(headers)
            && only(headers, header::SEC_WEBSOCKET_VERSION) == Some(b"13")
            && only(headers, header::SEC_WEBSOCKET_KEY).is_some_and(|key| key.len() == 24);
        fits.then(|| {
            Box::new(Self {
                parts: parts.clone(),
                host: host.clone(),
            })
        })
    }
}

/// Puts back what the rewriting of fields took off, for the upstream or, with a 101, for the client.
pub(super) fn pass_on(headers: &mut HeaderMap) {
    // One connection, one purpose: TE would have to be named in Connection, too.
    headers.remove(header::TE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Whether Upgrade says `websocket`, once and alone, and Connection names it.
fn is_websocket(headers: &HeaderMap) -> bool {
    only(headers, header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
        && has_token(headers, &header::CONNECTION, "upgrade")
}

fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asked(change: impl FnOnce(&mut Parts)) -> bool {
        let request = Request::get("/chat")
            .header("host", "a.test")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let mut parts = request.body(()).unwrap().into_parts().0;
        change(&mut parts);
        let host = RequestHost::of(&parts).unwrap();
        Asked::of(&parts, &host, &RequestBody::Empty).is_some()
    }

    #[test]
    fn whatever_is_not_wholly_a_websocket_handshake_is_an_ordinary_request() {
        let set = |name: &'static str, value: &'static str| {
            asked(|parts| {
                parts.headers.insert(name, HeaderValue::from_static(value));
            })
        };
        assert!(!set("upgrade", "h2c"));
        assert!(!set("upgrade", "websocket, h2c"));
        assert!(!set("connection", "keep-alive"));
        assert!(!set("connection", "upgrades"));
        assert!(!set("sec-websocket-version", "8"));
        assert!(!set("sec-websocket-key", "short"));
        assert!(!asked(|parts| parts.method = Method::POST));
        assert!(!asked(|parts| parts.version = Version::HTTP_10));
        assert!(!asked(|parts| {
            parts
                .headers
                .append("upgrade", HeaderValue::from_static("h2c"));
        }));
        assert!(!asked(|parts| drop(parts.headers.remove("upgrade"))));
    }

    #[test]
    fn a_websocket_handshake_is_seen_in_any_case() {
        assert!(asked(|_| {}));
    }

    #[test]
    fn connection_names_nothing_but_the_upgrade() {
        let mut headers = HeaderMap::new();
        headers.insert("te", HeaderValue::from_static("trailers"));
        pass_on(&mut headers);
        assert_eq!(headers["connection"], "upgrade");
        assert!(is_websocket(&headers) && !headers.contains_key("te"));
    }
}
