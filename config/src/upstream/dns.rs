//! `[upstream.NAME.dns]`: names of endpoints that become many.
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Located;
use crate::check::Check;
use crate::value::DurationText;

/// `[upstream.NAME.dns]` as written.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDns {
    /// How often names are looked up so that each of their addresses is an endpoint; `off`: with each connection, and
    /// a name is one endpoint.
    every: Option<Located<DurationText>>,
}

impl RawDns {
    pub(super) fn check(self, check: &mut Check<'_>) -> Option<Duration> {
        let allowed = Duration::from_millis(100)..=Duration::from_secs(86_400);
        check.duration_or_off(self.every, None, allowed)
    }
}
