//! What the gateway counts itself: signatures of its tokens.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

/// How long the gateway may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// Signatures made, one line for each token.
const SIGNATURES: &str = "portcullis_hsm_signatures_total";

/// The `/metrics` of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    authority: String,
    path: String,
}

impl Metrics {
    /// Reads `http://HOST:PORT[/PATH]`; the path is `/metrics` where there is none.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| anyhow!("--metrics is http://HOST:PORT/metrics, not {url}"))?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/metrics"),
        };
        Ok(Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Signatures of all tokens until now.
    pub fn signatures(&self) -> anyhow::Result<f64> {
        let text = self
            .text()
            .with_context(|| format!("ask http://{}{}", self.authority, self.path))?;
        Ok(sum(&text, SIGNATURES))
    }

    fn text(&self) -> anyhow::Result<String> {
        let address = self.authority.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| anyhow!("no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.path, self.authority
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1);
        match status {
            Some("200") => Ok(answer),
            status => bail!("the answer is {}", status.unwrap_or("empty")),
        }
    }
}

/// The values of all lines of one metric, whatever their labels, together.
fn sum(text: &str, name: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.trim().parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(Metrics::parse("https://localhost/metrics").is_err());
        let nobody = Metrics::parse("http://127.0.0.1:1").unwrap();
        let error = format!("{:#}", nobody.signatures().unwrap_err());
        assert!(error.contains("ask http://127.0.0.1:1/metrics"), "{error}");
    }

    #[test]
    fn tokens_are_added_and_longer_names_are_not() {
        let text = "# TYPE portcullis_hsm_signatures_total counter\n\
            portcullis_hsm_signatures_total{hsm=\"a\"} 3\n\
            portcullis_hsm_signatures_total{hsm=\"} b\"} 4\n\
            portcullis_hsm_signatures_total_else 9\n";
        assert_eq!(sum(text, SIGNATURES), 7.0);
        assert_eq!(sum(text, "absent"), 0.0);
    }
}
