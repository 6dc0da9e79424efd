//! `[redis.NAME]`: a Redis or Valkey that a fleet of gateways shares.
//!
//! An address never holds a user or a password, and what was written where a password is named is never told.
mod address;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Span};
use crate::hsm::{PinSource, parse_source};
use crate::schema::one_or_many;
use crate::value::DurationText;

/// One Redis: a server, a Cluster, or what Sentinels watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// NAME of the table.
    pub name: String,
    /// Addresses, never empty, either all `redis://HOST:PORT` or all `rediss://HOST:PORT` (TLS), always with the
    /// port; for a single server perhaps with `/DATABASE` behind it.
    pub urls: Vec<Located<String>>,
    /// What stands at these addresses. Default single.
    pub mode: RedisMode,
    /// User (ACL); `None` is Redis's default user. Only with a password.
    pub user: Option<String>,
    /// Where the password comes from; `None` when none is needed.
    pub password: Option<Located<SecretSource>>,
    /// PEM file of the CAs its certificate must lead to; `None` is the system's.
    pub ca: Option<Located<PathBuf>>,
    /// PEM file of the client certificate chain; there exactly when `key` is.
    pub certificate: Option<Located<PathBuf>>,
    /// PEM file of its key.
    pub key: Option<Located<PathBuf>>,
    /// How long a handshake waits for one answer. Default 50 ms.
    pub timeout: Duration,
    /// How long connecting may take. Default 2 s.
    pub connect_timeout: Duration,
    /// What all keys in it begin with. Default `portcullis`.
    pub prefix: String,
}

/// What stands at the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    Single,
    /// Nodes of a Redis Cluster.
    Cluster,
    /// Sentinels, which know the server.
    Sentinel {
        /// The name they watch it under.
        master: String,
    },
}

/// Where a secret comes from that may be read again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `file:PATH`, first line.
    File(PathBuf),
    /// `env:NAME`.
    Env(String),
    /// `credential:NAME`, a file in `$CREDENTIALS_DIRECTORY` (systemd).
    Credential(String),
}

impl RedisMode {
    /// The word in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            RedisMode::Single => "single",
            RedisMode::Cluster => "cluster",
            RedisMode::Sentinel { .. } => "sentinel",
        }
    }
}

/// `mode` as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RawMode {
    /// One server.
    Single,
    /// Nodes of a Cluster; one that answers is enough to find the others.
    Cluster,
    /// Sentinels, which are asked for the server they call `master`.
    Sentinel,
}

/// `[redis.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRedis {
    /// `redis://HOST:PORT`, or `rediss://HOST:PORT` with TLS; several for a Cluster or Sentinels. Required.
    #[schemars(schema_with = "one_or_many::<String>")]
    urls: Option<Vec<Located<String>>>,
    /// `single` server, nodes of a `cluster`, or `sentinel`s.
    mode: Option<Located<RawMode>>,
    /// With `sentinel`: the name the server is watched under. Required there.
    master: Option<Located<String>>,
    /// User (ACL). Default: Redis's default user.
    user: Option<Located<String>>,
    /// Where the password comes from: `file:PATH`, `env:NAME` or `credential:NAME` (systemd). Never the
    /// password itself.
    password: Option<Located<String>>,
    /// PEM file with the CAs the certificate of a `rediss://` server must lead to. Default: the system's.
    ca: Option<Located<String>>,
    /// PEM file with a client certificate for `rediss://`.
    certificate: Option<Located<String>>,
    /// PEM file with its key.
    key: Option<Located<String>>,
    /// How long a handshake waits for an answer.
    timeout: Option<Located<DurationText>>,
    /// How long connecting may take.
    connect_timeout: Option<Located<DurationText>>,
    /// What all keys of the fleet begin with.
    prefix: Option<Located<String>>,
}

const MILLISECOND: Duration = Duration::from_millis(1);
/// Addresses to try one after another.
const URLS_MAX: usize = 64;
const TEXT_MAX: usize = 128;

impl RawRedis {
    pub(crate) fn check(
        mut self,
        check: &mut Check<'_>,
        name: &Located<String>,
        table: &Span,
    ) -> Option<Redis> {
        let raw_mode = self.mode.take();
        let place = raw_mode.as_ref().map_or(table, |mode| &mode.span).clone();
        let mode = raw_mode.map_or(RawMode::Single, |mode| mode.value);
        let urls = check.required(table, "urls", self.urls.take());
        let addresses = urls.map(|urls| address::addresses(check, table, urls, mode));
        let mode = self.mode(check, &place, mode);
        self.tls(check, table, addresses.as_deref());
        let password = self.password.take();
        if let (Some(user), None) = (&self.user, &password)
            && !check.lost_key(table, "password")
        {
            check
                .error(&user.span, "`user` does nothing without `password`")
                .help("add `password = \"file:PATH\"`, or remove `user` for the default user");
        }
        let password = password.and_then(|text| secret_source(check, &text));
        let mut path = |text: Option<Located<String>>| text.map(|text| check.path(&text));
        let (ca, certificate, key) = (path(self.ca), path(self.certificate), path(self.key));
        let second = 1000 * MILLISECOND;
        Some(Redis {
            name: name.value.clone(),
            urls: addresses?,
            mode,
            user: self.user.map(|text| plain(check, text, "a user")),
            password,
            ca,
            certificate,
            key,
            timeout: check.duration(self.timeout, 50 * MILLISECOND, MILLISECOND..=10 * second),
            connect_timeout: check.duration(
                self.connect_timeout,
                2 * second,
                10 * MILLISECOND..=60 * second,
            ),
            prefix: self
                .prefix
                .map_or_else(|| "portcullis".to_owned(), |text| prefix(check, text)),
        })
    }

    fn mode(&mut self, check: &mut Check<'_>, place: &Span, mode: RawMode) -> RedisMode {
        let master = self.master.take();
        match (mode, master) {
            (RawMode::Sentinel, Some(master)) => RedisMode::Sentinel {
                master: plain(check, master, "a master"),
            },
            (RawMode::Sentinel, None) => {
                check
                    .error(place, "`mode = \"sentinel\"` needs `master`")
                    .help("add the name the sentinels watch the server under: `master = \"mymaster\"`");
                RedisMode::Single
            }
            (mode, master) => {
                if let Some(master) = master {
                    let message = "`master` does nothing without `mode = \"sentinel\"`";
                    check.error(&master.span, message);
                }
                match mode {
                    RawMode::Cluster => RedisMode::Cluster,
                    _ => RedisMode::Single,
                }
            }
        }
    }

    /// Reports half a client certificate, and TLS settings without TLS.
    fn tls(&self, check: &mut Check<'_>, table: &Span, urls: Option<&[Located<String>]>) {
        let pair = (&self.certificate, &self.key);
        let half = match pair {
            (Some(certificate), None) => Some((certificate, "certificate", "key")),
            (None, Some(key)) => Some((key, "key", "certificate")),
            _ => None,
        };
        if let Some((text, there, absent)) = half
            && !check.lost_key(table, absent)
        {
            let message = format!("`{there}` does nothing without `{absent}`");
            check
                .error(&text.span, message)
                .help("a client certificate is `certificate` and `key` together");
        }
        let Some(urls) = urls.filter(|urls| !urls.is_empty()) else {
            return;
        };
        if urls.iter().all(|url| url.value.starts_with("redis:")) {
            let written = [
                ("ca", &self.ca),
                ("certificate", &self.certificate),
                ("key", &self.key),
            ];
            for (key, text) in written {
                if let Some(text) = text {
                    check
                        .error(&text.span, format!("`{key}` does nothing without TLS"))
                        .help("write the addresses as `rediss://`");
                }
            }
        }
    }
}

fn plain(check: &mut Check<'_>, text: Located<String>, what: &str) -> String {
    let length = text.value.chars().count();
    if length == 0 || length > TEXT_MAX || text.value.contains(char::is_control) {
        let message = format!("{what} has 1 to {TEXT_MAX} printable characters");
        check.error(&text.span, message);
    }
    text.value
}

/// No braces: in a Cluster they decide which node has a key.
fn prefix(check: &mut Check<'_>, text: Located<String>) -> String {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    if text.value.is_empty() || text.value.len() > TEXT_MAX || !text.value.bytes().all(sound) {
        let message = format!(
            "a prefix has 1 to {TEXT_MAX} letters, digits, `-`, `_`, `.` and `:`, and nothing else"
        );
        check.error(&text.span, message);
    }
    text.value
}

/// Never says what was written: it may be the password.
fn secret_source(check: &mut Check<'_>, text: &Located<String>) -> Option<Located<SecretSource>> {
    let source = match parse_source(check, text) {
        Some(PinSource::File(path)) => SecretSource::File(path),
        Some(PinSource::Env(name)) => SecretSource::Env(name),
        Some(PinSource::Credential(name)) => SecretSource::Credential(name),
        Some(PinSource::Fd(_) | PinSource::Prompt) => {
            check
                .error(
                    &text.span,
                    "a password that is needed again and again cannot be read once only",
                )
                .help("write `file:PATH`, `env:NAME` or `credential:NAME`");
            return None;
        }
        None => {
            check
                .error(&text.span, "this does not say where the password comes from (and is not shown here)")
                .help("write `file:PATH`, `env:NAME` or `credential:NAME`; a password itself must not stand in the configuration");
            return None;
        }
    };
    Some(text.with(source))
}
