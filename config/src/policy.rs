//! `[[role]]` and `[[rule]]`: who may do what. Nothing is allowed without a rule; deny wins.
/// A named group of identities: an identity has the role when any one of the patterns matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Unique; `anyone` and `verified` are reserved.
    pub name: String,
    /// SPIFFE IDs, exact (`spiffe://td/ns/a`) or with a last segment `*` that matches one segment, or `**`
    /// that matches one or more segments.
    pub spiffe: Vec<String>,
    /// DNS SANs, exact or with a leftmost `*` label. Lower case.
    pub dns: Vec<String>,
    /// Subject common names, exact.
    pub common_name: Vec<String>,
    /// SHA-256 of the leaf certificate (DER).
    pub sha256: Vec<[u8; 32]>,
}

/// Who a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleRef {
    /// `anyone`: everybody, also without a certificate.
    Anyone,
    /// `verified`: every client with a verified certificate.
    Verified,
    /// Index into [`crate::Config::roles`].
    Role(usize),
}

/// One authorization rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Shown in logs; default `rule-N` (counted from 1 in file order).
    pub name: String,
    /// Allow (default) or deny.
    pub action: Action,
    /// Never empty.
    pub roles: Vec<RoleRef>,
    /// Hosts; empty means any.
    pub hosts: Vec<crate::HostPattern>,
    /// Methods, upper case; empty means any.
    pub methods: Vec<String>,
    /// Paths; empty means any.
    pub paths: Vec<PathPattern>,
}

/// What a matching rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// May pass, unless another rule denies.
    Allow,
    /// May not pass, whatever other rules say.
    Deny,
}

/// A path pattern; matching is on the canonical path, by whole segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// `/a/b`: exactly this path.
    Exact(String),
    /// `/a/**`: `/a`, `/a/` and everything below. The value is without the trailing `/**` ("" for `/**`).
    Prefix(String),
}
