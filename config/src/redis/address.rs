//! `redis://HOST:PORT` and `rediss://HOST:PORT`, written the one way they are compared.
//!
//! What is behind an `@` is never quoted: in front of it is a password.
use crate::Located;
use crate::check::{Check, Span};
use crate::upstream::host_and_port;
use crate::value::quoted;

use super::{RawMode, URLS_MAX};

/// The port of a server, and of a node of a Cluster.
const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// The addresses that could be read, each with its port; reports all that is wrong with them.
pub(super) fn addresses(
    check: &mut Check<'_>,
    table: &Span,
    texts: Vec<Located<String>>,
    mode: RawMode,
) -> Vec<Located<String>> {
    if texts.is_empty() || texts.len() > URLS_MAX {
        check.error(table, format!("`urls` has 1 to {URLS_MAX} addresses"));
    }
    if let (RawMode::Single, [_, second, ..]) = (mode, texts.as_slice()) {
        check
            .error(
                &second.span,
                "`mode = \"single\"` is one server, with one address",
            )
            .help("write `mode = \"cluster\"` or `mode = \"sentinel\"`");
    }
    let read = texts.iter().filter_map(|text| address(check, text, mode));
    let read: Vec<_> = read.collect();
    check.distinct(&read, "this address");
    let tls = |url: &Located<String>| url.value.starts_with("rediss:");
    if let Some(first) = read.first()
        && let Some(other) = read.iter().find(|url| tls(url) != tls(first))
    {
        check
            .error(
                &other.span,
                "some of these addresses are with TLS, some without",
            )
            .help("write all of them as `rediss://`")
            .related(&first.span, "the first one");
    }
    read
}

fn address(
    check: &mut Check<'_>,
    text: &Located<String>,
    mode: RawMode,
) -> Option<Located<String>> {
    let (scheme, rest) = match text.value.split_once("://") {
        Some((scheme @ ("redis" | "rediss"), rest)) => (scheme, rest),
        _ => {
            check
                .error(&text.span, "this is no address of a Redis")
                .help("write it as \"redis://HOST:PORT\", or \"rediss://HOST:PORT\" with TLS");
            return None;
        }
    };
    if rest.contains('@') {
        check
            .error(
                &text.span,
                "a user or a password must not stand in an address (and is not shown here)",
            )
            .help("write `user = \"NAME\"` and `password = \"file:PATH\"`");
        return None;
    }
    if rest.contains(['?', '#']) {
        check
            .error(&text.span, "an address has no query and no fragment")
            .help("what can be set has a key of its own in this table");
        return None;
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let database = database(check, text, (path, mode))?;
    let port = match mode {
        RawMode::Sentinel => SENTINEL_PORT,
        RawMode::Single | RawMode::Cluster => SERVER_PORT,
    };
    let (host, port) = host_and_port(check, &text.span, authority, port)?;
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host,
    };
    Some(text.with(format!("{scheme}://{host}:{port}{database}")))
}

/// `/N`, or nothing; `None` after a mistake.
fn database(
    check: &mut Check<'_>,
    text: &Located<String>,
    (path, mode): (&str, RawMode),
) -> Option<String> {
    if path.is_empty() {
        return Some(String::new());
    }
    let why = match mode {
        RawMode::Single => None,
        RawMode::Cluster => Some("a Cluster has no numbered databases"),
        RawMode::Sentinel => Some("a sentinel has no databases"),
    };
    if let Some(why) = why {
        check
            .error(&text.span, why)
            .help("remove the path: tell fleets apart by `prefix`");
        return None;
    }
    let digits = path.bytes().all(|byte| byte.is_ascii_digit());
    match path.parse::<u16>() {
        // Database 0 is the one without a number.
        Ok(0) if digits => Some(String::new()),
        Ok(number) if digits => Some(format!("/{number}")),
        _ => {
            let message = format!("{} is no number of a database", quoted(path));
            check.error(&text.span, message);
            None
        }
    }
}
