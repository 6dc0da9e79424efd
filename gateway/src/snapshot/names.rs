//! From host names to sites and passthroughs: the one table for server names and for the authority of requests.

use std::collections::HashMap;

use portcullis_config::{HostPattern, Located};

use crate::reason::Reason;

/// From host names to what a listener does with them: exact, then wildcard, then `*`.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<str>, Owner>,
    wildcard: HashMap<Box<str>, Owner>,
    any: Option<Owner>,
    default: Option<usize>,
    strict: bool,
}

/// Whose a host name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Site(usize),
    Passthrough(usize),
}

impl NameTable {
    pub(super) fn new(default: Option<usize>, strict: bool) -> Self {
        Self {
            default,
            strict,
            ..Self::default()
        }
    }

    /// These are hosts of a site.
    pub(super) fn add_site(&mut self, site: usize, hosts: &[Located<HostPattern>]) {
        self.add(Owner::Site(site), hosts);
    }

    /// These are names of a passthrough.
    pub(super) fn add_passthrough(&mut self, passthrough: usize, names: &[Located<HostPattern>]) {
        self.add(Owner::Passthrough(passthrough), names);
    }

    fn add(&mut self, owner: Owner, hosts: &[Located<HostPattern>]) {
        for host in hosts {
            match &host.value {
                HostPattern::Exact(name) => {
                    self.exact.insert(name.as_str().into(), owner);
                }
                HostPattern::Wildcard(parent) => {
                    self.wildcard.insert(parent.as_str().into(), owner);
                }
                HostPattern::Any => self.any = Some(owner),
            }
        }
    }

    fn owner(&self, host: &str) -> Option<Owner> {
        if let Some(owner) = self.exact.get(host) {
            return Some(*owner);
        }
        let parent = host
            .split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .map(|(_, parent)| parent);
        parent
            .and_then(|parent| self.wildcard.get(parent))
            .copied()
            .or(self.any)
    }

    /// The site a host belongs to. `host` is lower case, without port and trailing dot.
    pub fn site_of(&self, host: &str) -> Option<usize> {
        match self.owner(host)? {
            Owner::Site(site) => Some(site),
            Owner::Passthrough(_) => None,
        }
    }

    /// The passthrough a server name belongs to. It is lower case, without trailing dot.
    pub fn passthrough_of(&self, server_name: &str) -> Option<usize> {
        match self.owner(server_name)? {
            Owner::Site(_) => None,
            Owner::Passthrough(passthrough) => Some(passthrough),
        }
    }

    /// The site for a server name as a client sent it (RFC 6066, section 3). A name of a passthrough has none, also
    /// where there is a default site.
    pub fn site_for_client(&self, server_name: Option<&str>) -> Result<usize, Reason> {
        let named = server_name.map(normalize_host);
        let any = match self.any {
            Some(Owner::Site(site)) => Some(site),
            _ => None,
        };
        let fallback = if named.is_some() && self.strict {
            None
        } else {
            self.default.or(any)
        };
        match named.as_deref().and_then(|name| self.owner(name)) {
            Some(Owner::Site(site)) => Ok(site),
            Some(Owner::Passthrough(_)) => Err(Reason::UnknownServerName),
            None => fallback.ok_or(Reason::UnknownServerName),
        }
    }
}

/// Lower case, without the trailing dot of an absolute name.
pub fn normalize_host(host: &str) -> std::borrow::Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(strict: bool, default: Option<usize>) -> NameTable {
        let mut table = NameTable {
            strict,
            default,
            ..NameTable::default()
        };
        table.exact.insert("api.example.com".into(), Owner::Site(0));
        table.wildcard.insert("example.com".into(), Owner::Site(1));
        table
            .exact
            .insert("db.example.com".into(), Owner::Passthrough(0));
        table
    }

    #[test]
    fn a_name_that_is_passed_through_has_no_site() {
        for default in [None, Some(0)] {
            let table = table(false, default);
            for name in ["db.example.com", "DB.example.com."] {
                let site = table.site_for_client(Some(name));
                assert_eq!(site, Err(Reason::UnknownServerName), "{name}");
            }
            assert_eq!(table.site_of("db.example.com"), None);
            assert_eq!(table.passthrough_of("db.example.com"), Some(0));
            assert_eq!(table.passthrough_of("x.example.com"), None);
        }
        // Whoever sends no name is never handed on, also where all names are.
        let all = NameTable {
            any: Some(Owner::Passthrough(0)),
            ..NameTable::default()
        };
        assert_eq!(all.site_for_client(None), Err(Reason::UnknownServerName));
        assert_eq!(all.passthrough_of("x.test"), Some(0));
    }

    #[test]
    fn an_unknown_or_absent_name_is_refused_without_a_default_site() {
        for name in [
            None,
            Some("example.com"),
            Some("a.b.example.com"),
            Some("other.org"),
            Some(""),
        ] {
            assert_eq!(
                table(false, None).site_for_client(name),
                Err(Reason::UnknownServerName),
                "{name:?}"
            );
        }
    }

    #[test]
    fn strict_sni_refuses_unknown_names_but_serves_clients_without_one() {
        assert_eq!(
            table(true, Some(0)).site_for_client(Some("other.org")),
            Err(Reason::UnknownServerName)
        );
        assert_eq!(table(true, Some(0)).site_for_client(None), Ok(0));
        assert_eq!(
            table(false, Some(0)).site_for_client(Some("other.org")),
            Ok(0)
        );
    }

    #[test]
    fn case_and_a_trailing_dot_make_no_difference() {
        for name in [
            "api.example.com",
            "API.Example.COM",
            "api.example.com.",
            "API.EXAMPLE.COM.",
        ] {
            assert_eq!(
                table(true, None).site_for_client(Some(name)),
                Ok(0),
                "{name}"
            );
        }
        assert_eq!(
            table(true, None).site_for_client(Some("X.example.com")),
            Ok(1)
        );
    }
}
