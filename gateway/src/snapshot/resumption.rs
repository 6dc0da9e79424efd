//! Ticket keys and kept sessions of a snapshot, taken over from the one before where nothing changed.

use std::fmt::Write;
use std::sync::Arc;

use portcullis_config::{Config, TicketKeySource};

use super::{Snapshot, SnapshotError, Standing};
use crate::certificates::Tokens;
use crate::ticket_keys::{Setup, Source, TicketKeys};
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
        (standing, tokens): (&Standing, &Tokens),
        old: Option<&Snapshot>,
    ) -> Result<Self, SnapshotError> {
        let setup = setup(config);
        let made_of = made_of(config, &setup, tokens);
        let old = old.map(|old| &old.resumption);
        let keys = match old.filter(|old| old.made_of == made_of) {
            Some(old) => Arc::clone(&old.resources.keys),
            None => Arc::new(TicketKeys::new(source(config, setup, tokens, old)?)),
        };
        Ok(Self {
            resources: Resources {
                keys,
                sessions: Arc::clone(&standing.sessions),
                stats: Arc::clone(&standing.resumption),
                stores: Vec::new(),
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
fn made_of(config: &Config, setup: &Setup, tokens: &Tokens) -> String {
    let mut text = format!("{setup:?}");
    // Writing to a string does not fail.
    let _ = match &config.tickets.keys {
        TicketKeySource::Random => write!(text, " random"),
        TicketKeySource::File(path) => write!(text, " file {}", path.value.display()),
        TicketKeySource::Hsm(_) | TicketKeySource::Redis { .. } => write!(text, " {:?}", tokens),
    };
    text
}

fn source(
    config: &Config,
    setup: Setup,
    _tokens: &Tokens,
    old: Option<&Resumption>,
) -> Result<Source, SnapshotError> {
    match &config.tickets.keys {
        TicketKeySource::Random => {
            // Sessions survive other settings. Keys from elsewhere open what they sealed, until it is old.
            let known = old.map(|old| old.resources.keys.ring().opens().to_vec());
            Ok(Source::random(setup, known.unwrap_or_default()))
        }
        _ => Err(SnapshotError {
            span: 0..0,
            message: "not yet".to_owned(),
        }),
    }
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
