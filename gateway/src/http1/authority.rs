//! `host [":" port]`, as it stands in Host and in request targets (RFC 9110 section 7.2, RFC 3986
//! section 3.2).
//!
//! Narrower than RFC 3986 on purpose: no userinfo, no percent-encoding, no sub-delims, no empty
//! port. None of them occurs in a name a certificate can hold, and each has confused a router
//! before.

use std::net::Ipv6Addr;

/// Longest host accepted: a DNS name with its final dot, or an IPv6 literal in brackets.
const MAX_HOST: usize = 254;

/// An authority that was taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Takes `text` apart, or `None` when it is no plain authority.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let host_len = match text.first()? {
            b'[' => {
                let close = text.iter().position(|&byte| byte == b']')?;
                let literal = std::str::from_utf8(&text[1..close]).ok()?;
                literal.parse::<Ipv6Addr>().ok()?;
                close + 1
            }
            _ => {
                let end = text
                    .iter()
                    .position(|&byte| byte == b':')
                    .unwrap_or(text.len());
                is_name(&text[..end]).then_some(end)?
            }
        };
        let (host, rest) = text.split_at(host_len);
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Whether both name the same place for a scheme with this default port. Case does not count.
    pub(super) fn same_place(&self, other: &Self, default_port: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(default_port) == other.port.or(default_port)
    }

    /// Whether a port was written.
    pub(super) fn has_port(&self) -> bool {
        self.port.is_some()
    }
}

fn is_name(host: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !host.is_empty() && host.len() <= MAX_HOST && host[0] != b'.' && host.iter().all(plain)
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits)
        .ok()?
        .parse()
        .ok()
        .filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_host_and_port_is_refused() {
        let bad = [
            "",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:000443",
            "a:+80",
            "a:80:80",
            "user@a",
            "a b",
            "a/b",
            "a,b",
            "a%41",
            "a\tb",
            ".a",
            "[::1",
            "[]",
            "[::1]x",
            "[::1]:",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "::1",
            "a?b",
            "a#b",
            "a\\b",
            "ä",
            "a;b",
            "a=b",
            "*",
        ];
        for text in bad {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Authority::parse("a".repeat(255).as_bytes()), None);
    }

    #[test]
    fn names_addresses_and_ports_are_read() {
        for text in [
            "a",
            "A.example",
            "a.example.",
            "a_b-c",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:443",
        ] {
            let authority = Authority::parse(text.as_bytes()).unwrap();
            assert_eq!(
                authority.has_port(),
                text.ends_with("80") || text.ends_with("443")
            );
        }
    }

    #[test]
    fn only_case_and_the_default_port_may_differ() {
        let same = |a: &str, b: &str| {
            let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
            let leak = |text: &str| -> &'static str { String::leak(text.to_owned()) };
            parse(leak(a)).same_place(&parse(leak(b)), Some(443))
        };
        assert!(same("A.example", "a.EXAMPLE:443"));
        assert!(!same("a.example", "a.example:80"));
        assert!(!same("a.example", "a.example."));
        assert!(!same("a.example", "b.example"));
    }
}
