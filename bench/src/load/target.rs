//! Where load goes: an address, the name in the hello and in requests, and a path.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, anyhow, bail};

/// Where load goes. The address is resolved once, when this is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    address: SocketAddr,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    /// Reads `https://HOST[:PORT][/PATH]` or `HOST:PORT`, and resolves the host.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (host, port, path) = split(text)?;
        let found = (host.as_str(), port)
            .to_socket_addrs()
            .with_context(|| format!("resolve {host}: name an address with --connect"))?;
        let mut found: Vec<SocketAddr> = found.collect();
        // `localhost` is often ::1 first, where fewer servers listen.
        found.sort_by_key(SocketAddr::is_ipv6);
        let address = *found
            .first()
            .ok_or_else(|| anyhow!("{host} has no address"))?;
        Ok(Self {
            address,
            host,
            port,
            path,
        })
    }

    /// The same, but connects to this address.
    pub fn at(text: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let (host, port, path) = split(text)?;
        Ok(Self {
            address,
            host,
            port,
            path,
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host, without a port: the name in the hello where no other is named.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The authority of a request to `host` here.
    pub fn authority(&self, host: &str) -> String {
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        match self.port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("https://{}{}", self.authority(&self.host), self.path)
    }
}

/// Host, port, and path with query.
fn split(text: &str) -> anyhow::Result<(String, u16, String)> {
    let help = "name https://HOST:PORT/PATH or HOST:PORT";
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some((scheme, _)) => bail!("{scheme}:// is not TLS: {help}"),
        None => text,
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let uri: http::Uri = format!("https://{authority}{path}")
        .parse()
        .with_context(|| format!("read {text}: {help}"))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| anyhow!("{text} names no host: {help}"))?;
    let host = authority.host();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        bail!("{text} names no host: {help}");
    }
    let has_port = authority.as_str().len() > authority.host().len();
    let port = match (authority.port_u16(), text.contains("://")) {
        (Some(port), _) => port,
        (None, true) if !has_port => 443,
        (None, true) => bail!("{text} names no port there is: {help}"),
        (None, false) => bail!("{text} names no port: {help}"),
    };
    Ok((host.to_owned(), port, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tls_or_names_no_host_is_refused_with_help() {
        for wrong in [
            "http://localhost/",
            "https://",
            "https:///x",
            ":443",
            "localhost",
            "https://user@localhost/",
            "https://local host/",
            "https://localhost:70000/",
        ] {
            let error = format!("{:#}", split(wrong).unwrap_err());
            assert!(error.contains("https://HOST:PORT/PATH"), "{wrong}: {error}");
        }
    }

    #[test]
    fn urls_and_bare_addresses_are_read() {
        let target = Target::parse("https://127.0.0.1:8443/1k?x=1").unwrap();
        assert_eq!(target.address(), ([127, 0, 0, 1], 8443).into());
        assert_eq!(target.path(), "/1k?x=1");
        assert_eq!(target.url(), "https://127.0.0.1:8443/1k?x=1");
        let bare = Target::parse("[::1]:8443").unwrap();
        assert_eq!((bare.host(), bare.path()), ("::1", "/"));
        assert_eq!(bare.authority(bare.host()), "[::1]:8443");
        let named = Target::at("https://shop.test/x", ([127, 0, 0, 2], 9).into()).unwrap();
        assert_eq!(named.authority("shop.test"), "shop.test");
        assert_eq!(named.address(), ([127, 0, 0, 2], 9).into());
    }

    #[test]
    fn localhost_is_the_older_loopback() {
        let target = Target::parse("localhost:1").unwrap();
        assert!(target.address().is_ipv4());
    }
}
