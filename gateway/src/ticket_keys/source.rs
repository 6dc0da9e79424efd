//! The sources, as one type, and what they are told.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_hsm::Secret;

use super::file::KeysFile;
use super::hsm::Hsm;
use super::random::Random;
use super::redis::RedisKeys;
use super::wrap::WrapSource;
use super::{Look, Rotation, TicketKey, TicketKeysError};
use crate::fleet::Store;

/// What every source needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// Gateways of one fleet take each other's tickets.
    pub fleet: String,
    /// `tickets.generation`.
    pub generation: u64,
    /// Length of an epoch, seconds.
    pub rotate: i64,
    /// How long a ticket may live, seconds: the longest of all sites.
    pub lifetime: i64,
    /// How long the last key seals on while the source is away, seconds.
    pub max_outage: i64,
    /// Tolerated difference of clocks, seconds.
    pub clock_skew: i64,
}

/// Where keys come from. Lives on the control runtime.
#[derive(Debug)]
pub enum Source {
    /// This process made them.
    Random(Random),
    /// They stand in a file.
    File(KeysFile),
    /// A fleet shares them in Redis.
    Redis(Box<RedisKeys>),
    /// They are derived from a secret in a token.
    Hsm(Hsm),
}

impl Source {
    /// Keys of this process alone. Those in `known` open for as long as they would have.
    pub fn random(setup: Setup, known: Vec<Arc<TicketKey>>) -> Self {
        Self::Random(Random::new(setup, known))
    }

    /// Keys out of a file.
    pub fn file(setup: Setup, path: PathBuf) -> Self {
        Self::File(KeysFile::new(setup, path))
    }

    /// Keys that lie in a store, wrapped.
    pub fn redis(setup: Setup, store: Arc<Store>, wrap: WrapSource) -> Self {
        Self::Redis(Box::new(RedisKeys::new(setup, store, wrap)))
    }

    /// Keys derived from secrets in tokens: the first seals, all open.
    pub fn hsm(setup: Setup, roots: Vec<Secret>) -> Self {
        Self::Hsm(Hsm::new(setup, roots))
    }

    /// The first look. `now` is seconds since the Unix epoch, here and below.
    pub(super) async fn begin(&mut self, now: i64) -> Result<Look, TicketKeysError> {
        match self {
            Self::Random(source) => source.look(now),
            Self::File(source) => source.begin(now).await,
            Self::Redis(source) => source.begin(now).await,
            Self::Hsm(source) => source.begin(now).await,
        }
    }

    /// Makes or fetches what is missing. A failure is told in the status, and the ring stays.
    pub(super) async fn look(&mut self, now: i64) -> Look {
        match self {
            Self::Random(source) => source.look_again(now),
            Self::File(source) => source.look(now).await,
            Self::Redis(source) => source.look(now).await,
            Self::Hsm(source) => source.look(now).await,
        }
    }

    /// Another key from now on.
    pub(super) async fn rotate(&mut self, rotation: Rotation, now: i64) -> Result<String, String> {
        match self {
            Self::Random(source) => source.rotate(rotation, now),
            Self::File(source) => source.rotate(rotation).await,
            Self::Redis(source) => source.rotate(rotation, now).await,
            Self::Hsm(source) => source.rotate(rotation, now).await,
        }
    }
}
