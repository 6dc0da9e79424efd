//! Names that are looked up again and again: each address is an endpoint of its own.
//!
//! A name that cannot be looked up keeps the addresses it had; before its first answer it is one endpoint, which is
//! looked up for each connection.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::target::Target;

/// How long the resolver may take; it goes on by its own timeouts.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Addresses of one name that are used: more than services have, and a bound for answers that are an attack.
const ADDRESSES: usize = 256;

/// Looks up the names of a target once.
pub(super) async fn look_up(target: &Target) {
    for (at, address) in target.settings.endpoints.iter().enumerate() {
        if address.host.parse::<IpAddr>().is_ok() {
            continue;
        }
        let answer = timeout(LOOKUP_LIMIT, lookup_host((&*address.host, address.port))).await;
        let (upstream, host) = (&*target.name, &address.host);
        match answer
            .map_err(std::io::Error::from)
            .and_then(|answer| answer)
        {
            Ok(found) => target.resolved(at, found.collect()),
            Err(error) => {
                tracing::warn!(upstream, host, %error, "a name cannot be looked up; what is known of it stays");
            }
        }
    }
}

impl Target {
    /// These are the addresses of the name that stands at `at` in the configuration.
    pub(super) fn resolved(&self, at: usize, mut found: Vec<SocketAddr>) {
        let Some(written) = self.settings.endpoints.get(at) else {
            return;
        };
        // Resolvers turn their answers; the order says nothing.
        found.sort_unstable();
        found.dedup();
        found.truncate(ADDRESSES);
        let (is_of, endpoints) = (|it: &Arc<Endpoint>| it.written == at, self.endpoints());
        let before: Vec<_> = endpoints.iter().filter(|it| is_of(it)).collect();
        let same = before.len() == found.len()
            && before
                .iter()
                .zip(&found)
                .all(|(it, address)| it.ip == Some(address.ip()));
        if found.is_empty() || same {
            return;
        }
        let first_answer = before.iter().all(|it| it.ip.is_none());
        let fitting = found.iter().map(|address| {
            let ip = Some(address.ip());
            let known = before.iter().find(|it| it.ip == ip);
            known.map(|it| Arc::clone(it)).unwrap_or_else(|| {
                let endpoint = Endpoint::new(&self.name, (at, written), ip);
                if !first_answer {
                    self.start_slowly(&endpoint);
                }
                Arc::new(endpoint)
            })
        });
        let fitting: Vec<_> = fitting.collect();
        // In the order of the configuration, as before.
        let (front, back): (Vec<_>, Vec<_>) = endpoints
            .iter()
            .filter(|it| !is_of(it))
            .cloned()
            .partition(|it| it.written < at);
        let all = front.into_iter().chain(fitting).chain(back);
        self.replace_endpoints(all.collect());
        let (upstream, host) = (&*self.name, &written.host);
        let addresses: Vec<_> = found.iter().map(|it| it.ip().to_string()).collect();
        let addresses = addresses.join(" ");
        tracing::info!(upstream, host, addresses, "a name has other addresses");
        self.wake.notify_one();
    }

    /// Workers see it with their next request.
    fn replace_endpoints(&self, endpoints: Vec<Arc<Endpoint>>) {
        self.endpoints.store(Arc::new(endpoints));
        self.edition.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
