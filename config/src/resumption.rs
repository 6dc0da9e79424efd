//! `[resumption]`, `[listener.resumption]`, `[site.resumption]`: which sessions may be taken up again.
//!
//! Each key of a site is the site's own, else what all its listeners say, else the top level's, else the
//! default. What belongs together is checked when all of it is known, so for each site.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::check::{Check, Names, Span};
use crate::value::{DurationText, Number, SizeText, duration_text, quoted};
use crate::{Located, TlsPolicy, TlsVersion};

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
/// More early data than any safe request has.
const EARLY_DATA_MAX: u64 = 1 << 20;

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

/// A site whose resumption is put together.
pub(crate) struct Heir<'a> {
    pub(crate) name: &'a str,
    /// Its header.
    pub(crate) table: &'a Span,
    pub(crate) tls: &'a TlsPolicy,
    /// Name and layer of each of its listeners.
    pub(crate) listeners: Vec<(&'a str, &'a Layer)>,
}

/// What came of it.
pub(crate) struct Inherited {
    pub(crate) resumption: Resumption,
    /// Whether all that was written could be read.
    pub(crate) whole: bool,
}

impl Heir<'_> {
    /// The site's own keys and what it inherits; reports what does not go together.
    pub(crate) fn inherit(&self, check: &mut Check<'_>, own: Layer) -> Inherited {
        let own_store = own.store.as_ref().map(|store| store.span.clone());
        let whole = own.whole && self.listeners.iter().all(|(_, layer)| layer.whole);
        let all = Layer {
            mode: self.key(check, ("mode", own.mode), |layer| &layer.mode),
            tickets: self.key(check, ("tickets", own.tickets), |layer| &layer.tickets),
            lifetime: self.key(check, ("lifetime", own.lifetime), |layer| &layer.lifetime),
            max_lineage: self.key(check, ("max_lineage", own.max_lineage), |layer| {
                &layer.max_lineage
            }),
            early_data: self.key(check, ("early_data", own.early_data), |layer| {
                &layer.early_data
            }),
            store: self.key(check, ("early_data_store", own.store), |layer| &layer.store),
            whole,
        };
        let default = Resumption::default();
        let resumption = Resumption {
            mode: value(&all.mode).unwrap_or(default.mode),
            tickets: value(&all.tickets).unwrap_or(default.tickets),
            lifetime: value(&all.lifetime).unwrap_or(default.lifetime),
            max_lineage: value(&all.max_lineage).unwrap_or(default.max_lineage),
            early_data: value(&all.early_data).unwrap_or(default.early_data),
            store: value(&all.store).filter(|_| value(&all.early_data) > Some(0)),
        };
        if whole {
            self.lineage(check, &all, &resumption);
            self.early_data(check, &all, &resumption);
            if let (Some(span), 0) = (own_store, resumption.early_data) {
                let message = "`early_data_store` does nothing: this site takes no early data";
                check.error(&span, message);
            }
        }
        Inherited { resumption, whole }
    }

    /// One key: the site's own, else the one that all its listeners have.
    fn key<T: Copy + PartialEq>(
        &self,
        check: &mut Check<'_>,
        (name, own): (&str, Option<Located<T>>),
        of: impl Fn(&Layer) -> &Option<Located<T>>,
    ) -> Option<Located<T>> {
        if own.is_some() {
            return own;
        }
        let mut said = self.listeners.iter();
        let (first, layer) = said.next()?;
        let found = of(layer);
        if let Some((other, differing)) = said.find(|(_, other)| value(of(other)) != value(found)) {
            let (one, two) = (quoted(first), quoted(other));
            let message = format!(
                "the listeners {one} and {two} say different things about `resumption.{name}`"
            );
            let help =
                format!("give this site a `resumption.{name}` of its own, or make it two sites");
            let error = check.error(self.table, message).help(help);
            let place = [of(differing), found].into_iter().flatten();
            if let Some(place) = place.map(|value| &value.span).find(|span| !span.is_empty()) {
                error.related(place, "one of the listeners");
            }
        }
        found.clone()
    }

    fn lineage(&self, check: &mut Check<'_>, all: &Layer, resumption: &Resumption) {
        if resumption.lifetime <= resumption.max_lineage {
            return;
        }
        let message = format!(
            "a session of the site {} would live for {}, and the lineage it belongs to for {} only",
            quoted(self.name),
            duration_text(resumption.lifetime),
            duration_text(resumption.max_lineage)
        );
        check
            .error(self.place([&all.lifetime, &all.max_lineage]), message)
            .help("lower `lifetime`, or raise `max_lineage`, which counts from the full handshake");
    }

    /// Early data can be sent again by whoever saw it: only a session that is used up protects against that.
    fn early_data(&self, check: &mut Check<'_>, all: &Layer, resumption: &Resumption) {
        if resumption.early_data == 0 {
            return;
        }
        let place = self.place([&all.early_data]);
        let name = quoted(self.name);
        if !resumption.mode.remembers() {
            let mode = resumption.mode.as_str();
            let message = format!(
                "early data of the site {name} needs sessions that are used once, and its `mode` is `{mode}`"
            );
            check
                .error(place, message)
                .help("use `mode = \"both\"` or `\"stateful\"`, or `early_data = \"off\"`");
        }
        if !self.tls.versions.contains(&TlsVersion::Tls13) {
            let message = format!("early data needs TLS 1.3, which the site {name} does not have");
            check
                .error(place, message)
                .help("add \"1.3\" to its `tls.versions`, or give it `early_data = \"off\"`");
        }
    }

    /// Where the first of `keys` that was written at all is.
    fn place<'a, T>(&'a self, keys: impl IntoIterator<Item = &'a Option<Located<T>>>) -> &'a Span
    where
        T: 'a,
    {
        let written = keys.into_iter().flatten().map(|value| &value.span);
        let mut written = written.filter(|span| !span.is_empty());
        written.next().unwrap_or(self.table)
    }
}

fn value<T: Copy>(located: &Option<Located<T>>) -> Option<T> {
    located.as_ref().map(|located| located.value)
}
