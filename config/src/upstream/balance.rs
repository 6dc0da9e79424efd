//! How the endpoints of an upstream share its requests: `balance`, `hash`, `sticky`.
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::value::quoted;

/// How the endpoint of a request is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in progress for its weight.
    LeastRequest,
    /// The better of two drawn at random, by their latency and their requests in progress.
    P2c,
    /// The same for the same client, as far as that can be.
    Hash(HashOn),
}

/// What tells one client from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// `header:NAME`, lower case.
    Header(String),
    /// `cookie:NAME`.
    Cookie(String),
    /// `identity`: the verified client certificate.
    Identity,
}

impl Balance {
    /// The word in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Balance::RoundRobin => "round-robin",
            Balance::LeastRequest => "least-request",
            Balance::P2c => "p2c",
            Balance::Hash(_) => "hash",
        }
    }
}

impl HashOn {
    /// As it is written in the file.
    pub fn text(&self) -> String {
        match self {
            HashOn::Header(name) => format!("header:{name}"),
            HashOn::Cookie(name) => format!("cookie:{name}"),
            HashOn::Identity => "identity".to_owned(),
        }
    }
}

/// `balance` as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RawBalance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with the fewest requests in progress for its weight.
    LeastRequest,
    /// The better of two drawn at random, by their latency and their requests in progress.
    P2c,
    /// The same for the same client, by what `hash` names.
    Hash,
}

/// `balance` and `hash`, which belong together.
pub(super) fn balance(
    check: &mut Check<'_>,
    word: Option<Located<RawBalance>>,
    hash: Option<Located<String>>,
) -> Balance {
    let on = hash.as_ref().map(|text| hash_on(check, text));
    let plain = match word.as_ref().map(|word| word.value) {
        None | Some(RawBalance::RoundRobin) => Balance::RoundRobin,
        Some(RawBalance::LeastRequest) => Balance::LeastRequest,
        Some(RawBalance::P2c) => Balance::P2c,
        Some(RawBalance::Hash) => {
            if let (None, Some(word)) = (&on, &word) {
                check
                    .error(&word.span, "`balance = \"hash\"` needs `hash`")
                    .help("add `hash = \"identity\"`, `\"header:NAME\"` or `\"cookie:NAME\"`");
            }
            return Balance::Hash(on.flatten().unwrap_or(HashOn::Identity));
        }
    };
    if let Some(text) = hash {
        check
            .error(
                &text.span,
                "`hash` does nothing without `balance = \"hash\"`",
            )
            .help("add `balance = \"hash\"`, or remove this");
    }
    plain
}

fn hash_on(check: &mut Check<'_>, text: &Located<String>) -> Option<HashOn> {
    match text.value.split_once(':') {
        Some(("header", name)) if is_token(name) => {
            return Some(HashOn::Header(name.to_ascii_lowercase()));
        }
        Some(("cookie", name)) if is_token(name) => return Some(HashOn::Cookie(name.to_owned())),
        None if text.value == "identity" => return Some(HashOn::Identity),
        _ => {}
    }
    let message = format!("{} is nothing to hash", quoted(&text.value));
    check
        .error(&text.span, message)
        .help("write \"identity\", \"header:NAME\" or \"cookie:NAME\"");
    None
}

/// `sticky`: the name of a cookie.
pub(super) fn sticky(check: &mut Check<'_>, name: Option<Located<String>>) -> Option<String> {
    let name = name?;
    if !is_token(&name.value) {
        let message = format!("{} is no name for a cookie", quoted(&name.value));
        check.error(&name.span, message);
    }
    Some(name.value)
}

/// RFC 9110, section 5.6.2: names of header fields and of cookies.
fn is_token(name: &str) -> bool {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(sign)
}
