//! How the tokens are: for `/readyz`, `/metrics` and `portcullis hsm status`.

use std::fmt::{self, Write as _};

use portcullis_hsm::{Isolation, LATENCY_BOUNDS_US, Token, TokenState, TokenStats};
use serde_json::{Value, json};

use super::text::{counter, gauge, label};
use crate::certificates::Tokens;

const STATES: [TokenState; 4] = [
    TokenState::Up,
    TokenState::Recovering,
    TokenState::Away,
    TokenState::Refused,
];

/// Whether every token works.
pub(super) fn all_up(tokens: &Tokens) -> bool {
    tokens
        .iter()
        .all(|token| token.health().state == TokenState::Up)
}

/// Each token as a JSON object.
pub(super) fn states(tokens: &Tokens) -> Vec<Value> {
    let object = |token: &Token| {
        let (health, stats) = (token.health(), token.stats());
        let isolation = match token.settings().isolation {
            Isolation::None => "none",
            Isolation::Process { .. } => "process",
            Isolation::Socket(_) => "signer",
        };
        json!({
            "name": token.settings().name,
            "state": word(health.state),
            "cause": health.cause,
            "since_seconds": health.since.as_secs(),
            "sessions": stats.sessions,
            "hung": stats.hung,
            "waiting": stats.waiting,
            "in_flight": stats.in_flight,
            "queue_bound": stats.queue_bound,
            "capacity_per_second": Some(stats.capacity_per_second).filter(|rate| *rate > 0),
            "isolation": isolation,
            "group": tokens.group_of(token).map(|group| group.name()),
        })
    };
    tokens.iter().map(object).collect()
}

/// The metrics of all tokens and groups.
pub(super) fn encode(out: &mut String, tokens: &Tokens) -> fmt::Result {
    let all: Vec<(String, TokenStats)> = tokens
        .iter()
        .map(|token| (label(&token.settings().name), token.stats()))
        .collect();
    encode_states(out, tokens)?;
    encode_gauges(out, &all)?;
    encode_counters(out, &all)?;
    encode_latency(out, &all)?;
    let name = "portcullis_hsm_group_failovers";
    counter(
        out,
        name,
        "Signatures asked of another member, because the first failed or took long",
    )?;
    for group in tokens.groups() {
        let (group, count) = (label(group.name()), group.failovers());
        writeln!(out, "{name}_total{{group={group}}} {count}")?;
    }
    Ok(())
}

fn encode_states(out: &mut String, tokens: &Tokens) -> fmt::Result {
    let name = "portcullis_hsm_state";
    gauge(out, name, "1 for the state the token is in")?;
    for token in tokens.iter() {
        let (hsm, now) = (label(&token.settings().name), token.health().state);
        for state in STATES {
            let (word, value) = (word(state), u8::from(state == now));
            writeln!(out, "{name}{{hsm={hsm},state=\"{word}\"}} {value}")?;
        }
    }
    Ok(())
}

type Named<'a> = (&'a str, &'a str, fn(&TokenStats) -> u64);

fn encode_gauges(out: &mut String, all: &[(String, TokenStats)]) -> fmt::Result {
    let gauges: [Named<'_>; 6] = [
        ("waiting", "Signatures waiting for a session", |stats| {
            stats.waiting as u64
        }),
        ("queue_bound", "Signatures that may wait", |stats| {
            stats.queue_bound as u64
        }),
        ("in_flight", "Signatures in the token now", |stats| {
            stats.in_flight as u64
        }),
        ("sessions", "Sessions that are alive", |stats| {
            stats.sessions as u64
        }),
        (
            "hung",
            "Calls that hang; their sessions were replaced",
            |stats| stats.hung as u64,
        ),
        (
            "capacity_per_second",
            "Signatures a second the token makes with its sessions",
            |stats| stats.capacity_per_second,
        ),
    ];
    for (name, help, value) in gauges {
        gauge(out, &format!("portcullis_hsm_{name}"), help)?;
        for (hsm, stats) in all {
            writeln!(out, "portcullis_hsm_{name}{{hsm={hsm}}} {}", value(stats))?;
        }
    }
    Ok(())
}

fn encode_counters(out: &mut String, all: &[(String, TokenStats)]) -> fmt::Result {
    let counters: [Named<'_>; 7] = [
        ("signatures", "Signatures made", |stats| stats.signatures),
        ("errors", "Signatures the token refused", |stats| {
            stats.errors
        }),
        ("timeouts", "Signatures that missed the deadline", |stats| {
            stats.timeouts
        }),
        (
            "rejected",
            "Signatures refused because the queue was full",
            |stats| stats.rejected,
        ),
        (
            "retries",
            "Signatures asked for again on a fresh session",
            |stats| stats.retries,
        ),
        (
            "sessions_opened",
            "Sessions opened, those included that replace others",
            |stats| stats.sessions_opened,
        ),
        (
            "restarts",
            "New starts of the module or of its signer process",
            |stats| stats.restarts,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("portcullis_hsm_{name}");
        counter(out, &name, help)?;
        for (hsm, stats) in all {
            writeln!(out, "{name}_total{{hsm={hsm}}} {}", value(stats))?;
        }
    }
    Ok(())
}

fn encode_latency(out: &mut String, all: &[(String, TokenStats)]) -> fmt::Result {
    let name = "portcullis_hsm_sign_seconds";
    writeln!(
        out,
        "# HELP {name} Time of a signature, waiting included.\n# TYPE {name} histogram"
    )?;
    for (hsm, stats) in all {
        let mut cumulative = 0;
        for (count, bound) in stats.latency.iter().zip(LATENCY_BOUNDS_US) {
            cumulative += count;
            let le = bound as f64 / 1e6;
            writeln!(out, "{name}_bucket{{hsm={hsm},le=\"{le}\"}} {cumulative}")?;
        }
        let total: u64 = stats.latency.iter().sum();
        let sum = stats.latency_sum_us as f64 / 1e6;
        writeln!(out, "{name}_bucket{{hsm={hsm},le=\"+Inf\"}} {total}")?;
        writeln!(out, "{name}_sum{{hsm={hsm}}} {sum}")?;
        writeln!(out, "{name}_count{{hsm={hsm}}} {total}")?;
    }
    Ok(())
}

fn word(state: TokenState) -> &'static str {
    match state {
        TokenState::Up => "up",
        TokenState::Recovering => "recovering",
        TokenState::Away => "away",
        TokenState::Refused => "refused",
    }
}
