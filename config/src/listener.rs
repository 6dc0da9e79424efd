//! `[[listener]]`: a socket that accepts clients.
use std::net::SocketAddr;

use crate::Located;

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Unique; default is the bind address as text.
    pub name: String,
    /// Address.
    pub bind: Located<SocketAddr>,
    /// What happens to accepted connections.
    pub kind: ListenerKind,
}

/// What a listener does with its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerKind {
    /// `protocol = "https"` (default): terminate TLS and serve sites.
    Https {
        /// Indices into [`crate::Config::sites`] of the sites served here, in file order. Never empty.
        sites: Vec<usize>,
        /// The site for clients without SNI, and (unless `strict_sni`) with an SNI no site has.
        default_site: Option<usize>,
        /// Refuse an SNI no site has, also when there is a default site.
        strict_sni: bool,
    },
    /// `protocol = "redirect"`: plain HTTP that answers 308 to the same URL with https.
    Redirect {
        /// Port of the https URL (`redirect_port`, default 443).
        port: u16,
    },
}
