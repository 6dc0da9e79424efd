//! Keeps the lists of a store fresh: looks at files, and asks addresses ahead of nextUpdate.
//!
//! Runs on the control runtime for as long as somebody holds the store. Lists are read on blocking threads; a
//! client never waits for any of it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls_pki_types::UnixTime;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::Problem;
use super::fetch::{Ask, fetch};
use super::store::{CrlStore, seconds};
use super::{jittered, source};

/// After the first failure; doubles up to `refresh`.
const BACKOFF: Duration = Duration::from_secs(10);

/// Fetches at once, of one store.
const FETCHES_MAX: usize = 8;

/// How long a store that nobody holds is kept in mind.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Starts the work for a store, unless it has been started. Call within the control runtime.
pub fn keep_fresh(store: &Arc<CrlStore>) {
    if store.kept_fresh.swap(true, Ordering::AcqRel) {
        return;
    }
    if !store.settings.files.is_empty() {
        tokio::spawn(look_at_files(Arc::downgrade(store), store.settings.check));
    }
    if store.settings.cdp || !store.settings.urls.is_empty() {
        tokio::spawn(ask_addresses(Arc::downgrade(store)));
    }
}

async fn look_at_files(store: Weak<CrlStore>, every: Duration) {
    loop {
        sleep(every).await;
        let Some(store) = store.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || store.look_at_files());
        let _ = looked.await; // A panic has been counted.
    }
}

/// When an address is asked again.
#[derive(Debug)]
struct Plan {
    due: Instant,
    running: bool,
    /// Failures in a row.
    failures: u32,
}

async fn ask_addresses(store: Weak<CrlStore>) {
    let mut plans: HashMap<String, Plan> = HashMap::new();
    let mut running: JoinSet<(String, Result<(), Problem>)> = JoinSet::new();
    loop {
        let Some(held) = store.upgrade() else { return };
        let addresses = held.addresses();
        plans.retain(|address, plan| plan.running || addresses.contains(address));
        let now = Instant::now();
        for address in addresses {
            let plan = plans.entry(address.clone()).or_insert(Plan {
                due: now,
                running: false,
                failures: 0,
            });
            if !plan.running && plan.due <= now && running.len() < FETCHES_MAX {
                plan.running = true;
                running.spawn(ask(Arc::clone(&held), address));
            }
        }
        let waiting = plans.values().filter(|plan| !plan.running);
        let next = waiting.map(|plan| plan.due).min();
        let next = next.unwrap_or(now + IDLE_MAX).min(now + IDLE_MAX);
        // While all fetchers are busy the end of one is what is waited for.
        let next = next.max(now + Duration::from_millis(50));
        let wake = Arc::clone(&held.wake);
        drop(held);
        tokio::select! {
            () = sleep_until(next) => {}
            () = wake.notified() => {}
            Some(ended) = running.join_next() => {
                let (Ok((address, result)), Some(held)) = (ended, store.upgrade()) else { continue };
                let failures = plans.get(&address).map_or(0, |plan| plan.failures);
                plans.insert(address.clone(), planned(&held, &address, &result, failures));
            }
        }
    }
}

/// One round for one address: the copy on disk if nothing is known yet, then the address itself.
async fn ask(store: Arc<CrlStore>, address: String) -> (String, Result<(), Problem>) {
    if store.validity(&address).is_none() {
        let (store, address) = (Arc::clone(&store), address.clone());
        let loaded = tokio::task::spawn_blocking(move || store.load_copy(&address));
        let _ = loaded.await; // A panic has been counted.
    }
    let limit = store.settings.timeout;
    let fetched = timeout(limit, fetch(&address, &Ask::List, store.settings.max_size)).await;
    let fetched = fetched.unwrap_or_else(|_| Err(Problem::Fetch("no answer in time".to_owned())));
    let (taker, origin) = (Arc::clone(&store), address.clone());
    let taken = match fetched {
        Ok(bytes) => tokio::task::spawn_blocking(move || take(&taker, &origin, bytes))
            .await
            .unwrap_or_else(|error| Err(Problem::Fetch(error.to_string()))),
        Err(problem) => Err(problem),
    };
    match &taken {
        Ok(()) => store.counters.fetched(),
        Err(_) => store.counters.fetch_failed(),
    }
    (address, taken)
}

/// Reads what was fetched and uses it, if it is as good as what is there.
fn take(store: &CrlStore, address: &str, bytes: Vec<u8>) -> Result<(), Problem> {
    let lists = source::read_bytes(bytes, address)?;
    let list = lists.into_iter().next().ok_or(Problem::Empty)?;
    let crl = Arc::clone(&list.crl);
    if store.has(address, crl.digest()) {
        return Ok(());
    }
    store.replace(address, list)?;
    if let Err(error) = source::write_copy(&store.folder, address, crl.raw()) {
        let folder = store.folder.display();
        tracing::warn!(address, %folder, %error, "a revocation list is not kept over a restart");
    }
    Ok(())
}

fn planned(store: &CrlStore, address: &str, result: &Result<(), Problem>, failures: u32) -> Plan {
    let refresh = store.settings.refresh;
    let (wait, failures) = match result {
        Ok(()) => {
            if failures > 0 {
                tracing::info!(address, "the revocation list is fetched again");
            }
            let now = seconds(UnixTime::now());
            (until_next(store.validity(address), now, refresh), 0)
        }
        Err(problem) => {
            if failures == 0 {
                tracing::warn!(address, %problem, "a revocation list was not fetched; what is there stays");
            }
            let doubled = BACKOFF.saturating_mul(1 << failures.min(20));
            (doubled.min(refresh), failures.saturating_add(1))
        }
    };
    Plan {
        due: Instant::now() + jittered(wait),
        running: false,
        failures,
    }
}

/// When to ask again: at three quarters of the validity; when that is over, and the issuer is late, every
/// quarter of what is left.
fn until_next(validity: Option<(i64, i64)>, now: i64, refresh: Duration) -> Duration {
    let Some((made, ends)) = validity else {
        return BACKOFF.min(refresh);
    };
    let target = made + (ends - made) / 4 * 3;
    let wait = if now < target {
        target - now
    } else {
        (ends - now) / 4
    };
    let wait = Duration::from_secs(wait.max(0).unsigned_abs());
    wait.max(BACKOFF).min(refresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_asked_ahead_of_the_end_and_at_least_every_refresh() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let in_seconds = |now, refresh| until_next(Some((0, 4000)), now, refresh).as_secs();
        assert_eq!(in_seconds(0, day), 3000);
        assert_eq!(in_seconds(0, Duration::from_secs(60)), 60);
        assert_eq!(in_seconds(3200, day), 200);
        assert_eq!(in_seconds(3999, day), 10);
        assert_eq!(in_seconds(9999, hour), 10);
        assert_eq!(until_next(None, 0, Duration::from_secs(1)).as_secs(), 1);
    }
}
