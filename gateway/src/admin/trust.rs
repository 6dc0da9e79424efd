//! How revocation is, and how long client certificates still live: for `/metrics`. No name of a client is in it.

use std::fmt::{self, Write as _};

use super::text::{counter, gauge, label};
use crate::revocation::{CrlStats, ListStats, OcspStats};
use crate::snapshot::Rules;
use crate::telemetry::inventory::{DAYS_LEFT, Inventory};

/// The metrics of all trust bundles, of the deny list and of the inventory. `now` in seconds since the Unix epoch.
pub(super) fn encode(
    out: &mut String,
    rules: &Rules,
    inventory: &Inventory,
    now: i64,
) -> fmt::Result {
    let (mut lists, mut answers) = (Vec::new(), Vec::new());
    for bundle in &rules.bundles {
        let name = label(bundle.name());
        lists.extend(bundle.crl().map(|crl| (name.clone(), crl.stats())));
        answers.extend(bundle.ocsp().map(|ocsp| (name.clone(), ocsp.stats())));
    }
    encode_lists(out, &lists, now)?;
    encode_counters(out, &lists)?;
    encode_answers(out, &answers)?;
    let name = "portcullis_deny_entries";
    gauge(out, name, "Entries of the deny list")?;
    writeln!(out, "{name} {}", rules.deny.len())?;
    encode_days_left(out, inventory, now)
}

type Bundles<T> = [(String, T)];
/// Name, help, and where the value is.
type Named<'a, T> = (&'a str, &'a str, fn(&T) -> u64);

fn encode_lists(out: &mut String, bundles: &Bundles<CrlStats>, now: i64) -> fmt::Result {
    let all: Vec<(String, &ListStats)> = bundles
        .iter()
        .flat_map(|(bundle, stats)| named(bundle, stats))
        .collect();
    let name = "portcullis_crl_next_update_seconds";
    gauge(out, name, "When the list runs out, Unix time")?;
    for (labels, list) in &all {
        writeln!(out, "{name}{{{labels}}} {}", list.next_update)?;
    }
    let name = "portcullis_crl_age_seconds";
    gauge(out, name, "How long ago the list was made")?;
    for (labels, list) in &all {
        writeln!(out, "{name}{{{labels}}} {}", now - list.this_update)?;
    }
    let name = "portcullis_crl_entries";
    gauge(out, name, "Serial numbers in the list")?;
    for (labels, list) in &all {
        writeln!(out, "{name}{{{labels}}} {}", list.entries)?;
    }
    let name = "portcullis_crl_state";
    gauge(out, name, "1 for the state the list is in")?;
    for (labels, list) in &all {
        for state in ["current", "stale", "future"] {
            let value = u8::from(list.state(now) == state);
            writeln!(out, "{name}{{{labels},state=\"{state}\"}} {value}")?;
        }
    }
    Ok(())
}

fn named<'a>(bundle: &str, stats: &'a CrlStats) -> Vec<(String, &'a ListStats)> {
    let lists = stats.lists.iter();
    let labels = lists.map(|list| {
        let (origin, delta) = (label(&list.origin), list.delta);
        (
            format!("bundle={bundle},origin={origin},delta=\"{delta}\""),
            list,
        )
    });
    labels.collect()
}

fn encode_counters(out: &mut String, bundles: &Bundles<CrlStats>) -> fmt::Result {
    let counters: [Named<'_, CrlStats>; 5] = [
        ("fetches", "Fetches that brought a usable list", |stats| {
            stats.fetches
        }),
        (
            "fetch_errors",
            "Fetches that failed, or brought something unusable",
            |stats| stats.fetch_errors,
        ),
        (
            "refused_files",
            "Changed files that were not used",
            |stats| stats.refused,
        ),
        (
            "stale_passes",
            "Certificates let in with a list past nextUpdate, by the policy",
            |stats| stats.stale_passes,
        ),
        (
            "missing_passes",
            "Certificates let in without a list, by the policy",
            |stats| stats.missing_passes,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("portcullis_crl_{name}");
        counter(out, &name, help)?;
        for (bundle, stats) in bundles {
            writeln!(out, "{name}_total{{bundle={bundle}}} {}", value(stats))?;
        }
    }
    Ok(())
}

fn encode_answers(out: &mut String, bundles: &Bundles<OcspStats>) -> fmt::Result {
    let counters: [Named<'_, OcspStats>; 4] = [
        ("questions", "Questions sent to responders", |stats| {
            stats.asked
        }),
        ("cached", "Answers from memory", |stats| stats.cached),
        ("failed", "Questions without a valid answer", |stats| {
            stats.failed
        }),
        (
            "soft_passes",
            "Certificates let in without \"good\", by the mode soft",
            |stats| stats.soft_passes,
        ),
    ];
    for (name, help, value) in counters {
        let name = format!("portcullis_ocsp_{name}");
        counter(out, &name, help)?;
        for (bundle, stats) in bundles {
            writeln!(out, "{name}_total{{bundle={bundle}}} {}", value(stats))?;
        }
    }
    let name = "portcullis_ocsp_entries";
    gauge(out, name, "Certificates whose answer is remembered")?;
    for (bundle, stats) in bundles {
        writeln!(out, "{name}{{bundle={bundle}}} {}", stats.entries)?;
    }
    Ok(())
}

fn encode_days_left(out: &mut String, inventory: &Inventory, now: i64) -> fmt::Result {
    let name = "portcullis_client_certificate_days_left";
    writeln!(
        out,
        "# HELP {name} Days to the end of the client certificates seen.\n# TYPE {name} gaugehistogram"
    )?;
    let (buckets, count, sum) = inventory.days_left(now);
    for (bucket, bound) in buckets.iter().zip(DAYS_LEFT) {
        writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {bucket}")?;
    }
    writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}")?;
    writeln!(out, "{name}_gcount {count}\n{name}_gsum {sum}")
}
