//! The host a request is for, in one form.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Version, header};

use crate::snapshot::normalize_host;

/// The authority of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHost {
    /// Lower case, without port, brackets and trailing dot: for the name table and for policy.
    pub name: Box<str>,
    /// For the upstream's Host, port included.
    pub header: HeaderValue,
}

impl RequestHost {
    /// Takes `:authority` or Host. HTTP/1 parsing has seen to it that there is exactly one Host and that it
    /// agrees with an absolute target; for HTTP/2 and HTTP/3 the two must agree here (RFC 9113, section
    /// 8.3.1; RFC 9114, section 4.3.1).
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return None;
        }
        let header = match (parts.uri.authority(), host) {
            (Some(authority), None) => HeaderValue::from_str(authority.as_str()).ok()?,
            (Some(authority), Some(host))
                if matches!(parts.version, Version::HTTP_2 | Version::HTTP_3) =>
            {
                if !host
                    .as_bytes()
                    .eq_ignore_ascii_case(authority.as_str().as_bytes())
                {
                    return None;
                }
                host.clone()
            }
            (_, Some(host)) => host.clone(),
            (None, None) => return None,
        };
        let authority: Authority = header.to_str().ok()?.parse().ok()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return None;
        }
        Some(Self {
            name: normalize_host(host).into(),
            header,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn host(version: Version, uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        RequestHost::of(&request.body(()).unwrap().into_parts().0).map(|host| host.name.into())
    }

    #[test]
    fn contradictory_or_missing_authorities_are_refused() {
        assert_eq!(host(Version::HTTP_11, "/", &[]), None);
        assert_eq!(host(Version::HTTP_11, "/", &["a", "b"]), None);
        assert_eq!(host(Version::HTTP_11, "/", &["u@a"]), None);
        assert_eq!(host(Version::HTTP_2, "https://a/", &["b"]), None);
    }

    #[test]
    fn case_port_and_trailing_dot_are_dropped() {
        assert_eq!(
            host(Version::HTTP_11, "/", &["API.Example.com.:8443"]).as_deref(),
            Some("api.example.com")
        );
        assert_eq!(
            host(Version::HTTP_2, "https://A:1/", &[]).as_deref(),
            Some("a")
        );
        assert_eq!(
            host(Version::HTTP_11, "/", &["[::1]:443"]).as_deref(),
            Some("::1")
        );
    }
}
