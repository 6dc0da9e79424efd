//! How the endpoints of upstreams are: for `/metrics`.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::text::{counter, gauge, label};
use crate::upstream::{Cause, Endpoint, Target};

/// The metrics of all endpoints.
pub(super) fn encode(out: &mut String, targets: &[Arc<Target>]) -> fmt::Result {
    let name = "portcullis_upstream_endpoint_requests";
    counter(out, name, "Requests given to an endpoint of an upstream")?;
    for (at, endpoint) in endpoints(targets) {
        writeln!(out, "{name}_total{{{at}}} {}", endpoint.requests())?;
    }
    let name = "portcullis_upstream_endpoint_up";
    gauge(
        out,
        name,
        "1 while an endpoint gets requests, 0 while it is ejected or not well",
    )?;
    for (at, endpoint) in endpoints(targets) {
        writeln!(out, "{name}{{{at}}} {}", u8::from(endpoint.is_up()))?;
    }
    let name = "portcullis_upstream_endpoint_ejections";
    counter(
        out,
        name,
        "How often an endpoint was left out because requests to it failed, by the last failure",
    )?;
    for (at, endpoint) in endpoints(targets) {
        for cause in Cause::ALL {
            let (word, count) = (cause.as_str(), endpoint.ejections(cause));
            writeln!(out, "{name}_total{{{at},cause=\"{word}\"}} {count}")?;
        }
    }
    Ok(())
}

/// Each endpoint behind its labels.
fn endpoints(targets: &[Arc<Target>]) -> impl Iterator<Item = (String, Arc<Endpoint>)> {
    targets.iter().flat_map(|target| {
        let upstream = label(&target.name);
        let endpoints = Vec::clone(&target.endpoints());
        endpoints.into_iter().map(move |endpoint| {
            let at = label(&endpoint.label());
            (format!("upstream={upstream},endpoint={at}"), endpoint)
        })
    })
}
