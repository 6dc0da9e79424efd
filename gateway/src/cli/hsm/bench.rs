//! `bench`: how many signatures a second a key makes, by number of sessions, and what that means.
//!
//! A closed loop through the pool that the gateway uses: as many callers as sessions, each with one signature
//! under way.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portcullis_hsm::uri::Pkcs11Uri;
use portcullis_hsm::{Extractable, Key};
use rustls::SignatureScheme;
use rustls::sign::Signer;
use serde_json::json;

use super::Report;
use super::arguments::TokenArgs;
use super::exit::Refusal;

/// The best schemes of TLS 1.3, which most handshakes use, before the others.
const OFFERED: [SignatureScheme; 6] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// More sessions than any token has.
const MAX_SESSIONS: usize = 1024;

/// A count within this share of the best is as good: fewer sessions leave more to others.
const AS_GOOD: f64 = 0.95;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub(super) struct Bench {
    #[command(flatten)]
    token: TokenArgs,
    /// URI of the key.
    #[arg(long, value_name = "URI")]
    key: Pkcs11Uri,
    /// Numbers of sessions to try.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16")]
    sessions: Vec<NonZeroUsize>,
    /// How long each number is measured.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// What was measured with one number of sessions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    sessions: usize,
    rate: f64,
    p50: Duration,
    p99: Duration,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<Report> {
        if self.sessions.iter().any(|count| count.get() > MAX_SESSIONS) {
            let text = format!("at most {MAX_SESSIONS} sessions");
            return Err(Refusal::Usage(text).into());
        }
        let chosen = self.token.choose(Some(&self.key))?;
        let length = Duration::from_secs(self.seconds);
        let bar = progress(self.sessions.len(), length);
        let mut rows = Vec::new();
        let mut about = String::new();
        for count in &self.sessions {
            // A token for each: its sessions end with it.
            let token = chosen.open(*count)?;
            let key = token.key(&self.key, Extractable::Allow)?;
            bar.set_message(format!("{count} sessions"));
            rows.push(measure(&key, count.get(), length, &bar)?);
            about = format!("{}, {}", key.info().uri, key.info().kind);
        }
        bar.finish_and_clear();
        let Some(best) = recommend(&rows) else {
            return Err(Refusal::Usage("name a number of sessions".to_owned()).into());
        };
        let meaning = meaning(best.rate);
        let line = format!("sessions = {}", best.sessions);
        let text = format!("{about}\n{}\n{meaning}", table(&rows));
        let value = json!({
            "key": self.key.to_string(),
            "rows": rows.iter().map(|row| json!({
                "sessions": row.sessions,
                "signatures_per_second": row.rate,
                "p50_us": row.p50.as_micros() as u64,
                "p99_us": row.p99.as_micros() as u64,
            })).collect::<Vec<_>>(),
            "recommended_sessions": best.sessions,
            "full_handshakes_per_second": best.rate,
            "meaning": meaning,
            "config": line,
        });
        Ok(Report::new(text, value).next(format!("put `{line}` into the [hsm.NAME] table")))
    }
}

/// Signs with as many callers as there are sessions until the time is over.
fn measure(key: &Key, callers: usize, length: Duration, bar: &ProgressBar) -> anyhow::Result<Row> {
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let loops = thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| scope.spawn(|| call(key, &over)))
            .collect();
        let base = bar.position();
        while begun.elapsed() < length && threads.iter().any(|thread| !thread.is_finished()) {
            thread::park_timeout(
                Duration::from_millis(50).min(length - begun.elapsed().min(length)),
            );
            bar.set_position(base + millis(begun.elapsed().min(length)));
        }
        bar.set_position(base + millis(length));
        over.store(true, Ordering::Relaxed);
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.collect::<Vec<_>>()
    });
    let took = begun.elapsed();
    let mut latencies = Vec::new();
    for ended in loops {
        let ended = ended.map_err(|_| anyhow::anyhow!("a caller panicked"))?;
        latencies.extend(ended?);
    }
    latencies.sort_unstable();
    Ok(Row {
        sessions: callers,
        rate: latencies.len() as f64 / took.as_secs_f64(),
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
    })
}

/// One caller: the next signature when the last one is there.
fn call(key: &Key, over: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let Some(signer) = key.signing_key().choose_scheme(&OFFERED) else {
        anyhow::bail!("the key has no scheme of TLS");
    };
    let mut latencies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        sign(&*signer)?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

/// The error of the token as it was, for the exit code.
fn sign(signer: &dyn Signer) -> anyhow::Result<()> {
    // A CertificateVerify of TLS 1.3 is about as long.
    match signer.sign(&[0x20; 130]) {
        Ok(_) => Ok(()),
        Err(rustls::Error::Other(other)) => {
            match other.0.downcast_ref::<portcullis_hsm::HsmError>() {
                Some(error) => Err(error.clone().into()),
                None => Err(rustls::Error::Other(other).into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Nearest rank of sorted latencies.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// The fewest sessions whose rate is as good as the best.
fn recommend(rows: &[Row]) -> Option<Row> {
    let best = rows.iter().map(|row| row.rate).fold(0.0, f64::max);
    let good = rows.iter().filter(|row| row.rate >= best * AS_GOOD);
    good.min_by_key(|row| row.sessions).copied()
}

/// A full handshake takes one signature, a resumed one takes none.
fn meaning(rate: f64) -> String {
    let rate = rate.round();
    format!(
        "about {rate:.0} full handshakes/s; at 90 % resumption about {:.0}",
        rate * 10.0
    )
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:>8}  {:>12}  {:>10}  {:>10}",
        "sessions", "signatures/s", "p50", "p99"
    );
    for row in rows {
        let ms = |latency: Duration| format!("{:.3} ms", latency.as_secs_f64() * 1000.0);
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n{:>8}  {:>12.0}  {:>10}  {:>10}",
            row.sessions,
            row.rate,
            ms(row.p50),
            ms(row.p99)
        );
    }
    text
}

/// A bar over the whole measurement, in milliseconds; drawn only where standard error is a terminal.
fn progress(counts: usize, length: Duration) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(millis(length) * counts as u64),
        ProgressDrawTarget::stderr(),
    );
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Row, meaning, percentile, recommend};

    fn rows(rates: &[(usize, f64)]) -> Vec<Row> {
        let row = |(sessions, rate): &(usize, f64)| Row {
            sessions: *sessions,
            rate: *rate,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
        };
        rates.iter().map(row).collect()
    }

    #[test]
    fn the_fewest_sessions_within_five_percent_of_the_best_are_recommended() {
        let found = recommend(&rows(&[(1, 500.0), (4, 1901.0), (8, 2000.0), (16, 1999.0)]));
        assert_eq!(found.map(|row| row.sessions), Some(4));
        let found = recommend(&rows(&[(16, 100.0), (8, 94.0), (4, 10.0)]));
        assert_eq!(found.map(|row| row.sessions), Some(16));
        assert!(recommend(&[]).is_none());
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let ms: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&ms, 50), Duration::from_millis(50));
        assert_eq!(percentile(&ms, 99), Duration::from_millis(99));
        assert_eq!(percentile(&ms[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_rate_is_told_in_handshakes() {
        let told = "about 1520 full handshakes/s; at 90 % resumption about 15200";
        assert_eq!(meaning(1520.4), told);
    }
}
