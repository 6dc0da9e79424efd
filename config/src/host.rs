//! Host names as operators write them: of sites and rules, of upstream endpoints.

use std::net::{IpAddr, Ipv6Addr};

use crate::HostPattern;

impl HostPattern {
    /// How it is written in the file.
    pub fn text(&self) -> String {
        match self {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
            HostPattern::Any => "*".to_owned(),
        }
    }

    /// Whether some host matches both.
    pub(crate) fn overlaps(&self, other: &HostPattern) -> bool {
        match (self, other) {
            (HostPattern::Any, _) | (_, HostPattern::Any) => true,
            (HostPattern::Exact(host), HostPattern::Wildcard(suffix))
            | (HostPattern::Wildcard(suffix), HostPattern::Exact(host)) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
            (a, b) => a == b,
        }
    }
}

/// Reads `api.example.com`, `*.example.com`, `*` or an address.
pub(crate) fn parse_pattern(text: &str) -> Result<HostPattern, &'static str> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    match text.strip_prefix("*.") {
        Some(suffix) => match parse_host(suffix)? {
            name if name.parse::<IpAddr>().is_ok() => Err("an address has no wildcard form"),
            name if !name.contains('.') => {
                Err("a wildcard needs two labels behind it, as in \"*.example.com\"")
            }
            name => Ok(HostPattern::Wildcard(name)),
        },
        None if text.contains('*') => {
            Err("a wildcard is `*` alone, or `*.` in front of a name: \"*.example.com\"")
        }
        None => parse_host(text).map(HostPattern::Exact),
    }
}

/// Reads a DNS name or an address, and writes it the one way it is compared: lower case, no dot at the end,
/// addresses in canonical form and without brackets.
pub(crate) fn parse_host(text: &str) -> Result<String, &'static str> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok());
        return address
            .map(|address| address.to_string())
            .ok_or("this is no IPv6 address");
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.contains(':') {
        return Err("a host is written without port and scheme");
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() || name.len() > 253 {
        return Err("a host name has 1 to 253 characters");
    }
    if !name.is_ascii() {
        return Err("write an international name in its ASCII form (`xn--...`)");
    }
    for label in name.split('.') {
        let valid = |byte: u8| byte == b'-' || byte == b'_' || byte.is_ascii_alphanumeric();
        if label.is_empty() || label.len() > 63 || !label.bytes().all(valid) {
            return Err("the labels of a host name are 1 to 63 letters, digits, `-` or `_`");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label of a host name begins and ends with a letter or digit");
        }
    }
    // `1.2.3` would be taken for an address by some clients and for a name by others.
    if name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err("this is neither an address nor a host name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_none_are_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a/b",
            "http://a",
            "a:80",
            "1.2.3",
            "999.1.1.1",
            "[::1",
            "[a]",
            "bücher.de",
            "**",
            "a.*.b",
            "*a.b",
            "*.",
            "*.com",
            "*.1.2.3.4",
            "*.*.a.b",
            "::1::",
        ] {
            assert!(parse_pattern(text).is_err(), "{text}");
        }
        assert!(parse_host(&"a.".repeat(127)).is_ok() && parse_host(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn hosts_are_written_the_one_way_they_are_compared() {
        let text = |text: &str| parse_pattern(text).map(|pattern| pattern.text());
        assert_eq!(text("API.Example.COM."), Ok("api.example.com".to_owned()));
        assert_eq!(text("*.Example.com"), Ok("*.example.com".to_owned()));
        assert_eq!(text("[2001:DB8:0::1]"), Ok("2001:db8::1".to_owned()));
        assert_eq!(text("2001:db8::1"), Ok("2001:db8::1".to_owned()));
        assert_eq!(text("localhost"), Ok("localhost".to_owned()));
    }

    #[test]
    fn patterns_overlap_by_one_label() {
        let overlap = |a, b| {
            parse_pattern(a)
                .unwrap()
                .overlaps(&parse_pattern(b).unwrap())
        };
        assert!(overlap("a.b.c", "*.b.c") && overlap("*", "a") && overlap("*.b.c", "*.b.c"));
        assert!(!overlap("x.a.b.c", "*.b.c") && !overlap("b.c", "*.b.c") && !overlap("a", "b"));
    }
}
