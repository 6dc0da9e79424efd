//! `[upstream.NAME.retries]`: when a request that came to nothing is sent again.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::schema::one_or_many;
use crate::value::{Decimal, DurationText, Number, Share};

/// When a request is sent again that was sent and not answered. Only one that is idempotent and has no body ever is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// How often at most; 0 for never. Default once.
    pub attempts: u32,
    /// How many for all requests, beyond a small stock. Default a fifth.
    pub budget: Share,
    /// How long one try may take to the head of its answer. Default as long as there is.
    pub per_try: Option<Duration>,
    /// Answers that count as none, of 502, 503 and 504. Default none of them.
    pub on: Vec<u16>,
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            attempts: 1,
            budget: Share::FIFTH,
            per_try: None,
            on: Vec::new(),
        }
    }
}

/// `[upstream.NAME.retries]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRetries {
    /// How often a request is sent again at most; 0 for never.
    attempts: Option<Located<Number>>,
    /// Retries in the long run, as a share of all requests.
    budget: Option<Located<Decimal>>,
    /// How long one try may take. Default: as long as `response_timeout` leaves.
    per_try: Option<Located<DurationText>>,
    /// Answers that are tried again elsewhere: of 502, 503 and 504.
    #[schemars(schema_with = "one_or_many::<Number>")]
    on: Option<Vec<Located<Number>>>,
}

const ATTEMPTS_MAX: usize = 5;

impl RawRetries {
    pub(super) fn check(self, check: &mut Check<'_>) -> Retries {
        let default = Retries::default();
        let attempts = check.count(self.attempts, default.attempts as usize, 0..=ATTEMPTS_MAX);
        let allowed = Duration::from_millis(1)..=Duration::from_secs(3_600);
        let per_try = self
            .per_try
            .map(|text| check.duration(Some(text), Duration::from_secs(1), allowed));
        let mut on = Vec::new();
        for status in self.on.unwrap_or_default() {
            match status.value.0 {
                known @ 502..=504 if !on.contains(&(known as u16)) => on.push(known as u16),
                502..=504 => {
                    check.error(&status.span, "this answer is listed twice");
                }
                _ => {
                    check
                        .error(
                            &status.span,
                            "an answer that is tried again is 502, 503 or 504",
                        )
                        .help("others are what the service has to say");
                }
            }
        }
        Retries {
            attempts: u32::try_from(attempts).unwrap_or(default.attempts),
            budget: check.share(self.budget, default.budget),
            per_try,
            on,
        }
    }
}
