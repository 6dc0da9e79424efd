//! From host names to sites: the one table for server names and for the authority of requests.

use std::collections::HashMap;

use portcullis_config::{HostPattern, Site};

use crate::reason::Reason;

/// From host names to sites of one listener: exact, then wildcard, then `*`.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<str>, usize>,
    wildcard: HashMap<Box<str>, usize>,
    any: Option<usize>,
    default: Option<usize>,
    strict: bool,
}

impl NameTable {
    pub(super) fn new(sites: &[Site], on: &[usize], default: Option<usize>, strict: bool) -> Self {
        let mut table = Self {
            default,
            strict,
            ..Self::default()
        };
        for &index in on {
            for host in &sites[index].hosts {
                match &host.value {
                    HostPattern::Exact(name) => {
                        table.exact.insert(name.as_str().into(), index);
                    }
                    HostPattern::Wildcard(parent) => {
                        table.wildcard.insert(parent.as_str().into(), index);
                    }
                    HostPattern::Any => table.any = Some(index),
                }
            }
        }
        table
    }

    /// The site a host belongs to. `host` is lower case, without port and trailing dot.
    pub fn site_of(&self, host: &str) -> Option<usize> {
        if let Some(site) = self.exact.get(host) {
            return Some(*site);
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

    /// The site for a server name as a client sent it (RFC 6066, section 3).
    pub fn site_for_client(&self, server_name: Option<&str>) -> Result<usize, Reason> {
        let named = server_name.map(normalize_host);
        let known = named.as_deref().and_then(|name| self.site_of(name));
        let fallback = if named.is_some() && self.strict {
            None
        } else {
            self.default.or(self.any)
        };
        known.or(fallback).ok_or(Reason::UnknownServerName)
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
        table.exact.insert("api.example.com".into(), 0);
        table.wildcard.insert("example.com".into(), 1);
        table
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
