//! Who is left out and who is not, with a clock that is stepped.

use std::sync::Arc;

use portcullis_config::{Endpoint as Address, Health, HealthProbe, Located, Scheme, Upstream};
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn upstream(count: u16) -> Upstream {
    let address = |port| Located {
        value: Address {
            host: "127.0.0.1".to_owned(),
            port,
            weight: 1,
            scheme: Scheme::Http,
        },
        span: 0..0,
    };
    Upstream::new("orders".to_owned(), (1..=count).map(address).collect())
}

fn target(settings: &Upstream) -> Arc<Target> {
    Target::reuse(settings, None, &[])
}

/// The places of those that get requests.
fn up(target: &Target) -> Vec<usize> {
    let endpoints = target.endpoints();
    let up = endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| endpoint.is_up());
    up.map(|(at, _)| at).collect()
}

fn fail(target: &Target, at: usize, times: u32) {
    for _ in 0..times {
        target.failed(&target.endpoints()[at], Cause::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_and_below_it_nobody_is_left_out() {
    let mut settings = upstream(4);
    let under = target(&settings);
    fail(&under, 0, 4);
    under.endpoints()[0].succeeded();
    fail(&under, 0, 4);
    assert_eq!(up(&under), [0, 1, 2, 3]);
    settings.ejection.failures = 0;
    let never = target(&settings);
    fail(&never, 0, 100);
    assert_eq!((up(&never), never.tend()), (vec![0, 1, 2, 3], None));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_largest_share_is_left_out() {
    let five = target(&upstream(5));
    for at in 0..5 {
        fail(&five, at, 50);
    }
    assert_eq!(up(&five), [2, 3, 4]);
    let one = target(&upstream(1));
    fail(&one, 0, 50);
    assert_eq!(up(&one), [0]);
}

#[tokio::test(start_paused = true)]
async fn who_was_left_out_comes_back_on_probation() {
    let target = target(&upstream(2));
    fail(&target, 0, 4);
    target.failed(&target.endpoints()[0], Cause::Timeout);
    fail(&target, 0, 3); // What was on its way when it was ejected.
    let ejections = |cause| target.endpoints()[0].ejections(cause);
    assert_eq!(up(&target), [1]);
    assert_eq!(
        (ejections(Cause::Timeout), ejections(Cause::Closed)),
        (1, 0)
    );
    advance(9 * SECOND).await;
    assert_eq!(target.tend(), Some(SECOND));
    assert_eq!(up(&target), [1]);
    advance(SECOND).await;
    assert_eq!(target.tend(), None);
    assert_eq!(up(&target), [0, 1]);
    // One failure is enough now ...
    fail(&target, 0, 1);
    assert_eq!(up(&target), [1]);
    advance(10 * SECOND).await;
    target.tend();
    // ... until one request went well.
    target.endpoints()[0].succeeded();
    fail(&target, 0, 4);
    assert_eq!(up(&target), [0, 1]);
    assert_eq!(ejections(Cause::Closed), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_back_starts_with_a_tenth_and_grows_to_the_whole() {
    let mut settings = upstream(2);
    settings.slow_start = Some(10 * SECOND);
    let target = target(&settings);
    let endpoints = target.endpoints();
    let (it, other) = (&endpoints[0], &endpoints[1]);
    let share = || f64::from(it.weight()) / f64::from(other.weight());
    assert!((share() - 1.0).abs() < 1e-9);
    fail(&target, 0, 5);
    advance(10 * SECOND).await;
    let next = target.tend();
    assert_eq!(next, Some(SECOND / 2));
    assert!((0.09..0.11).contains(&share()), "{}", share());
    advance(5 * SECOND).await;
    target.tend();
    assert!((0.5..0.6).contains(&share()), "{}", share());
    advance(5 * SECOND).await;
    assert_eq!(target.tend(), None);
    assert!((share() - 1.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn health_needs_answers_in_a_row_in_both_directions() {
    let mut settings = upstream(2);
    settings.health = Some(Health {
        probe: HealthProbe::Tcp,
        interval: SECOND,
        timeout: SECOND,
        healthy: 2,
        unhealthy: 3,
    });
    let target = target(&settings);
    let hear = |said: &str| {
        for answer in said.chars() {
            let said = match answer {
                '+' => Ok(()),
                _ => Err(Unwell::Late),
            };
            target.heard(&target.endpoints()[0], said);
        }
        up(&target).contains(&0)
    };
    assert!(hear("--+--+--"));
    assert!(!hear("-"));
    assert!(!hear("-+-+-+"));
    assert!(hear("+"));
    assert!(!hear("---"));
    // Both of them have to agree that it is back.
    fail(&target, 0, 5);
    assert!(!hear("++"));
    advance(10 * SECOND).await;
    target.tend();
    assert_eq!(up(&target), [0, 1]);
}
