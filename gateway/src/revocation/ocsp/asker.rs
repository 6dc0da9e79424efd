//! The one task that asks responders: each certificate once however many wait, so many at a time, and again
//! shortly before an answer in use runs out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{self, Answer, Expected};
use super::question::{CertId, NONCE_LENGTH, Question, encode};
use super::{Asked, OcspCache, Verdict};
use crate::revocation::fetch::{Ask, fetch};
use crate::revocation::store::seconds;

/// Responders asked at once.
const FETCHES_MAX: usize = 64;

/// Who may wait for an answer; the channel holds a few more.
const WAITING_MAX: usize = 1024 - super::QUESTIONS;

/// A late answer is of use to the next who asks.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Far more than an answer with a few certificates has.
const ANSWER_MAX: u64 = 64 << 10;

/// Starts the work for a cache, unless it has been started. Call within the control runtime. Ends when nobody
/// holds the cache.
pub fn answer_questions(cache: &Arc<OcspCache>) {
    let asked = cache
        .asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(asked) = asked {
        let desk = Desk {
            cache: Arc::downgrade(cache),
            groups: HashMap::new(),
            queue: VecDeque::new(),
            running: JoinSet::new(),
            renewals: BinaryHeap::new(),
            waiting: 0,
        };
        tokio::spawn(desk.run(asked));
    }
}

type Fetched = (Question, Result<Answer, &'static str>);

struct Desk {
    cache: Weak<OcspCache>,
    /// Who waits for which certificate; also those that are being renewed, for nobody.
    groups: HashMap<CertId, Vec<oneshot::Sender<Verdict>>>,
    queue: VecDeque<(Question, For)>,
    running: JoinSet<Fetched>,
    renewals: BinaryHeap<Reverse<Renewal>>,
    waiting: usize,
}

/// For whom a question is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Clients,
    /// For the next client.
    Memory,
}

struct Renewal {
    at: i64,
    /// The end of the answer that is to be renewed; with another one in memory there is nothing to do.
    until: i64,
    question: Question,
}

impl PartialEq for Renewal {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Renewal {}

impl PartialOrd for Renewal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Renewal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Desk {
    async fn run(mut self, mut asked: mpsc::Receiver<Asked>) {
        loop {
            if self.waiting >= WAITING_MAX {
                self.forget_who_left();
            }
            let pause = self.until_renewal();
            tokio::select! {
                one = asked.recv(), if self.waiting < WAITING_MAX => match one {
                    Some(one) => self.take(one),
                    None => return,
                },
                Some(fetched) = self.running.join_next() => if let Ok((question, result)) = fetched {
                    self.deliver(question, result);
                },
                () = sleep(pause) => self.renew(),
            }
            self.start();
        }
    }

    fn take(&mut self, asked: Asked) {
        self.waiting += 1;
        let id = Arc::clone(&asked.question.id);
        let group = self.groups.entry(id).or_insert_with(|| {
            self.queue.push_back((asked.question, For::Clients));
            Vec::new()
        });
        group.push(asked.reply);
    }

    /// Makes room: what nobody waits for any more leaves the queue.
    fn forget_who_left(&mut self) {
        let (groups, waiting) = (&mut self.groups, &mut self.waiting);
        for group in groups.values_mut() {
            let before = group.len();
            group.retain(|reply| !reply.is_closed());
            *waiting -= before - group.len();
        }
        self.queue.retain(|(question, whom)| {
            let wanted = groups.get(&question.id).is_some_and(|it| !it.is_empty());
            let kept = wanted || *whom == For::Memory;
            if !kept {
                groups.remove(&question.id);
            }
            kept
        });
    }

    fn start(&mut self) {
        while self.running.len() < FETCHES_MAX {
            let Some((question, whom)) = self.queue.pop_front() else {
                return;
            };
            let Some(cache) = self.cache.upgrade() else {
                return;
            };
            let group = self.groups.get(&question.id);
            let left = group.is_some_and(|group| group.iter().all(oneshot::Sender::is_closed));
            if left && whom == For::Clients {
                let group = self.groups.remove(&question.id).unwrap_or_default();
                self.waiting -= group.len();
                continue;
            }
            cache.counters.asked.fetch_add(1, Ordering::Relaxed);
            let (nonce, refresh) = (cache.settings.nonce, cache.settings.refresh);
            self.running.spawn(async move {
                let result = ask(&question, nonce, refresh).await;
                (question, result)
            });
        }
    }

    fn deliver(&mut self, question: Question, result: Result<Answer, &'static str>) {
        let group = self.groups.remove(&question.id).unwrap_or_default();
        self.waiting -= group.len();
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let now = seconds(UnixTime::now());
        let verdict = match result {
            Ok(answer) => cache.learn(&question.id, &answer, now),
            Err(why) => {
                tracing::debug!(address = question.address, why, "no OCSP answer");
                cache.fail(&question.id, why, now)
            }
        };
        for reply in group {
            let _ = reply.send(verdict.clone()); // They may have left.
        }
        if verdict == Verdict::Good && self.renewals.len() < cache.settings.entries {
            let until = cache
                .memory()
                .get(&question.id)
                .map_or(now, |known| known.until);
            let lead = ((until - now) / 10).clamp(1, 300);
            // After a failed renewal the old answer is still there, and near its end.
            let at = (until - lead).max(now + 1);
            if at < until {
                let renewal = Renewal {
                    at,
                    until,
                    question,
                };
                self.renewals.push(Reverse(renewal));
            }
        }
    }

    fn until_renewal(&self) -> Duration {
        let now = seconds(UnixTime::now());
        let next = self.renewals.peek().map_or(3600, |next| next.0.at - now);
        // While nobody is let in it is looked often for those who left.
        let longest = if self.waiting < WAITING_MAX { 3600 } else { 1 };
        Duration::from_secs(next.clamp(0, longest).unsigned_abs())
    }

    /// Asks again for what was asked for within `refresh` and is about to run out.
    fn renew(&mut self) {
        let Some(cache) = self.cache.upgrade() else {
            return;
        };
        let now = seconds(UnixTime::now());
        let refresh = i64::try_from(cache.settings.refresh.as_secs()).unwrap_or(i64::MAX);
        while self.renewals.peek().is_some_and(|next| next.0.at <= now) {
            let Some(Reverse(due)) = self.renewals.pop() else {
                return;
            };
            let in_use = cache
                .memory()
                .get(&due.question.id)
                .filter(|known| known.until == due.until)
                .is_some_and(|known| known.used.saturating_add(refresh) >= now);
            if in_use && !self.groups.contains_key(&due.question.id) {
                self.groups.insert(Arc::clone(&due.question.id), Vec::new());
                self.queue.push_back((due.question, For::Memory));
            }
        }
    }
}

async fn ask(question: &Question, nonce: bool, kept: Duration) -> Result<Answer, &'static str> {
    let mut bytes = [0; NONCE_LENGTH];
    if nonce && aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Err("there is no randomness for a nonce");
    }
    let nonce = nonce.then_some(&bytes[..]);
    let request = Ask::Status(Bytes::from(encode(&question.id, nonce)));
    let fetched = timeout(
        FETCH_TIMEOUT,
        fetch(&question.address, &request, ANSWER_MAX),
    )
    .await;
    let bytes = match fetched {
        Err(_) => return Err("the responder did not answer in time"),
        Ok(Err(_)) => return Err("the responder was not reached, or did not answer properly"),
        Ok(Ok(bytes)) => bytes,
    };
    let expected = Expected {
        question,
        nonce,
        now: seconds(UnixTime::now()),
        kept,
    };
    answer::read(&bytes, &expected).map_err(answer::Disbelief::text)
}
