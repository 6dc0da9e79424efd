//! The exam of the codec: each known way to make two hops read one message differently.
//!
//! Refusals first; what is accepted must have exactly one reading.

mod body;
mod properties;
mod request_fields;
mod request_line;
mod response;

use bytes::BytesMut;

use super::{HeadError, HeadLimits, RequestHead, parse_request};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 32 << 10,
    headers: 100,
    target: 8 << 10,
};

fn parse(raw: impl AsRef<[u8]>) -> Result<Option<RequestHead>, HeadError> {
    parse_request(&mut BytesMut::from(raw.as_ref()), &LIMITS)
}

/// Asserts that every one of these requests is refused for this reason.
fn refused(error: HeadError, requests: &[&str]) {
    for raw in requests {
        assert_eq!(parse(raw).map(|_| ()), Err(error), "{raw:?}");
    }
}

/// As [`refused`], for the lines after the request line of a POST with a Host.
fn fields_refused(error: HeadError, fields: &[&str]) {
    for lines in fields {
        let raw = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        assert_eq!(parse(&raw).map(|_| ()), Err(error), "{lines:?}");
    }
}

fn accepted(raw: &str) -> RequestHead {
    parse(raw)
        .unwrap_or_else(|error| panic!("{raw:?}: {error}"))
        .expect("a whole head")
}
