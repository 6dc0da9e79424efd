//! What can be wrong with a head or a body: every refusal of the codec with its status and its
//! code.
//!
//! After any of these the connection must be closed: where the next message would begin is unknown.

use std::fmt;

use http::StatusCode;

/// Why a head was refused.
///
/// [`HeadError::status`] is the answer to a *client*. A response head with one of these errors is
/// the upstream's fault and means 502 to the client, whatever the status here says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadError {
    /// A line does not end in CR LF, or one of the two stands alone (RFC 9112 section 2.2).
    LineEnding,
    /// The request line is not `method SP target SP version` (RFC 9112 section 3).
    RequestLine,
    /// The status line is not `version SP 3DIGIT SP reason` or the status is not 100 to 599
    /// (RFC 9112 section 4, RFC 9110 section 15).
    StatusLine,
    /// The version is neither HTTP/1.0 nor HTTP/1.1 (RFC 9110 section 2.5).
    Version,
    /// The method is longer than any method in use (RFC 9112 section 3).
    MethodTooLong,
    /// The request target exceeds its limit (RFC 9112 section 3).
    TargetTooLong,
    /// The request target has a forbidden character or a form its method does not allow (RFC 9112
    /// section 3.2).
    Target,
    /// The head exceeds its limit of bytes (RFC 6585 section 5).
    HeadTooLarge,
    /// The head exceeds its limit of fields (RFC 6585 section 5).
    TooManyHeaders,
    /// A field name is no token, is empty, is followed by white space, or a line is folded (RFC
    /// 9112 section 5).
    HeaderName,
    /// A field value has a control character (RFC 9110 section 5.5).
    HeaderValue,
    /// An HTTP/1.1 request without Host (RFC 9112 section 3.2).
    HostMissing,
    /// More than one Host (RFC 9112 section 3.2).
    HostDuplicate,
    /// Host is no `host [":" port]` (RFC 9110 section 7.2).
    HostInvalid,
    /// Host and the authority of the request target differ (RFC 9112 section 3.2.2, which would
    /// ignore Host: a hop that does not would see another site).
    HostMismatch,
    /// Content-Length is no plain decimal number (RFC 9110 section 8.6).
    ContentLength,
    /// More than one Content-Length, even of the same value (RFC 9112 section 6.3).
    ContentLengthDuplicate,
    /// Content-Length together with Transfer-Encoding (RFC 9112 section 6.1).
    LengthAndTransferEncoding,
    /// Transfer-Encoding whose last coding is not one plain `chunked` (RFC 9112 section 6.1).
    TransferEncoding,
    /// Transfer-Encoding with a coding other than `chunked` (RFC 9112 section 6.1).
    TransferEncodingUnsupported,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1).
    TransferEncodingVersion,
    /// CONNECT with a body, which has no meaning (RFC 9110 section 9.3.6).
    ConnectWithBody,
    /// Expect asks for something other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
}

impl HeadError {
    /// The status that answers a client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Self::MethodTooLong | Self::TransferEncodingUnsupported => StatusCode::NOT_IMPLEMENTED,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The stable word for logs.
    pub fn code(&self) -> &'static str {
        self.texts().0
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::LineEnding => ("line_ending", "a line does not end in CR LF"),
            Self::RequestLine => ("request_line", "the request line is malformed"),
            Self::StatusLine => ("status_line", "the status line is malformed"),
            Self::Version => ("version", "the version is not HTTP/1.0 or HTTP/1.1"),
            Self::MethodTooLong => ("method_too_long", "the method is too long"),
            Self::TargetTooLong => ("target_too_long", "the request target is too long"),
            Self::Target => ("target", "the request target is malformed"),
            Self::HeadTooLarge => ("head_too_large", "the head is too large"),
            Self::TooManyHeaders => ("too_many_headers", "the head has too many fields"),
            Self::HeaderName => ("header_name", "a field name is malformed"),
            Self::HeaderValue => ("header_value", "a field value has a control character"),
            Self::HostMissing => ("host_missing", "the request has no Host"),
            Self::HostDuplicate => ("host_duplicate", "the request has more than one Host"),
            Self::HostInvalid => ("host_invalid", "Host is not a host with an optional port"),
            Self::HostMismatch => ("host_mismatch", "Host and the request target disagree"),
            Self::ContentLength => ("content_length", "Content-Length is not a plain number"),
            Self::ContentLengthDuplicate => (
                "content_length_duplicate",
                "there is more than one Content-Length",
            ),
            Self::LengthAndTransferEncoding => (
                "length_and_transfer_encoding",
                "Content-Length and Transfer-Encoding together",
            ),
            Self::TransferEncoding => (
                "transfer_encoding",
                "Transfer-Encoding is not one plain chunked",
            ),
            Self::TransferEncodingUnsupported => (
                "transfer_encoding_unsupported",
                "a transfer coding other than chunked",
            ),
            Self::TransferEncodingVersion => (
                "transfer_encoding_version",
                "Transfer-Encoding in an HTTP/1.0 message",
            ),
            Self::ConnectWithBody => ("connect_with_body", "CONNECT with a body"),
            Self::Expectation => ("expectation", "an expectation other than 100-continue"),
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts().1)
    }
}

impl std::error::Error for HeadError {}

/// Why a body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyError {
    /// A chunk line, chunk or trailer line does not end in CR LF (RFC 9112 section 7.1).
    LineEnding,
    /// The chunk size is not 1 to 16 hexadecimal digits, or something other than `;` follows it.
    ChunkSize,
    /// A chunk extension is malformed (RFC 9112 section 7.1.1).
    ChunkExtension,
    /// The chunk extensions of a line, or of the whole body, are too long.
    ChunkExtensionTooLarge,
    /// The trailer section exceeds its limits.
    TrailersTooLarge,
    /// A trailer line is malformed.
    Trailer,
    /// A trailer field would change framing or routing (RFC 9110 section 6.5.1).
    TrailerForbidden,
    /// The connection ended before the body did (RFC 9112 section 8).
    Truncated,
}

impl BodyError {
    /// The stable word for logs.
    pub fn code(&self) -> &'static str {
        self.texts().0
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::LineEnding => (
                "body_line_ending",
                "a line of the body does not end in CR LF",
            ),
            Self::ChunkSize => ("chunk_size", "the chunk size is malformed"),
            Self::ChunkExtension => ("chunk_extension", "a chunk extension is malformed"),
            Self::ChunkExtensionTooLarge => (
                "chunk_extension_too_large",
                "the chunk extensions are too long",
            ),
            Self::TrailersTooLarge => ("trailers_too_large", "the trailers are too large"),
            Self::Trailer => ("trailer", "a trailer field is malformed"),
            Self::TrailerForbidden => ("trailer_forbidden", "a trailer would change the message"),
            Self::Truncated => ("body_truncated", "the connection ended inside the body"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.texts().1)
    }
}

impl std::error::Error for BodyError {}
