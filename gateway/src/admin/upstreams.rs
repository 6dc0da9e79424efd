//! How the endpoints of upstreams are: for `/metrics`.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::text::{counter, label};
use crate::upstream::Target;

/// The metrics of all endpoints.
pub(super) fn encode(out: &mut String, targets: &[Arc<Target>]) -> fmt::Result {
    let name = "portcullis_upstream_endpoint_requests";
    counter(out, name, "Requests given to an endpoint of an upstream")?;
    for target in targets {
        let upstream = label(&target.name);
        for endpoint in &target.endpoints {
            let (at, count) = (label(&endpoint.label()), endpoint.requests());
            writeln!(
                out,
                "{name}_total{{upstream={upstream},endpoint={at}}} {count}"
            )?;
        }
    }
    Ok(())
}
