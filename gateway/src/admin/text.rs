//! The OpenMetrics text format, as far as it is written by hand.

use std::fmt::{self, Write as _};

/// Help and type of a gauge.
pub(super) fn gauge(out: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge")
}

/// Help and type of a counter.
pub(super) fn counter(out: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}.\n# TYPE {name} counter")
}

/// A label value in quotes, escaped as OpenMetrics asks.
pub(super) fn label(value: &str) -> String {
    format!(
        "\"{}\"",
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}
