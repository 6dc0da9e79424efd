//! `[rate_limit.NAME]`: how often somebody may ask.
use std::num::NonZeroU32;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Names, Span};
use crate::value::{Number, quoted};

/// A rate limit, as sites and routes name it. Who names the same limit shares its count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// NAME of the table.
    pub name: String,
    /// Who has a count of its own.
    pub per: RatePer,
    /// How many in the long run.
    pub rate: Rate,
    /// How many at once after a pause. Default: what the rate gives in a second, at least 1.
    pub burst: NonZeroU32,
    /// Index into [`crate::Config::redis`] of the Redis that counts for a fleet; `None` counts in the process.
    pub redis: Option<usize>,
    /// What happens while that Redis does not answer. Default local.
    pub when_away: WhenAway,
}

/// Who has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RatePer {
    /// An IPv4 address, or an IPv6 network of 64 bits.
    Source,
    /// A verified client: its SPIFFE ID, else issuer and subject. Everybody else counts by source.
    Identity,
    /// Nobody: all are counted together.
    All,
}

/// What to do when the Redis that counts is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhenAway {
    /// Each gateway counts for itself.
    Local,
    /// Nobody is refused.
    Allow,
    /// Everybody is refused.
    Refuse,
}

/// So many in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In how much time: a second, a minute, an hour or a day.
    pub period: Duration,
}

/// `[rate_limit.NAME]` as written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRateLimit {
    /// Who has a count of its own: `source` (address), `identity` (client certificate) or `all`.
    per: Option<RatePer>,
    /// How many requests in the long run: `100/s`, `600/m`, `1000/h`, `10000/d`. Required.
    rate: Option<Located<String>>,
    /// How many at once after a pause. Default: what the rate gives in a second, at least 1.
    burst: Option<Located<Number>>,
    /// Name of the `[redis.NAME]` that counts for all gateways. Default: each process counts for itself.
    redis: Option<Located<String>>,
    /// What happens while that Redis does not answer: `local`, `allow` or `refuse`.
    when_away: Option<Located<WhenAway>>,
}

/// What a second may have at most; beyond it the arithmetic of a limiter, in nanoseconds, is not exact.
const MOST: u32 = 1_000_000;

impl RatePer {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            RatePer::Source => "source",
            RatePer::Identity => "identity",
            RatePer::All => "all",
        }
    }
}

impl WhenAway {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            WhenAway::Local => "local",
            WhenAway::Allow => "allow",
            WhenAway::Refuse => "refuse",
        }
    }
}

impl Rate {
    /// The time between two, where they come evenly.
    pub fn interval(self) -> Duration {
        self.period / self.count.get()
    }

    /// What it gives in a second, at least 1.
    pub fn per_second(self) -> NonZeroU32 {
        let seconds = u32::try_from(self.period.as_secs()).unwrap_or(u32::MAX);
        let count = self.count.get().div_ceil(seconds.max(1));
        NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
    }

    /// As it is written.
    pub fn text(self) -> String {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        format!("{}/{unit}", self.count)
    }

    /// Reads `COUNT/UNIT`.
    pub(crate) fn read(check: &mut Check<'_>, text: &Located<String>) -> Option<Self> {
        let read = || {
            let (count, unit) = text.value.split_once('/')?;
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse::<NonZeroU32>().ok().filter(|_| digits)?;
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => 86_400,
                _ => return None,
            };
            Some((count, seconds))
        };
        let Some((count, seconds)) = read() else {
            let message = format!("{} is no rate", quoted(&text.value));
            check
                .error(&text.span, message)
                .help("write a count and a unit: `100/s`, `600/m`, `1000/h` or `10000/d`");
            return None;
        };
        if u64::from(count.get()) > u64::from(MOST) * seconds {
            let message = format!("a rate is at most {MOST} a second");
            check.error(&text.span, message);
            return None;
        }
        Some(Self {
            count,
            period: Duration::from_secs(seconds),
        })
    }
}

impl RawRateLimit {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        (name, table): (&Located<String>, &Span),
        redis: &Names,
    ) -> Option<RateLimit> {
        let rate = check.required(table, "rate", self.rate);
        let rate = rate.and_then(|text| Rate::read(check, &text));
        if let (Some(away), None) = (&self.when_away, &self.redis) {
            check
                .error(&away.span, "`when_away` does nothing without `redis`")
                .help("name a `[redis.NAME]`, or remove this");
        }
        let store = self.redis.map(|name| redis.index(check, &name));
        let usual = rate.map_or(1, |rate| rate.per_second().get());
        let burst = check.count(self.burst, usual as usize, 1..=MOST as usize);
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new);
        Some(RateLimit {
            name: name.value.clone(),
            per: self.per.unwrap_or(RatePer::Source),
            rate: rate?,
            burst: burst.unwrap_or(NonZeroU32::MIN),
            redis: match store {
                Some(index) => Some(index?),
                None => None,
            },
            when_away: self.when_away.map_or(WhenAway::Local, |away| away.value),
        })
    }
}

/// The limits that a site or a route names, as indices into [`crate::Config::rate_limits`].
pub(crate) fn named_limits(
    check: &mut Check<'_>,
    limits: &Names,
    written: Option<Vec<Located<String>>>,
) -> Vec<usize> {
    let written = written.unwrap_or_default();
    check.distinct(&written, "this limit");
    let known = written.iter();
    known.filter_map(|name| limits.index(check, name)).collect()
}
