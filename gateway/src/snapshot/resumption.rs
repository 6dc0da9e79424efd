//! Ticket keys and kept sessions of a snapshot, taken over from the one before where nothing changed.

use std::fmt::Write;
use std::sync::Arc;

use portcullis_config::{Config, TicketKeySource, TokenSecret, WrapSource};
use portcullis_hsm::Secret;

use super::{Snapshot, SnapshotError, Standing};
use crate::certificates::Tokens;
use crate::fleet::Stores;
use crate::ticket_keys::{self, Setup, Source, TicketKeys};
use crate::tls::{Fleet, Resources};

/// What resumption takes at every site.
#[derive(Debug)]
pub struct Resumption {
    /// Keys, kept sessions, counters.
    pub resources: Resources,
    /// What the keys were made of: others are made where it differs.
    made_of: String,
}

impl Resumption {
    /// The keys of `old` where they are still what is wanted; else others, which are yet to begin.
    pub(super) fn build(
        config: &Config,
        (standing, tokens, stores): (&Standing, &Tokens, &Stores),
        old: Option<&Snapshot>,
    ) -> Result<Self, SnapshotError> {
        let setup = setup(config);
        let made_of = made_of(config, &setup, (tokens, stores));
        let old = old.map(|old| &old.resumption);
        let keys = match old.filter(|old| old.made_of == made_of) {
            Some(old) => Arc::clone(&old.resources.keys),
            None => {
                let source = source(config, setup, (tokens, stores), old)?;
                let before = old.map(|old| &*old.resources.keys);
                Arc::new(TicketKeys::after(source, before))
            }
        };
        Ok(Self {
            resources: Resources {
                keys,
                sessions: Arc::clone(&standing.sessions),
                stats: Arc::clone(&standing.resumption),
                stores: stores.iter().cloned().collect(),
            },
            made_of,
        })
    }
}

/// What the gateways of a fleet agree on.
pub(super) fn fleet(config: &Config) -> Fleet<'_> {
    let tickets = &config.tickets;
    Fleet {
        name: &tickets.fleet,
        generation: tickets.generation,
        max_size: tickets.max_size,
        clock_skew: seconds(tickets.clock_skew),
    }
}

fn setup(config: &Config) -> Setup {
    let tickets = &config.tickets;
    let longest = config.sites.iter().map(|site| site.resumption.lifetime);
    Setup {
        fleet: tickets.fleet.clone(),
        generation: tickets.generation,
        rotate: seconds(tickets.rotate),
        lifetime: seconds(longest.max().unwrap_or_default()),
        max_outage: seconds(tickets.max_outage),
        clock_skew: seconds(tickets.clock_skew),
    }
}

/// Everything that other keys would come of, as text: places in the file do not count.
fn made_of(config: &Config, setup: &Setup, (tokens, stores): (&Tokens, &Stores)) -> String {
    let mut text = format!("{setup:?}");
    // Writing to a string does not fail.
    let _ = match &config.tickets.keys {
        TicketKeySource::Random => write!(text, " random"),
        TicketKeySource::File(path) => write!(text, " file {}", path.value.display()),
        TicketKeySource::Hsm(roots) => write!(text, " hsm {}", held(roots, tokens)),
        TicketKeySource::Redis { store, wrap } => {
            let settings = stores.get(*store).map(|store| store.settings());
            let wrap = match wrap {
                WrapSource::File(path) => format!("file {}", path.value.display()),
                WrapSource::Token(root) => {
                    format!("hsm {}", held(std::slice::from_ref(root), tokens))
                }
            };
            write!(text, " redis {settings:?} {wrap}")
        }
    };
    text
}

/// Secrets and the tokens they may be in: one that is opened anew must not be held open as it was.
fn held(roots: &[TokenSecret], tokens: &Tokens) -> String {
    let roots: Vec<_> = roots
        .iter()
        .map(|root| (&root.uri.value, root.hsm))
        .collect();
    let settings: Vec<_> = tokens.iter().map(|token| token.settings()).collect();
    format!("{roots:?} {settings:?}")
}

fn source(
    config: &Config,
    setup: Setup,
    (tokens, stores): (&Tokens, &Stores),
    old: Option<&Resumption>,
) -> Result<Source, SnapshotError> {
    let secret = |root: &TokenSecret| -> Result<Secret, SnapshotError> {
        let secret = tokens.secret(config, root.hsm, &root.uri.value);
        secret.map_err(|error| SnapshotError {
            span: root.uri.span.clone(),
            message: error.to_string(),
        })
    };
    Ok(match &config.tickets.keys {
        TicketKeySource::Random => {
            // Sessions survive other settings. Keys from elsewhere open what they sealed, until it is old.
            let known = old.map(|old| old.resources.keys.ring().opens().to_vec());
            Source::random(setup, known.unwrap_or_default())
        }
        TicketKeySource::Hsm(roots) => {
            let found = roots.iter().map(secret);
            Source::hsm(setup, found.collect::<Result<_, _>>()?)
        }
        TicketKeySource::File(path) => Source::file(setup, path.value.clone()),
        TicketKeySource::Redis { store, wrap } => {
            let wrap = match wrap {
                WrapSource::File(path) => ticket_keys::WrapSource::File(path.value.clone()),
                WrapSource::Token(root) => ticket_keys::WrapSource::Token(secret(root)?),
            };
            // The place was checked with the configuration.
            let store = stores.get(*store).ok_or_else(|| SnapshotError {
                span: 0..0,
                message: "tickets.keys names no store".to_owned(),
            })?;
            Source::redis(setup, Arc::clone(store), wrap)
        }
    })
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
