//! What the operator wrote, checked.
//!
//! [`Config::load`] reads a TOML file and everything it includes and returns either a [`Config`] in which
//! no string names a mode any more, or every mistake in all the files at once. This crate knows no other
//! room of the house except the PKCS#11 URI parser of `portcullis-hsm`.

// What the operator can say, in the order of a connection's life.
mod admin;
mod attribute;
mod certificate;
mod client_cert;
mod condition;
mod deny;
mod forwarding;
mod host;
mod hsm;
mod hsm_group;
mod hsm_ref;
mod limits;
mod listener;
mod passthrough;
mod path;
mod policy;
mod proxy_protocol;
mod rate_limit;
mod redis;
mod resumption;
mod revocation;
mod role;
mod route;
mod site;
mod tcp;
mod tickets;
mod tls;
mod trust;
mod upstream;
mod upstream_tls;

// From text to that: files, syntax, shape, meaning.
mod check;
mod document;
mod egress;
mod env;
mod error;

// And back.
mod load;
mod places;
mod schema;
mod secret;
mod shape;
mod show;
mod source;
mod span;
mod syntax;
mod value;

pub use admin::{Admin, Log, LogTarget};
pub use attribute::{ATTRIBUTE_NAMES, NamePattern, attribute_name, attribute_oid};
pub use certificate::{Certificate, ChainSource, KeyPolicy, KeySource, Keys};
pub use client_cert::{ClientCert, ClientCertMode};
pub use condition::{HeaderCondition, ValuePattern};
pub use deny::{Deny, parse_serial};
pub use egress::Speech;
pub use error::{ConfigError, ConfigErrors};
pub use forwarding::{Forwarding, IdentityJwt, IpNet, Xfcc, XfccDetail, XfccMode};
pub use hsm::{
    Hsm, HsmSource, Isolation, ModuleSource, PinSource, QueueBound, Sessions, SignerSource,
    TokenSelector,
};
pub use hsm_group::HsmGroup;
pub use hsm_ref::HsmRef;
pub use limits::{Limits, Timeouts};
pub use listener::{Http3, Listener, ListenerKind};
pub use passthrough::Passthrough;
pub use path::{PathPattern, PathTemplate, TemplateEnd, TemplateSegment};
pub use places::{Place, Places};
pub use policy::{Action, RoleRef, Rule};
pub use proxy_protocol::ProxyProtocol;
pub use rate_limit::{Rate, RateLimit, RatePer, WhenAway};
pub use redis::{Redis, RedisMode, SecretSource};
pub use resumption::{Resumption, ResumptionMode};
pub use revocation::{CrlScope, CrlSettings, OcspMode, OcspSettings, StalePolicy};
pub use role::{Role, RoleMatch, parse_sha256, parse_spiffe};
pub use route::Route;
pub use schema::schema;
pub use site::{HostPattern, Site};
pub use source::SourceMap;
pub use span::Located;
pub use tcp::TcpRoute;
pub use tickets::{TicketKeySource, Tickets, TokenSecret, WrapSource};
pub use tls::{Group, Suite, TlsPolicy, TlsVersion};
pub use trust::{CaNames, Eku, LifetimeAction, MaxLifetime, Trust};
pub use upstream::{
    Balance, Ejection, Endpoint, HashOn, Health, HealthProbe, IdentityForm, ProxyHeader, Retries,
    Scheme, Upstream, UpstreamProtocol,
};
pub use upstream_tls::UpstreamTls;
pub use value::{Share, did_you_mean};

/// The whole checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// PKCS#11 tokens, in file order.
    pub hsms: Vec<Hsm>,
    /// Tokens that stand in for each other, in file order.
    pub hsm_groups: Vec<HsmGroup>,
    /// Which software and extractable keys are allowed, by name.
    pub keys: Keys,
    /// Trust bundles with a name, in file order; sites and routes hold those they use.
    pub trusts: Vec<std::sync::Arc<Trust>>,
    /// Clients that are turned away whatever their certificate says.
    pub deny: Deny,
    /// Redis that a fleet shares, in file order.
    pub redis: Vec<Redis>,
    /// The keys session tickets are sealed with.
    pub tickets: Tickets,
    /// Sockets that accept clients.
    pub listeners: Vec<Listener>,
    /// What is served, by host name.
    pub sites: Vec<Site>,
    /// What is handed on as it comes, by server name.
    pub passthroughs: Vec<Passthrough>,
    /// Named groups of identities.
    pub roles: Vec<Role>,
    /// Who may do what; nothing is allowed without a rule.
    pub rules: Vec<Rule>,
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// In file order.
    pub rate_limits: Vec<RateLimit>,
    /// What upstreams are told about the client.
    pub forwarding: Forwarding,
    /// Bounds on everything that can be many or large.
    pub limits: Limits,
    /// Bounds on everything that can take long.
    pub timeouts: Timeouts,
    /// Probes, metrics and the control socket.
    pub admin: Admin,
    /// Access log, refusal log, process log.
    pub log: Log,
    /// Where refused PINs are remembered over restarts; `None` leaves the place to the gateway.
    pub state_dir: Option<std::path::PathBuf>,
    /// Data workers (threads with their own accept loop); `None` means one per available core.
    pub workers: Option<std::num::NonZeroUsize>,
    /// Lines of the files, for explanations.
    pub places: Places,
}

#[cfg(test)]
mod tests;
