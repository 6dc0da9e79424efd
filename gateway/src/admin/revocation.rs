//! Revocation lists and OCSP in the metrics: age and state of every list, and what passed by leniency.

use std::fmt::{self, Write as _};

use super::text::{gauge, label};
use crate::revocation::{CrlStats, ListStats, OcspStats};

/// The metrics of the lists of all trust bundles, by name of the bundle. `now` in seconds since the Unix epoch.
pub(super) fn encode_lists(out: &mut String, all: &[(String, CrlStats)], now: i64) -> fmt::Result {
    type Of = fn(&ListStats) -> i64;
    let gauges: [(&str, &str, Of); 3] = [
        ("entries", "Serial numbers on the list", |list| {
            i64::try_from(list.entries).unwrap_or(i64::MAX)
        }),
        (
            "this_update_seconds",
            "When the list was made, seconds since the epoch",
            |list| list.this_update,
        ),
        (
            "next_update_seconds",
            "When the next list is due, seconds since the epoch",
            |list| list.next_update,
        ),
    ];
    let each = || {
        all.iter().flat_map(|(bundle, stats)| {
            let labels = |list: &ListStats| {
                let (bundle, origin) = (label(bundle), label(&list.origin));
                let kind = if list.delta { "delta" } else { "complete" };
                format!("bundle={bundle},list={origin},kind=\"{kind}\"")
            };
            stats.lists.iter().map(move |list| (labels(list), list))
        })
    };
    for (name, help, value) in gauges {
        gauge(out, &format!("portcullis_crl_{name}"), help)?;
        for (labels, list) in each() {
            writeln!(out, "portcullis_crl_{name}{{{labels}}} {}", value(list))?;
        }
    }
    let name = "portcullis_crl_state";
    gauge(out, name, "1 for the state the list is in")?;
    for (labels, list) in each() {
        for state in ["current", "stale", "future"] {
            let value = u8::from(state == list.state(now));
            writeln!(out, "{name}{{{labels},state=\"{state}\"}} {value}")?;
        }
    }
    encode_counters(out, all)
}

fn encode_counters(out: &mut String, all: &[(String, CrlStats)]) -> fmt::Result {
    type Of = fn(&CrlStats) -> u64;
    let counters: [(&str, &str, Of); 5] = [
        ("fetches", "Fetches that brought a usable list", |stats| {
            stats.fetches
        }),
        (
            "fetch_errors",
            "Fetches that failed or brought something unusable",
            |stats| stats.fetch_errors,
        ),
        ("refused", "Changed files that were not used", |stats| {
            stats.refused
        }),
        (
            "stale_passes",
            "Certificates that passed with a stale list",
            |stats| stats.stale_passes,
        ),
        (
            "missing_passes",
            "Certificates that passed without a list",
            |stats| stats.missing_passes,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("portcullis_crl_{name}");
        counter(out, &name, help)?;
        for (bundle, stats) in all {
            let bundle = label(bundle);
            writeln!(out, "{name}_total{{bundle={bundle}}} {}", value(stats))?;
        }
    }
    Ok(())
}

/// The metrics of OCSP of all trust bundles.
pub(super) fn encode_ocsp(out: &mut String, all: &[(String, OcspStats)]) -> fmt::Result {
    type Of = fn(&OcspStats) -> u64;
    let counters: [(&str, &str, Of); 4] = [
        ("asked", "Questions sent to responders", |stats| stats.asked),
        ("cached", "Verdicts from memory", |stats| stats.cached),
        ("failed", "Questions without a valid answer", |stats| {
            stats.failed
        }),
        (
            "soft_passes",
            "Certificates that passed without a good answer",
            |stats| stats.soft_passes,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("portcullis_ocsp_{name}");
        counter(out, &name, help)?;
        for (bundle, stats) in all {
            let bundle = label(bundle);
            writeln!(out, "{name}_total{{bundle={bundle}}} {}", value(stats))?;
        }
    }
    let name = "portcullis_ocsp_entries";
    gauge(out, name, "Certificates whose status is remembered")?;
    for (bundle, stats) in all {
        let (bundle, entries) = (label(bundle), stats.entries);
        writeln!(out, "{name}{{bundle={bundle}}} {entries}")?;
    }
    Ok(())
}

fn counter(out: &mut String, name: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}.\n# TYPE {name} counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_list_shows_as_stale_under_its_bundle() {
        let list = ListStats {
            origin: "a\"b".to_owned(),
            number: None,
            delta: false,
            entries: 3,
            this_update: 10,
            next_update: 20,
            proven: true,
        };
        let stats = CrlStats {
            lists: vec![list],
            fetches: 0,
            fetch_errors: 7,
            refused: 0,
            stale_passes: 0,
            missing_passes: 0,
        };
        let mut out = String::new();
        encode_lists(&mut out, &[("staff".to_owned(), stats)], 21).unwrap();
        let labels = "bundle=\"staff\",list=\"a\\\"b\",kind=\"complete\"";
        for line in [
            format!("portcullis_crl_entries{{{labels}}} 3\n"),
            format!("portcullis_crl_state{{{labels},state=\"stale\"}} 1\n"),
            format!("portcullis_crl_state{{{labels},state=\"current\"}} 0\n"),
            "portcullis_crl_fetch_errors_total{bundle=\"staff\"} 7\n".to_owned(),
        ] {
            assert!(out.contains(&line), "{line}{out}");
        }
    }

    #[test]
    fn soft_passes_are_counted_by_bundle() {
        let stats = OcspStats {
            asked: 4,
            cached: 3,
            failed: 2,
            soft_passes: 1,
            entries: 5,
        };
        let mut out = String::new();
        encode_ocsp(&mut out, &[("staff".to_owned(), stats)]).unwrap();
        for line in [
            "portcullis_ocsp_soft_passes_total{bundle=\"staff\"} 1\n",
            "portcullis_ocsp_entries{bundle=\"staff\"} 5\n",
        ] {
            assert!(out.contains(line), "{line}{out}");
        }
    }
}
