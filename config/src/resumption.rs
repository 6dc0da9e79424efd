//! `[resumption]`, `[listener.resumption]`, `[site.resumption]`: which sessions may be taken up again.
//!
//! Each key of a site is the site's own, else what all its listeners say, else the top level's, else the
//! default. What belongs together is checked when all of it is known, so for each site.
mod inherit;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Names, Span};
use crate::value::{DurationText, Number, SizeText};

pub(crate) use self::inherit::{Heir, Inherited};

/// Resumption on a site, after inheriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resumption {
    /// In which form sessions are kept. Default both.
    pub mode: ResumptionMode,
    /// TLS 1.3 tickets after a full handshake; a resumed one gets one. Default 2.
    pub tickets: usize,
    /// How long one ticket or session is good. Default 4 h.
    pub lifetime: Duration,
    /// From the full handshake to the end of the last session that comes of it; at least `lifetime`.
    /// Default 24 h.
    pub max_lineage: Duration,
    /// Bytes of early data (0-RTT); 0 is off. Default 0.
    pub early_data: u32,
    /// Index into [`crate::Config::redis`]: where a fleet remembers which sessions were used for early data;
    /// `None` is this gateway only, and where there is no early data.
    pub store: Option<usize>,
}

/// In which form sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResumptionMode {
    /// Not at all: every handshake is a full one.
    Off,
    /// In tickets that clients keep.
    Tickets,
    /// In the memory of the gateway.
    Stateful,
    /// Both: what fits the client and the version.
    Both,
}

impl ResumptionMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            ResumptionMode::Off => "off",
            ResumptionMode::Tickets => "tickets",
            ResumptionMode::Stateful => "stateful",
            ResumptionMode::Both => "both",
        }
    }

    /// Whether sessions are kept in the gateway, where each can be used up.
    pub fn remembers(self) -> bool {
        matches!(self, ResumptionMode::Stateful | ResumptionMode::Both)
    }
}

impl Default for Resumption {
    fn default() -> Self {
        Resumption {
            mode: ResumptionMode::Both,
            tickets: 2,
            lifetime: Duration::from_secs(4 * 3600),
            max_lineage: Duration::from_secs(24 * 3600),
            early_data: 0,
            store: None,
        }
    }
}

/// `resumption` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawResumption {
    /// `tickets` are kept by clients, `stateful` sessions in the gateway, `both` is what fits the client,
    /// `off` makes every handshake a full one.
    mode: Option<Located<ResumptionMode>>,
    /// TLS 1.3 tickets after a full handshake (0 to 8); a resumed one gets one.
    tickets: Option<Located<Number>>,
    /// How long a ticket or session is good.
    lifetime: Option<Located<DurationText>>,
    /// From the full handshake to the end of the last session that comes of it.
    max_lineage: Option<Located<DurationText>>,
    /// Bytes a client may send with its first flight (0-RTT), or `off`. Needs `stateful` or `both`, TLS 1.3,
    /// and routes with `early_data = true`.
    early_data: Option<Located<SizeText>>,
    /// Name of the `[redis.NAME]` where a fleet remembers which sessions were used for early data. Default:
    /// each gateway for itself.
    early_data_store: Option<Located<String>>,
}

/// RFC 8446, section 4.6.1: no ticket is good for longer.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const SECOND: Duration = Duration::from_secs(1);
/// A lineage beyond this is no bound.
const LINEAGE_MAX: Duration = Duration::from_secs(365 * 86_400);
/// rustls skips 16 KiB of early data that it does not accept, records and all; a client that was promised more than fits
/// would lose its connection. Safe requests are smaller.
const EARLY_DATA_MAX: u64 = 14 << 10;

/// What is known of the resumption of a site: each key with its place, which is empty for a default.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    mode: Option<Located<ResumptionMode>>,
    tickets: Option<Located<usize>>,
    lifetime: Option<Located<Duration>>,
    max_lineage: Option<Located<Duration>>,
    early_data: Option<Located<u32>>,
    store: Option<Located<usize>>,
    /// Whether all that was written could be read.
    pub(crate) whole: bool,
}

impl RawResumption {
    pub(crate) fn check(self, check: &mut Check<'_>, table: &Span, redis: &Names) -> Layer {
        let default = Resumption::default();
        let keys = [
            "mode",
            "tickets",
            "lifetime",
            "max_lineage",
            "early_data",
            "early_data_store",
        ];
        let whole = !keys.iter().any(|key| check.lost_key(table, key));
        let tickets = at(self.tickets, |number| check.count(Some(number), 2, 0..=8));
        let lifetime = at(self.lifetime, |text| {
            check.duration(Some(text), default.lifetime, SECOND..=WEEK)
        });
        let max_lineage = at(self.max_lineage, |text| {
            check.duration(Some(text), default.max_lineage, SECOND..=LINEAGE_MAX)
        });
        let early_data = at(self.early_data, |text| match text.value.0.as_str() {
            "off" => 0,
            _ => {
                let size = check.size(Some(text), 1, 1..=EARLY_DATA_MAX);
                u32::try_from(size).unwrap_or_default()
            }
        });
        let store = self
            .early_data_store
            .and_then(|name| Some(name.with(redis.index(check, &name)?)));
        Layer {
            mode: self.mode,
            tickets,
            lifetime,
            max_lineage,
            early_data,
            store,
            whole,
        }
    }
}

/// Reads a value and keeps its place.
fn at<T, U>(written: Option<Located<T>>, read: impl FnOnce(Located<T>) -> U) -> Option<Located<U>> {
    let written = written?;
    let span = written.span.clone();
    Some(Located {
        value: read(written),
        span,
    })
}

impl Layer {
    /// Nothing is written.
    pub(crate) fn silent() -> Self {
        Layer {
            mode: None,
            tickets: None,
            lifetime: None,
            max_lineage: None,
            early_data: None,
            store: None,
            whole: true,
        }
    }

    /// What holds where nothing is written.
    pub(crate) fn defaults() -> Self {
        fn unwritten<T>(value: T) -> Option<Located<T>> {
            Some(Located { value, span: 0..0 })
        }
        let default = Resumption::default();
        Layer {
            mode: unwritten(default.mode),
            tickets: unwritten(default.tickets),
            lifetime: unwritten(default.lifetime),
            max_lineage: unwritten(default.max_lineage),
            early_data: unwritten(default.early_data),
            store: None,
            whole: true,
        }
    }

    /// This, and what it does not say from `below`.
    pub(crate) fn over(self, below: &Layer) -> Self {
        Layer {
            mode: self.mode.or_else(|| below.mode.clone()),
            tickets: self.tickets.or_else(|| below.tickets.clone()),
            lifetime: self.lifetime.or_else(|| below.lifetime.clone()),
            max_lineage: self.max_lineage.or_else(|| below.max_lineage.clone()),
            early_data: self.early_data.or_else(|| below.early_data.clone()),
            store: self.store.or_else(|| below.store.clone()),
            whole: self.whole && below.whole,
        }
    }
}
