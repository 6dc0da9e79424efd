//! `status`: how the tokens of a running gateway are, from its `/readyz`.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use portcullis_config::Config;
use serde_json::{Value, json};

use super::Report;
use super::exit::Refusal;
use crate::cli::Exit;

/// A gateway answers in a millisecond, or is not there.
const TIMEOUT: Duration = Duration::from_secs(5);

/// More than any honest answer.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Status {
    /// The configuration of the gateway, for its `admin.bind`.
    #[arg(short, long, default_value = "/etc/portcullis/portcullis.toml")]
    config: PathBuf,
    /// Where the gateway answers, instead: http://ADDRESS:PORT.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        let address = match &self.url {
            Some(url) => resolve(url)?,
            None => self.configured()?,
        };
        let body = ask(address)
            .with_context(|| format!("the gateway at http://{address} does not answer"))?;
        let value: Value = serde_json::from_str(&body)
            .with_context(|| format!("http://{address}/readyz is not of a gateway"))?;
        let Some(hsms) = value.get("hsm").and_then(Value::as_array) else {
            bail!("http://{address}/readyz tells of no tokens");
        };
        let up = hsms.iter().all(is_up);
        let report = Report::new(table(hsms), json!({ "ok": up, "hsm": hsms }));
        Ok(if up {
            report
        } else {
            report.exit(Exit::Live).next(
                "portcullis hsm check for the token that is not up, on the machine of the gateway",
            )
        })
    }

    fn configured(&self) -> anyhow::Result<SocketAddr> {
        let path = self.config.display();
        let config = match Config::load(&self.config) {
            Ok((config, _)) => config,
            Err(errors) => {
                let text = format!("{}\nname the gateway with --url", errors.render(false));
                return Err(Refusal::Selection(text).into());
            }
        };
        let Some(mut address) = config.admin.bind else {
            let text = format!("admin.bind is off in {path}: there is nobody to ask");
            return Err(Refusal::Selection(text).into());
        };
        if address.ip().is_unspecified() {
            // It listens everywhere; it is asked here.
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(address)
    }
}

/// The address of `http://HOST:PORT`.
fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|host| host.contains(':'));
    let Some(host) = host else {
        let text = "--url is http://ADDRESS:PORT, as in the log of the gateway".to_owned();
        return Err(Refusal::Usage(text).into());
    };
    let mut addresses = host
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {host}"))?;
    addresses
        .next()
        .with_context(|| format!("{host} has no address"))
}

/// The body of `GET /readyz`, whatever its status: 503 tells as much as 200.
fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut tcp = TcpStream::connect_timeout(&address, TIMEOUT)?;
    tcp.set_read_timeout(Some(TIMEOUT))?;
    tcp.set_write_timeout(Some(TIMEOUT))?;
    // In one piece: who answers before all was written would close on the rest, and the answer were lost.
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes())?;
    let mut answer = String::new();
    tcp.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.") => Ok(body.to_owned()),
        _ => bail!("its answer is not HTTP"),
    }
}

/// A gateway from before there were states has open tokens only.
fn is_up(hsm: &Value) -> bool {
    hsm.get("state").is_none_or(|state| state == "up")
}

fn table(hsms: &[Value]) -> String {
    const COLUMNS: [(&str, &str); 10] = [
        ("name", "name"),
        ("state", "state"),
        ("since_seconds", "for s"),
        ("sessions", "sessions"),
        ("hung", "hung"),
        ("waiting", "waiting"),
        ("in_flight", "in flight"),
        ("capacity_per_second", "sign/s"),
        ("isolation", "isolation"),
        ("group", "group"),
    ];
    if hsms.is_empty() {
        return "the gateway has no tokens".to_owned();
    }
    let mut text = String::new();
    let rows = hsms
        .iter()
        .map(|hsm| COLUMNS.map(|(key, _)| cell(hsm.get(key))));
    let rows: Vec<[String; 10]> = std::iter::once(COLUMNS.map(|(_, title)| title.to_owned()))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        let hsm = index.checked_sub(1).and_then(|index| hsms.get(index));
        if let Some(cause) = hsm.and_then(|hsm| hsm.get("cause")?.as_str()) {
            let _ = writeln!(text, "    {cause}");
        }
    }
    text
}

/// A number, a word, or `-` for what is not told.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use serde_json::json;

    use super::{Status, is_up, resolve, table};
    use crate::cli::Exit;

    /// A gateway that answers once.
    fn answering(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let read = tcp.read(&mut piece).unwrap();
                assert!(read > 0, "the request ended early");
                request.extend_from_slice(&piece[..read]);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.0\r\n"));
            tcp.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    fn status(url: &str) -> anyhow::Result<super::Report> {
        let (config, url) = ("/nowhere".into(), Some(url.to_owned()));
        Status { config, url }.run()
    }

    #[test]
    fn a_token_that_is_not_up_ends_with_four() {
        let body = json!({"status": "ready", "hsm": [
            {"name": "edge", "state": "up", "sessions": 4, "capacity_per_second": 1234.5},
            {"name": "west", "state": "away", "cause": "CKR_TOKEN_NOT_PRESENT", "group": null},
        ]});
        let url = answering(format!("HTTP/1.0 503 x\r\nA: b\r\n\r\n{body}"));
        let report = status(&url).unwrap();
        assert_eq!(report.exit, Exit::Live);
        assert_eq!(report.value["ok"], false);
        for word in [
            "edge",
            "up",
            "1234",
            "west",
            "away",
            "CKR_TOKEN_NOT_PRESENT",
        ] {
            assert!(report.text.contains(word), "{word}: {}", report.text);
        }
    }

    #[test]
    fn a_gateway_that_tells_little_is_read_all_the_same() {
        let body = json!({"status": "ready", "hsm": [{"name": "edge", "waiting": 0}]});
        let url = answering(format!("HTTP/1.1 200 OK\r\n\r\n{body}\n"));
        let report = status(&url).unwrap();
        assert_eq!(report.exit, Exit::Done);
        assert!(is_up(&json!({})) && !is_up(&json!({"state": "refused"})));
        assert!(table(&[]).contains("no tokens"));
    }

    #[test]
    fn who_does_not_answer_like_a_gateway_is_an_error() {
        for answer in ["", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"] {
            assert!(status(&answering(answer.to_owned())).is_err(), "{answer}");
        }
        assert!(status("http://127.0.0.1:1").is_err());
        for url in ["https://127.0.0.1:1", "http://localhost", "127.0.0.1:1"] {
            assert!(resolve(url).is_err(), "{url}");
        }
    }
}
