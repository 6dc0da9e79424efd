//! `[[site]]`: what is served under which host names.
use crate::{Certificate, ClientCert, Located, Route, TlsPolicy};

/// One site.
#[derive(Debug, Clone)]
pub struct Site {
    /// Unique; default is the first host.
    pub name: String,
    /// Host names, never empty.
    pub hosts: Vec<Located<HostPattern>>,
    /// Certificates, never empty; at most one per key kind makes sense (ECDSA and RSA).
    pub certificates: Vec<Certificate>,
    /// Client certificate demand: the site's own, else the listener's, else ignore.
    pub client_cert: ClientCert,
    /// TLS versions, suites and groups.
    pub tls: TlsPolicy,
    /// HTTP/2 offered in ALPN. Default true.
    pub http2: bool,
    /// Routes, never empty, longest prefix first.
    pub routes: Vec<Route>,
}

/// A host name or a wildcard, lower case, without trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `api.example.com`, or an IP literal (IPv6 in its canonical text form, without brackets).
    Exact(String),
    /// `*.example.com`: one label in front. The value is `example.com`.
    Wildcard(String),
    /// `*`: every host.
    Any,
}
