//! What is done for a target on the control runtime, beside all requests.

use std::future::pending;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use portcullis_config::{Endpoint, Located};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::dns::look_up;
use super::health::ask;
use super::target::Target;

/// Has a target looked after as long as it is there: endpoints come back, warm up, are looked up, and are asked whether
/// they are well. A second call does nothing. Call within the control runtime, which is a local one: a handshake in which the
/// gateway signs stays with its thread.
pub fn keep(target: &Arc<Target>) {
    if target.kept.swap(true, Ordering::AcqRel) {
        return;
    }
    tokio::spawn(tend(Arc::downgrade(target), Arc::clone(&target.wake)));
    let named = |it: &Located<Endpoint>| it.host.parse::<IpAddr>().is_err();
    if let (Some(every), true) = (
        target.settings.dns,
        target.settings.endpoints.iter().any(named),
    ) {
        tokio::spawn(look_up_all(Arc::downgrade(target), every));
    }
    if let Some(health) = &target.settings.health {
        tokio::task::spawn_local(ask_all(Arc::downgrade(target), health.interval));
    }
}

async fn tend(target: Weak<Target>, wake: Arc<Notify>) {
    while let Some(next) = target.upgrade().map(|target| target.tend()) {
        let rest = async {
            match next {
                Some(wait) => sleep(wait).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = wake.notified() => {}
            () = rest => {}
        }
    }
}

async fn look_up_all(target: Weak<Target>, every: Duration) {
    while let Some(target) = target.upgrade() {
        look_up(&target).await;
        drop(target);
        sleep(spread(every)).await;
    }
}

async fn ask_all(target: Weak<Target>, interval: Duration) {
    let mut next = Instant::now();
    while let Some(target) = target.upgrade() {
        next += spread(interval);
        let mut asked = JoinSet::new();
        for endpoint in target.endpoints().iter() {
            let (target, endpoint) = (Arc::clone(&target), Arc::clone(endpoint));
            asked.spawn_local(async move {
                let said = ask(&target, &endpoint).await;
                target.heard(&endpoint, said);
            });
        }
        drop(target);
        while asked.join_next().await.is_some() {}
        sleep_until(next).await;
    }
}

/// A twentieth shorter or longer by chance, so that a fleet does not ask at once.
fn spread(interval: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness nothing is spread, which harms nobody.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    interval.mul_f64(0.95 + f64::from(byte[0]) / 255.0 * 0.1)
}
