//! The gateway's own HTTP/1.1 codec (RFC 9112): strict, sans-io, the same for clients and
//! upstreams.
//!
//! It promises that a message is either refused or has exactly one reading, so that no two hops can
//! disagree about where a request ends (request smuggling). Whatever is forwarded is written anew
//! by [`encode`] from the parsed form; no framing byte of a peer is ever copied to the other side.
//!
//! Three parts: [`head`] turns bytes into a request or response head, [`body`] turns the bytes
//! after it into data and trailers, [`encode`] writes both. None of them reads, waits or owns a
//! socket: the caller brings a `BytesMut` and appends to it whatever arrived.

mod authority;
pub mod body;
mod chunk;
pub mod encode;
mod error;
mod fields;
pub mod head;
mod scan;
mod target;
mod trailers;

#[cfg(test)]
mod exam;

pub use body::{BodyDecoder, Decoded};
pub use encode::ConnectionHeader;
pub use error::{BodyError, HeadError};
pub use fields::parse_length;
pub use head::{RequestHead, ResponseHead, parse_request, parse_response};
pub use scan::HeadScan;

/// The most header fields any head may have, whatever [`HeadLimits::headers`] says: the field table
/// lies on the stack.
pub const MAX_HEADERS: usize = 256;

/// Bounds on one head, or on one trailer section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first of the start line to the empty line, both included.
    pub bytes: usize,
    /// Header fields; more than [`MAX_HEADERS`] means [`MAX_HEADERS`].
    pub headers: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// How the end of a message body is known (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body and nothing says how long it would be.
    None,
    /// `Content-Length`: exactly this many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked` (RFC 9112 section 7.1).
    Chunked,
    /// Everything until the connection ends. Responses only.
    UntilClose,
}

impl Framing {
    /// This framing as it can be told to a client of the given version: HTTP/1.0 knows no chunks
    /// (RFC 9112 section 6.1), so their end becomes the end of the connection.
    #[must_use]
    pub fn for_client(self, version: http::Version) -> Self {
        match self {
            Self::Chunked if version == http::Version::HTTP_10 => Self::UntilClose,
            other => other,
        }
    }
}
