//! Every refusal code, once: the same word in the refusal log, the metric and the documentation.
//!
//! A reason is for the operator. The client learns the RFC 8446 alert or a bare HTTP status, nothing more.

use std::fmt;

use http::StatusCode;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $meaning:literal;)*) => {
        /// Why a handshake, a request or a connection was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of a connection's life.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code, as it stands in logs and metrics.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    // Admission.
    ConnectionLimit = "CONNECTION_LIMIT", "limits.connections was reached when the client connected";
    HandshakeLimit = "HANDSHAKE_LIMIT", "limits.handshakes was reached when the client connected";
    // PROXY protocol.
    ProxySourceNotTrusted = "PROXY_SOURCE_NOT_TRUSTED", "the connection did not come from an address in proxy_protocol.from of its listener";
    ProxyHeaderMissing = "PROXY_HEADER_MISSING", "the connection of a trusted proxy did not begin with a PROXY protocol header";
    ProxyHeaderInvalid = "PROXY_HEADER_INVALID", "the PROXY protocol header is malformed, longer than 4 KiB, or tells no address of a TCP client";
    ProxyHeaderTimeout = "PROXY_HEADER_TIMEOUT", "no complete PROXY protocol header arrived within timeouts.client_hello";
    // Handshake.
    ClientHelloTimeout = "CLIENT_HELLO_TIMEOUT", "no complete ClientHello arrived within timeouts.client_hello";
    ClientHelloTooLarge = "CLIENT_HELLO_TOO_LARGE", "the ClientHello is larger than limits.client_hello";
    NotTls = "NOT_TLS", "the first bytes were not a TLS ClientHello";
    UnknownServerName = "UNKNOWN_SERVER_NAME", "no site has the name the client asked for, or it named none and there is no default site";
    TlsVersion = "TLS_VERSION", "client and site have no TLS version in common";
    TlsParameters = "TLS_PARAMETERS", "client and site have no cipher suite, group or signature scheme in common";
    NoExtendedMasterSecret = "NO_EXTENDED_MASTER_SECRET", "a TLS 1.2 client did not offer the extended master secret (RFC 7627)";
    AlpnMismatch = "ALPN_MISMATCH", "the client offered only application protocols the site does not speak";
    HandshakeTimeout = "HANDSHAKE_TIMEOUT", "the handshake did not finish within timeouts.handshake";
    HandshakeProtocol = "HANDSHAKE_PROTOCOL", "the client broke the TLS protocol";
    HandshakeTooLarge = "HANDSHAKE_TOO_LARGE", "a handshake message of the client, usually its certificate chain, is larger than 64 KiB";
    HandshakeAborted = "HANDSHAKE_ABORTED", "the client sent a fatal alert, usually because it does not accept our certificate";
    HandshakeClosed = "HANDSHAKE_CLOSED", "the client closed the connection during the handshake";
    HsmBusy = "HSM_BUSY", "more full handshakes came than the token can sign in time: its queue was full";
    HsmUnavailable = "HSM_UNAVAILABLE", "the token is away, did not sign within its deadline, or refused";
    // Client certificates.
    ClientCertMissing = "CLIENT_CERT_MISSING", "the site requires a client certificate and none was shown";
    ClientCertExpired = "CLIENT_CERT_EXPIRED", "a certificate of the client's chain is past its notAfter";
    ClientCertNotYetValid = "CLIENT_CERT_NOT_YET_VALID", "a certificate of the client's chain is before its notBefore";
    ClientCertUnknownCa = "CLIENT_CERT_UNKNOWN_CA", "the chain does not lead to a trust anchor of the site";
    ClientCertSelfSigned = "CLIENT_CERT_SELF_SIGNED", "the client certificate is signed by itself and is no trust anchor";
    ClientCertIssuerNotCa = "CLIENT_CERT_ISSUER_NOT_CA", "the client certificate was issued by a certificate that is no CA";
    ClientCertIsCa = "CLIENT_CERT_IS_CA", "a CA certificate was shown as the client's own";
    ClientCertPathLength = "CLIENT_CERT_PATH_LENGTH", "the chain is longer than a CA in it allows (pathLenConstraint)";
    ClientCertTooDeep = "CLIENT_CERT_TOO_DEEP", "the chain is longer than max_depth of the trust bundle, or than the verifier follows (six intermediates)";
    ClientCertNameConstraint = "CLIENT_CERT_NAME_CONSTRAINT", "a name in the certificate violates a CA's name constraints";
    ClientCertWrongEku = "CLIENT_CERT_WRONG_EKU", "the certificate is not for client authentication (extended key usage)";
    ClientCertWeakKey = "CLIENT_CERT_WEAK_KEY", "the certificate's key is too small (RSA below 2048 bits) or of an unsupported kind";
    ClientCertWeakSignature = "CLIENT_CERT_WEAK_SIGNATURE", "a certificate is signed with an algorithm that is not accepted, such as SHA-1";
    ClientCertBadSignature = "CLIENT_CERT_BAD_SIGNATURE", "a signature in the chain does not verify";
    ClientCertMalformed = "CLIENT_CERT_MALFORMED", "a certificate cannot be read, or has a critical extension nobody knows";
    ClientCertNotProven = "CLIENT_CERT_NOT_PROVEN", "the client did not prove that it holds the certificate's key";
    ClientCertRevokedCrl = "CLIENT_CERT_REVOKED_CRL", "the certificate, or a CA above it, is on a CRL of its issuer";
    ClientCertRevokedOcsp = "CLIENT_CERT_REVOKED_OCSP", "the OCSP responder says that the certificate is revoked";
    ClientCertCrlStale = "CLIENT_CERT_CRL_STALE", "the CRL of an issuer is past its nextUpdate for longer than the bundle's policy allows";
    ClientCertCrlMissing = "CLIENT_CERT_CRL_MISSING", "there is no usable CRL of an issuer of the chain";
    ClientCertOcspUnknown = "CLIENT_CERT_OCSP_UNKNOWN", "the OCSP responder does not know the certificate";
    ClientCertOcspUnavailable = "CLIENT_CERT_OCSP_UNAVAILABLE", "no valid OCSP answer came within the deadline";
    ClientCertConstraintForm = "CLIENT_CERT_CONSTRAINT_FORM", "a CA has a name constraint of a form that cannot be decided (URI, directory name, mail)";
    ClientCertLifetime = "CLIENT_CERT_LIFETIME", "the certificate lives longer than max_lifetime of the trust bundle";
    ClientCertNotPinned = "CLIENT_CERT_NOT_PINNED", "no pinned key or certificate of the trust bundle is in the chain";
    ClientCertTrustDomain = "CLIENT_CERT_TRUST_DOMAIN", "the certificate has no SPIFFE ID of a trust domain of the bundle";
    ClientCertDenied = "CLIENT_CERT_DENIED", "the client is on the deny list";
    // Requests.
    RequestMalformed = "REQUEST_MALFORMED", "the request breaks HTTP framing or syntax";
    RequestTooLarge = "REQUEST_TOO_LARGE", "the request head exceeds limits.header_bytes, limits.headers or limits.target";
    RequestTimeout = "REQUEST_TIMEOUT", "the request head or body did not arrive in time";
    Http2Protocol = "HTTP2_PROTOCOL", "the client broke HTTP/2 framing, flow control or header compression";
    Http2Flood = "HTTP2_FLOOD", "the client sent HTTP/2 frames that cost work and bring nothing, faster than anybody needs";
    AnswerUnread = "ANSWER_UNREAD", "a client over HTTP/2 took nothing of an answer for timeouts.write";
    BodyTooLarge = "BODY_TOO_LARGE", "the request body is larger than limits.body";
    MethodNotSupported = "METHOD_NOT_SUPPORTED", "the method is not forwarded (CONNECT)";
    ExpectationNotSupported = "EXPECTATION_NOT_SUPPORTED", "the Expect header asks for something other than 100-continue";
    PathAmbiguous = "PATH_AMBIGUOUS", "the path can be read in more than one way (encoded slash, dot segment, backslash ...)";
    TooEarly = "TOO_EARLY", "the request came as early data (0-RTT) and is not safe, or its route takes none (425)";
    Misdirected = "MISDIRECTED", "the request names a host that does not belong to the site of this connection (421)";
    ClientCertRequired = "CLIENT_CERT_REQUIRED", "the route, or since a reload the site, requires a client certificate and none was shown";
    NotAuthorized = "NOT_AUTHORIZED", "no rule allows this identity, host, method and path";
    DeniedByRule = "DENIED_BY_RULE", "a deny rule matched";
    NoRoute = "NO_ROUTE", "no route of the site matches the path";
    IdentityNotSigned = "IDENTITY_NOT_SIGNED", "the identity for the upstream could not be signed in time";
    RateLimited = "RATE_LIMITED", "a rate_limit of the site or route is used up";
    RateLimitUnavailable = "RATE_LIMIT_UNAVAILABLE", "the Redis that counts for a rate_limit is away, and when_away is refuse";
    // Upstream.
    UpstreamTls = "UPSTREAM_TLS", "an endpoint took the connection, but TLS to it failed: it is not believed, or does not believe the gateway";
    UpstreamConnect = "UPSTREAM_CONNECT", "no endpoint of the upstream accepted a connection in time";
    UpstreamBusy = "UPSTREAM_BUSY", "the upstream's connections and pending limits are used up";
    UpstreamTimeout = "UPSTREAM_TIMEOUT", "the upstream did not answer within response_timeout";
    UpstreamProtocol = "UPSTREAM_PROTOCOL", "the upstream's answer breaks HTTP";
    TunnelIdle = "TUNNEL_IDLE", "no byte went either way through a WebSocket or a TCP connection within timeouts.tunnel";
    ProxyHeaderTooLong = "PROXY_HEADER_TOO_LONG", "what the upstream is to be told of the client does not fit into a PROXY protocol header of 4 KiB";
    UpstreamClosed = "UPSTREAM_CLOSED", "the upstream closed the connection before it answered";
}

impl Reason {
    /// The reason of a code, in whatever case it is written.
    pub fn of_code(code: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.code().eq_ignore_ascii_case(code))
    }

    /// The bare status of a refused request.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooEarly => StatusCode::TOO_EARLY,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotAuthorized | Self::DeniedByRule => StatusCode::FORBIDDEN,
            // Required, or not verified any more, since a reload.
            reason if reason.code().starts_with("CLIENT_CERT_") => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::ExpectationNotSupported => StatusCode::EXPECTATION_FAILED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UpstreamBusy | Self::IdentityNotSigned | Self::RateLimitUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamTls
            | Self::UpstreamConnect
            | Self::UpstreamProtocol
            | Self::UpstreamClosed => StatusCode::BAD_GATEWAY,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_operators_table_has_every_code_with_its_meaning() {
        let table = include_str!("../../docs/OPERATIONS.md");
        for reason in Reason::ALL {
            let row = format!("| `{}` | {} |", reason.code(), reason.meaning());
            assert!(
                table.contains(&row),
                "docs/OPERATIONS.md lacks the row {row}"
            );
        }
    }

    #[test]
    fn codes_are_unique_and_upper_snake_case() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.code()), "{reason} twice");
            assert!(
                reason
                    .code()
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            );
        }
    }
}
