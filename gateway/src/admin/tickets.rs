//! How resumption is: ticket keys, kept sessions, what became of offers. For `/metrics` and `portcullis tickets`.
//!
//! Keys are told by their public ids; nothing here shows what one is made of, or who a session belongs to.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};

use super::probes::{State, unix_seconds};
use super::text::{counter, gauge, label};
use crate::snapshot::Resumption;
use crate::ticket_keys::{Rotation, TicketKey, Versions};

/// Answers `tickets status`, `tickets rotate` and `tickets rotate --revoke`.
pub(super) async fn answer(argument: &str, state: &State) -> Result<String, String> {
    let snapshot = state.shared.snapshot.load_full();
    let rotation = match argument {
        "status" => return Ok(status(&snapshot.resumption).to_string()),
        "rotate" => Rotation::Keep,
        "rotate --revoke" => Rotation::Revoke,
        _ => {
            return Err(format!(
                "unknown command \"tickets {argument}\"; is the gateway older than this program?"
            ));
        }
    };
    let resources = &snapshot.resumption.resources;
    let rotated = resources.keys.rotate(rotation).await;
    let said = rotated.map_err(|error| error.to_string())?;
    if rotation == Rotation::Revoke {
        // What is kept here was let in under the keys that are gone.
        resources.sessions.clear();
    }
    tracing::warn!(revoke = rotation == Rotation::Revoke, "ticket keys: {said}");
    Ok(said)
}

fn status(resumption: &Resumption) -> Value {
    let resources = &resumption.resources;
    let (ring, source) = (resources.keys.ring(), resources.keys.status());
    let (sessions, stats) = (resources.sessions.stats(), &resources.stats);
    let stores = resources.stores.iter().map(|store| {
        let health = store.health();
        json!({
            "name": store.settings().name,
            "up": health.up,
            "failures": health.failures,
            "error": health.error,
        })
    });
    json!({
        "source": source.source,
        "place": source.place,
        "error": source.error,
        "failures": source.failures,
        "generation": source.generation.map(|(current, _)| current),
        "accepted_from": source.generation.map(|(_, floor)| floor),
        "epoch": source.epoch,
        "seals": ring.seals().map(|key| key_json(key)),
        "opens": ring.opens().iter().map(|key| key_json(key)).collect::<Vec<_>>(),
        "sessions": {
            "entries": sessions.entries,
            "bytes": sessions.bytes,
            "capacity": sessions.capacity,
            "hits": sessions.hits,
            "misses": sessions.misses,
            "evicted": sessions.evicted,
        },
        "issued": stats.all_issued(),
        "not_issued": counts(stats.all_not_issued()),
        "declined": counts(stats.all_declined()),
        "early_data": counts(stats.all_early_data()),
        "redis": stores.collect::<Vec<_>>(),
    })
}

fn key_json(key: &TicketKey) -> Value {
    let (from, until) = key.period();
    json!({
        "id": key.id(),
        "name": key.name(),
        "seals_from": from,
        // A key that seals until another one is given has no end.
        "seals_until": Some(until).filter(|until| *until < i64::MAX),
        "tls12": key.versions() == Versions::All,
    })
}

fn counts(all: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    all.map(|(kind, count)| (kind.to_owned(), count.into()))
        .collect()
}

/// The metrics of ticket keys, kept sessions and stores.
pub(super) fn encode(out: &mut String, resumption: &Resumption) -> fmt::Result {
    encode_keys(out, resumption)?;
    encode_offers(out, resumption)?;
    encode_sessions(out, resumption)?;
    encode_stores(out, resumption)
}

fn encode_keys(out: &mut String, resumption: &Resumption) -> fmt::Result {
    let keys = &resumption.resources.keys;
    let (ring, source) = (keys.ring(), keys.status());
    let name = "portcullis_ticket_keys";
    gauge(out, name, "Keys that open tickets")?;
    writeln!(out, "{name} {}", ring.opens().len())?;
    // Without a key that seals there is no epoch and no age: an absent series is no old key.
    let name = "portcullis_ticket_epoch";
    gauge(out, name, "Epoch of the key that seals tickets")?;
    if let Some(epoch) = source.epoch.filter(|_| ring.seals().is_some()) {
        writeln!(out, "{name} {epoch}")?;
    }
    let name = "portcullis_ticket_key_age_seconds";
    gauge(out, name, "How long the key that seals tickets has done so")?;
    if let Some(key) = ring.seals() {
        writeln!(out, "{name} {}", (unix_seconds() - key.period().0).max(0))?;
    }
    let of = label(source.source);
    let name = "portcullis_ticket_source_up";
    gauge(out, name, "Whether the source of ticket keys is well")?;
    writeln!(
        out,
        "{name}{{source={of}}} {}",
        u8::from(source.error.is_none())
    )?;
    let name = "portcullis_ticket_source_failures";
    counter(out, name, "Failures of the source of ticket keys")?;
    writeln!(out, "{name}_total{{source={of}}} {}", source.failures)
}

fn encode_offers(out: &mut String, resumption: &Resumption) -> fmt::Result {
    let stats = &resumption.resources.stats;
    let name = "portcullis_tickets_issued";
    counter(out, name, "Tickets and sessions given out")?;
    writeln!(out, "{name}_total {}", stats.all_issued())?;
    let name = "portcullis_tickets_not_issued";
    counter(out, name, "Tickets and sessions not given out, by reason")?;
    encode_by(out, (name, "reason"), stats.all_not_issued())?;
    let name = "portcullis_resumption_declined";
    counter(out, name, "Sessions offered and not resumed, by reason")?;
    encode_by(out, (name, "reason"), stats.all_declined())?;
    let name = "portcullis_early_data";
    counter(
        out,
        name,
        "Early data (0-RTT) that clients sent, by outcome",
    )?;
    encode_by(out, (name, "outcome"), stats.all_early_data())
}

fn encode_by(
    out: &mut String,
    (name, key): (&str, &str),
    all: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    for (kind, count) in all {
        writeln!(out, "{name}_total{{{key}=\"{kind}\"}} {count}")?;
    }
    Ok(())
}

fn encode_sessions(out: &mut String, resumption: &Resumption) -> fmt::Result {
    let stats = resumption.resources.sessions.stats();
    for (name, help, value) in [
        ("sessions", "TLS sessions kept", stats.entries),
        ("sessions_bytes", "What kept TLS sessions take", stats.bytes),
        (
            "sessions_capacity_bytes",
            "limits.session_memory",
            stats.capacity,
        ),
    ] {
        let name = format!("portcullis_{name}");
        gauge(out, &name, help)?;
        writeln!(out, "{name} {value}")?;
    }
    for (name, help, value) in [
        ("hits", "Kept TLS sessions that were found", stats.hits),
        (
            "misses",
            "TLS sessions asked for that are not kept",
            stats.misses,
        ),
        (
            "evicted",
            "Kept TLS sessions that gave way to others",
            stats.evicted,
        ),
    ] {
        let name = format!("portcullis_sessions_{name}");
        counter(out, &name, help)?;
        writeln!(out, "{name}_total {value}")?;
    }
    Ok(())
}

fn encode_stores(out: &mut String, resumption: &Resumption) -> fmt::Result {
    let stores = resumption.resources.stores.iter();
    let stores = stores.map(|store| (label(&store.settings().name), store.health()));
    let stores: Vec<_> = stores.collect();
    let name = "portcullis_redis_up";
    gauge(out, name, "Whether the Redis is connected")?;
    for (redis, health) in &stores {
        writeln!(out, "{name}{{redis={redis}}} {}", u8::from(health.up))?;
    }
    let name = "portcullis_redis_failures";
    counter(
        out,
        name,
        "Commands and connections of the Redis that failed",
    )?;
    for (redis, health) in &stores {
        writeln!(out, "{name}_total{{redis={redis}}} {}", health.failures)?;
    }
    Ok(())
}
