//! Reload: validate → build → swap. Until the swap nothing of the running configuration is touched; where any
//! step fails it stays in force and the error is shown.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Server, ServerError, keep_fresh, prepare};
use crate::snapshot::Snapshot;

/// How long tokens may take to open and to prove their keys. Less than `portcullis reload` waits, so that the
/// operator is told.
const PREPARE_LIMIT: Duration = Duration::from_secs(100);

impl Server {
    /// Reads the configuration again and puts it in force.
    pub(super) async fn reload(&mut self) -> Result<String, ServerError> {
        let result = self.try_reload().await;
        let metrics = &self.state.shared.metrics;
        match &result {
            Ok(summary) => {
                metrics.reloads.inc();
                tracing::info!("reload: {summary}");
            }
            Err(error) => {
                metrics.reloads_failed.inc();
                tracing::error!("reload refused, the old configuration stays in force: {error}");
            }
        }
        result
    }

    async fn try_reload(&mut self) -> Result<String, ServerError> {
        let (path, old) = (self.path.clone(), self.state.shared.snapshot.load_full());
        let standing = self.standing.clone();
        // Tokens block while they open and sign: not on the control thread, which answers probes.
        let prepared = tokio::task::spawn_blocking(move || prepare(&path, Some((&standing, &old))));
        let (config, _, snapshot) = timeout(PREPARE_LIMIT, prepared)
            .await
            .map_err(|late| ServerError::System("a token did not answer", late.into()))?
            .map_err(|error| ServerError::System("reload", std::io::Error::other(error)))??;
        if config.workers != self.config.workers {
            return Err(ServerError::Restart("workers"));
        }
        if config.admin != self.config.admin {
            return Err(ServerError::Restart("[admin]"));
        }
        if config.log != self.config.log {
            return Err(ServerError::Restart("[log]"));
        }
        let keys = &snapshot.resumption.resources.keys;
        let begun = timeout(PREPARE_LIMIT, keys.begin());
        let late = |late: tokio::time::error::Elapsed| {
            ServerError::System("the ticket keys did not come", late.into())
        };
        begun
            .await
            .map_err(late)?
            .map_err(ServerError::TicketKeys)?;
        // New sockets first: if one cannot be opened nothing has changed.
        let opened = self.workers.open_new(&config.listeners)?;
        let summary = summary(&snapshot);
        self.state
            .shared
            .connections
            .set_limit(config.limits.connections);
        self.state
            .shared
            .handshakes
            .set_limit(config.limits.handshakes);
        self.state
            .shared
            .inventory
            .set_limit(config.limits.inventory);
        let (sessions, memory) = (config.limits.sessions, config.limits.session_memory);
        self.standing.sessions.set_limits(sessions, memory as u64);
        keep_fresh(&snapshot);
        self.standing.deny.configure(&config.deny);
        let shared = &self.state.shared;
        let (snapshot, old) = (Arc::new(snapshot), shared.snapshot.load_full());
        let (before, now) = (
            old.rules.policy.shadow_rules(),
            snapshot.rules.policy.shadow_rules(),
        );
        shared.metrics.adopt_shadow_rules(before, now);
        snapshot.take_effect();
        shared.snapshot.store(Arc::clone(&snapshot));
        self.workers.switch(&config.listeners, opened);
        self.config = config;
        Ok(summary)
    }
}

fn summary(snapshot: &Snapshot) -> String {
    format!(
        "generation {}: {} listeners, {} sites, {} upstreams",
        snapshot.generation,
        snapshot.rules.listeners.len(),
        snapshot.sites.len(),
        snapshot.targets.len()
    )
}
