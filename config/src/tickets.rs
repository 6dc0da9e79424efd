//! `[tickets]`: the keys that session tickets are sealed with, for the whole process.
//!
//! Gateways that have the same fleet name, generation and key source take each other's tickets.
mod source;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::{Check, Names, Span};
use crate::hsm_ref::Tokens;
use crate::site::CheckedSite;
use crate::value::{DurationText, Number, SizeText, duration_text};

use self::source::RawTicketKeys;
pub use self::source::{TicketKeySource, TokenSecret, WrapSource};

/// `[tickets]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tickets {
    /// What the fleet is called; gateways of another one do not take its tickets. Default `portcullis`.
    pub fleet: String,
    /// Where the keys come from. Default random.
    pub keys: TicketKeySource,
    /// Length of an epoch; each has a key of its own. Default 1 h.
    pub rotate: Duration,
    /// Raising it ends every session of the fleet. Default 0.
    pub generation: u64,
    /// How long the last key seals on while its source is away. Default 12 h.
    pub max_outage: Duration,
    /// The difference between the clocks of the fleet that is tolerated. Default 2 min.
    pub clock_skew: Duration,
    /// Tickets of more bytes are not given out. Default 4 KiB.
    pub max_size: usize,
}

impl Default for Tickets {
    fn default() -> Self {
        Tickets {
            fleet: "portcullis".to_owned(),
            keys: TicketKeySource::Random,
            rotate: Duration::from_secs(3600),
            generation: 0,
            max_outage: Duration::from_secs(12 * 3600),
            clock_skew: Duration::from_secs(120),
            max_size: 4 << 10,
        }
    }
}

/// `[tickets]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTickets {
    /// Name of the fleet; only gateways with the same one take each other's tickets.
    fleet: Option<Located<String>>,
    /// Where ticket keys come from: `random` (each process its own), or a table with `hsm`, `file` or `redis`.
    keys: Option<Located<RawTicketKeys>>,
    /// Length of an epoch; each has a key of its own.
    rotate: Option<Located<DurationText>>,
    /// Raising it ends every session of the fleet.
    generation: Option<Located<Number>>,
    /// How long the last key of an HSM or Redis seals on while it is away.
    max_outage: Option<Located<DurationText>>,
    /// Difference between the clocks of the fleet that is tolerated.
    clock_skew: Option<Located<DurationText>>,
    /// Larger tickets are not given out.
    max_size: Option<Located<SizeText>>,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const FLEET_LENGTH_MAX: usize = 128;
/// Keys that are held for tickets still alive; each is looked for by its name, so many cost memory only.
const EPOCHS_MAX: u128 = 1 << 14;
/// As many as fit into the record of a fleet in Redis (512), less those that are made ahead.
const RECORD_MAX: u128 = 508;

impl RawTickets {
    pub(crate) fn check(
        self,
        check: &mut Check<'_>,
        (tokens, redis): (&Tokens<'_>, &Names),
        sites: &[CheckedSite],
    ) -> Tickets {
        let default = Tickets::default();
        let place = self.rotate.as_ref().map(|text| text.span.clone());
        let rotate = check.duration(self.rotate, default.rotate, SECOND..=7 * DAY);
        let keys = self
            .keys
            .and_then(|keys| keys.value.check(check, &keys.span, (tokens, redis)));
        let clock_skew = check.duration(
            self.clock_skew,
            default.clock_skew,
            Duration::ZERO..=3600 * SECOND,
        );
        if let Some(place) = place {
            let most = match &keys {
                Some(TicketKeySource::Redis { .. }) => RECORD_MAX,
                _ => EPOCHS_MAX,
            };
            bounded(check, (&place, most), (rotate, clock_skew), sites);
        }
        let size = check.size(self.max_size, default.max_size as u64, 256..=32 << 10);
        Tickets {
            fleet: self.fleet.map_or(default.fleet, |name| fleet(check, name)),
            keys: keys.unwrap_or(default.keys),
            rotate,
            generation: self.generation.map_or(0, |number| number.value.0),
            max_outage: check.duration(self.max_outage, default.max_outage, SECOND..=30 * DAY),
            clock_skew,
            max_size: usize::try_from(size).unwrap_or(default.max_size),
        }
    }
}

fn fleet(check: &mut Check<'_>, name: Located<String>) -> String {
    let length = name.value.chars().count();
    if length == 0 || length > FLEET_LENGTH_MAX || name.value.contains(char::is_control) {
        let message = format!("a fleet name has 1 to {FLEET_LENGTH_MAX} printable characters");
        check.error(&name.span, message);
    }
    name.value
}

/// Reports epochs so short that more than `most` of them pass while the longest session lives.
fn bounded(
    check: &mut Check<'_>,
    (place, most): (&Span, u128),
    (rotate, clock_skew): (Duration, Duration),
    sites: &[CheckedSite],
) {
    let lifetimes = sites.iter().map(|checked| checked.site.resumption.lifetime);
    let Some(longest) = lifetimes.max() else {
        return;
    };
    // A key opens for as long as a ticket of it is young by the slowest clock.
    if (longest + clock_skew).as_millis() / rotate.as_millis() <= most {
        return;
    }
    let (rotate, longest) = (duration_text(rotate), duration_text(longest));
    let message =
        format!("with a key every {rotate}, sessions of {longest} need too many keys at once");
    let held = match most {
        RECORD_MAX => "a record in Redis holds 512 keys".to_owned(),
        _ => format!("{most} keys are held"),
    };
    check.error(place, message).help(format!(
        "{held}: raise `rotate`, or lower `lifetime` or `clock_skew`"
    ));
}
