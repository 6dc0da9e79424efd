//! `[upstream.NAME.ejection]`: when an endpoint that fails is left out, and for how long.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::value::{Decimal, DurationText, Number, Share};

/// When an endpoint is left out because requests to it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row; 0 for never. Default 5.
    pub failures: u32,
    /// For how long. Default 10 s.
    pub period: Duration,
    /// The most endpoints that may be left out at once. Default a half.
    pub max_share: Share,
}

impl Default for Ejection {
    fn default() -> Self {
        Ejection {
            failures: 5,
            period: Duration::from_secs(10),
            max_share: Share::HALF,
        }
    }
}

/// `[upstream.NAME.ejection]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEjection {
    /// Failures in a row after which an endpoint is left out; 0 for never.
    failures: Option<Located<Number>>,
    /// How long it is left out.
    r#for: Option<Located<DurationText>>,
    /// The most endpoints that are left out at once, as a share of all: 0.5 is a half.
    max_share: Option<Located<Decimal>>,
}

impl RawEjection {
    pub(super) fn check(self, check: &mut Check<'_>) -> Ejection {
        let default = Ejection::default();
        let failures = check.count(self.failures, default.failures as usize, 0..=1_000);
        let allowed = Duration::from_millis(100)..=Duration::from_secs(3_600);
        Ejection {
            failures: u32::try_from(failures).unwrap_or(default.failures),
            period: check.duration(self.r#for, default.period, allowed),
            max_share: check.share(self.max_share, default.max_share),
        }
    }
}
