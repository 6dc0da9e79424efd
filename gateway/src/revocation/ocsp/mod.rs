//! The Online Certificate Status Protocol, for certificates of clients.
//!
//! In the verifier only what is known is looked up ([`OcspCache::cached`]). After the handshake, before the
//! first request, an answer may be waited for ([`OcspCache::settle`]), at most the deadline. Questions go to one
//! task on the control runtime; a responder that hangs costs its own clients their deadline and nobody else
//! anything.

mod answer;
mod asker;
mod lines;
mod memory;
mod question;
mod signer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_config::{OcspMode, OcspSettings};
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::answer::{Answer, Said};
use self::memory::{Known, Memory};
use self::question::{CertId, Question, cert_id};
use super::Refused;
use super::certificate::PathCert;
use super::store::seconds;
use crate::reason::Reason;

pub use self::asker::answer_questions;

/// Questions on their way to the task.
const QUESTIONS: usize = 256;

/// How long a failure, or "unknown", is remembered, in seconds.
const FAILURE_SECONDS: i64 = 10;

/// What is known about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not revoked.
    Good,
    /// Revoked since (seconds since the Unix epoch), with its CRLReason.
    Revoked {
        /// When.
        since: i64,
        /// CRLReason; 0 when none is given.
        reason: u8,
    },
    /// The responder does not know the certificate.
    Unknown,
    /// There is no valid answer, and why.
    Unavailable(&'static str),
}

/// The answers for one trust bundle.
#[derive(Debug)]
pub struct OcspCache {
    settings: OcspSettings,
    memory: Mutex<Memory>,
    questions: mpsc::Sender<Asked>,
    /// The other end, until the task that answers is started.
    asked: Mutex<Option<mpsc::Receiver<Asked>>>,
    epoch: AtomicU64,
    counters: Counters,
}

/// A question, with somebody who waits or nobody.
#[derive(Debug)]
struct Asked {
    question: Question,
    reply: Option<oneshot::Sender<Verdict>>,
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    cached: AtomicU64,
    failed: AtomicU64,
    soft_passes: AtomicU64,
}

/// A snapshot of the numbers of a cache.
#[derive(Debug, Clone, Copy)]
pub struct OcspStats {
    /// Questions sent to responders.
    pub asked: u64,
    /// Verdicts from memory.
    pub cached: u64,
    /// Questions without a valid answer.
    pub failed: u64,
    /// Certificates that passed without "good", by the mode `soft`.
    pub soft_passes: u64,
    /// Certificates remembered.
    pub entries: usize,
}

impl OcspCache {
    /// A cache for these settings: `old` itself when they are the same. Without [`answer_questions`] it never
    /// learns anything.
    pub fn open(settings: &OcspSettings, old: Option<&Arc<OcspCache>>) -> Arc<OcspCache> {
        if let Some(same) = old.filter(|old| old.settings == *settings) {
            return Arc::clone(same);
        }
        let (questions, asked) = mpsc::channel(QUESTIONS);
        Arc::new(Self {
            settings: settings.clone(),
            memory: Mutex::new(Memory::new(settings.entries)),
            questions,
            asked: Mutex::new(Some(asked)),
            epoch: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// The settings.
    pub fn settings(&self) -> &OcspSettings {
        &self.settings
    }

    /// What is known now. Never waits.
    pub fn cached(&self, certificate: &PathCert<'_>, now: UnixTime) -> Option<Verdict> {
        self.current(certificate, now).map(|(verdict, _)| verdict)
    }

    /// What is known now, and until when (seconds since the Unix epoch). Never waits.
    pub fn current(&self, certificate: &PathCert<'_>, now: UnixTime) -> Option<(Verdict, i64)> {
        let now = seconds(now);
        let known = self.known(&cert_id(certificate), now)?;
        self.counters.cached.fetch_add(1, Ordering::Relaxed);
        Some(known)
    }

    /// [`Self::current`] for people: counts nothing, and keeps nothing in memory for longer.
    pub fn peek(&self, certificate: &PathCert<'_>, now: UnixTime) -> Option<(Verdict, i64)> {
        let memory = self.memory();
        let known = memory.get(&cert_id(certificate));
        let known = known.filter(|known| seconds(now) <= known.until);
        known.map(|known| (known.verdict.clone(), known.until))
    }

    /// The responder that is asked about a certificate.
    pub fn responder_of<'a>(&'a self, certificate: &PathCert<'a>) -> Option<&'a str> {
        let configured = self.settings.responder.as_deref();
        configured.or(certificate.responder())
    }

    fn known(&self, id: &[u8], now: i64) -> Option<(Verdict, i64)> {
        let mut memory = self.memory();
        let known = memory.ask(id, now).filter(|known| now <= known.until)?;
        Some((known.verdict.clone(), known.until))
    }

    /// What is known, or what the responder says within the deadline.
    pub async fn settle(&self, certificate: &PathCert<'_>, now: UnixTime) -> Verdict {
        if let Some(known) = self.cached(certificate, now) {
            return known;
        }
        let Some(question) = self.question(certificate) else {
            return Verdict::Unavailable("the certificate names no responder, nor does the bundle");
        };
        let (reply, answer) = oneshot::channel();
        let reply = Some(reply);
        if self.questions.try_send(Asked { question, reply }).is_err() {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
            return Verdict::Unavailable("too many certificates wait for an answer");
        }
        match timeout(self.settings.deadline, answer).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Verdict::Unavailable("too many wait for this responder"),
            Err(_) => Verdict::Unavailable("no answer within the deadline"),
        }
    }

    /// Has a certificate asked about for whom nobody waits: the client is served already. A change for the worse
    /// counts up [`Self::epoch`].
    pub fn ask_again(&self, certificate: &PathCert<'_>) {
        if let Some(question) = self.question(certificate) {
            let reply = None;
            let _ = self.questions.try_send(Asked { question, reply }); // Full: the next look asks.
        }
    }

    /// `None` where nobody can be asked.
    fn question(&self, certificate: &PathCert<'_>) -> Option<Question> {
        let address = self.responder_of(certificate)?;
        Some(Question {
            id: cert_id(certificate),
            address: address.to_owned(),
            issuer_name: certificate.issuer_name().to_vec(),
            issuer_key: certificate.issuer_key().to_vec(),
        })
    }

    /// What the mode of the bundle makes of a verdict.
    ///
    /// # Errors
    /// "Revoked" in any mode but `off`; anything but "good" in the mode `hard`.
    pub fn judge(&self, verdict: &Verdict) -> Result<(), Refused> {
        self.would_pass(verdict)?;
        let soft = self.settings.mode == OcspMode::Soft;
        if soft && *verdict != Verdict::Good {
            self.counters.soft_passes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// [`Self::judge`] for people: counts nothing.
    ///
    /// # Errors
    /// As there.
    pub fn would_pass(&self, verdict: &Verdict) -> Result<(), Refused> {
        let (reason, detail) = match verdict {
            _ if self.settings.mode == OcspMode::Off => return Ok(()),
            Verdict::Good => return Ok(()),
            Verdict::Revoked { since, reason } => (
                Reason::ClientCertRevokedOcsp,
                format!(
                    "revoked since {} ({})",
                    super::date(*since),
                    super::reason_word(*reason)
                ),
            ),
            _ if self.settings.mode == OcspMode::Soft => return Ok(()),
            Verdict::Unknown => (
                Reason::ClientCertOcspUnknown,
                "the responder does not know the certificate".to_owned(),
            ),
            Verdict::Unavailable(why) => (Reason::ClientCertOcspUnavailable, (*why).to_owned()),
        };
        Err(Refused { reason, detail })
    }

    /// Whether a client with this verdict is turned away.
    fn is_bad(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Good => false,
            Verdict::Revoked { .. } => true,
            Verdict::Unknown | Verdict::Unavailable(_) => self.settings.mode == OcspMode::Hard,
        }
    }

    /// Remembers, and counts what turns away clients who passed before.
    fn remember(&self, id: &CertId, known: Known) {
        let mut memory = self.memory();
        let was_bad = memory.get(id).is_some_and(|it| self.is_bad(&it.verdict));
        let worse = self.is_bad(&known.verdict) && !was_bad;
        memory.put(Arc::clone(id), known);
        drop(memory);
        if worse {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Counts up whenever a certificate turns out to be revoked, or, in the mode `hard`, is not known to be good any
    /// more: who passed before may not pass now.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The numbers of now.
    pub fn stats(&self) -> OcspStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OcspStats {
            asked: read(&self.counters.asked),
            cached: read(&self.counters.cached),
            failed: read(&self.counters.failed),
            soft_passes: read(&self.counters.soft_passes),
            entries: self.memory().len(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in between leaves it half changed.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an answer that is believed. One that is older than what was believed before, which anybody on the
    /// way can send again, is not.
    fn learn(&self, id: &CertId, answer: &Answer, now: i64) -> Verdict {
        let refresh = i64::try_from(self.settings.refresh.as_secs()).unwrap_or(i64::MAX);
        let until = answer.next_update.min(now.saturating_add(refresh));
        let (verdict, until) = match answer.said {
            Said::Good => (Verdict::Good, until),
            Said::Revoked { since, reason } => (Verdict::Revoked { since, reason }, until),
            Said::Unknown => (Verdict::Unknown, until.min(now + FAILURE_SECONDS)),
        };
        let before = self.memory().get(id).cloned();
        if before
            .as_ref()
            .is_some_and(|before| answer.this_update < before.this_update)
        {
            return self.fail(id, "the answer is older than the one before", now);
        }
        let used = before.map_or(now, |before| before.used);
        let known = Known {
            verdict: verdict.clone(),
            this_update: answer.this_update,
            until,
            used,
        };
        self.remember(id, known);
        verdict
    }

    /// Remembers for a moment that there is no answer, unless a valid one is still there.
    fn fail(&self, id: &CertId, why: &'static str, now: i64) -> Verdict {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        let before = self.memory().get(id).cloned();
        if let Some(before) = before.as_ref().filter(|before| now <= before.until) {
            return before.verdict.clone();
        }
        // What was revoked stays so while nobody says otherwise.
        let verdict = match before.as_ref().map(|before| &before.verdict) {
            Some(revoked @ Verdict::Revoked { .. }) => revoked.clone(),
            _ => Verdict::Unavailable(why),
        };
        let known = Known {
            verdict: verdict.clone(),
            this_update: before
                .as_ref()
                .map_or(i64::MIN, |before| before.this_update),
            until: now + FAILURE_SECONDS,
            used: before.map_or(now, |before| before.used),
        };
        self.remember(id, known);
        verdict
    }
}

#[cfg(test)]
mod cache_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
