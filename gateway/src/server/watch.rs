//! Tells in the process log when a token goes away, why, and when it is back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_hsm::{TokenHealth, TokenState};

use crate::proxy::Shared;
use crate::ticket_keys::unix_now;
use crate::tls::SessionCache;

/// How often the tokens are looked at. What comes and goes in between is seen in the counters.
const LOOK: Duration = Duration::from_millis(250);

/// How often kept sessions are swept.
const SWEEP: Duration = Duration::from_secs(30);

/// Runs until the control runtime ends.
pub(super) async fn tokens(shared: Arc<Shared>) {
    let mut known: HashMap<String, TokenState> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let snapshot = shared.snapshot.load_full();
        known.retain(|name, _| {
            snapshot
                .tokens
                .iter()
                .any(|token| token.settings().name == *name)
        });
        for token in snapshot.tokens.iter() {
            let (name, health) = (&token.settings().name, token.health());
            let before = known.insert(name.clone(), health.state);
            if before.unwrap_or(TokenState::Up) != health.state {
                tell(name, &health);
            }
        }
    }
}

/// Forgets kept sessions that have expired, with their secrets. Runs until the control runtime ends.
pub(super) async fn sessions(sessions: Arc<SessionCache>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        sessions.sweep(unix_now());
    }
}

fn tell(hsm: &str, health: &TokenHealth) {
    let cause = health.cause.as_deref().unwrap_or_default();
    match health.state {
        TokenState::Up => tracing::info!(hsm, "the token is up"),
        TokenState::Recovering => tracing::warn!(hsm, cause, "the token failed and is tried again"),
        TokenState::Away => tracing::error!(hsm, cause, "the token is away"),
        TokenState::Refused => tracing::error!(hsm, cause, "the token needs an operator"),
    }
}
