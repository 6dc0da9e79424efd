//! The one task that asks responders: each certificate once however many wait, so many at a time, no more than
//! its share of one responder, and again shortly before an answer in use runs out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{self, Answer, Expected};
use super::lines::{For, Lines, Share};
use super::question::{CertId, NONCE_LENGTH, Question, encode};
use super::{Asked, OcspCache, Verdict};
use crate::revocation::fetch::{Ask, fetch};
use crate::revocation::store::seconds;

/// Responders asked at once.
const FETCHES_MAX: usize = 64;

/// Who may wait for an answer; the channel holds a few more.
const WAITING_MAX: usize = 1024 - super::QUESTIONS;

/// What one of several responders, which certificates name, may take of both.
const SHARE: Share = Share {
    fetches: FETCHES_MAX / 4,
    waiting: WAITING_MAX / 4,
};

/// What the only responder, which the bundle names, may take.
const WHOLE: Share = Share {
    fetches: FETCHES_MAX,
    waiting: WAITING_MAX,
};

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
        let only = cache.settings.responder.is_some();
        let desk = Desk {
            cache: Arc::downgrade(cache),
            groups: HashMap::new(),
            lines: Lines::new(if only { WHOLE } else { SHARE }),
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
    groups: HashMap<CertId, Group>,
    lines: Lines,
    running: JoinSet<Fetched>,
    renewals: BinaryHeap<Reverse<Renewal>>,
    waiting: usize,
}

/// Who waits for an answer about one certificate.
struct Group {
    address: String,
    replies: Vec<oneshot::Sender<Verdict>>,
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
        let Asked { question, reply } = asked;
        let address = question.address.clone();
        if self.lines.is_full(&address) {
            self.forget_who_left();
        }
        if reply.is_some() && self.lines.is_full(&address) {
            return; // Whoever waits learns from the dropped reply that nobody asks.
        }
        let whom = if reply.is_some() {
            For::Clients
        } else {
            For::Memory
        };
        let id = Arc::clone(&question.id);
        let group = self.groups.entry(id).or_insert_with(|| {
            self.lines.push(question, whom);
            Group {
                address,
                replies: Vec::new(),
            }
        });
        if let Some(reply) = reply {
            self.waiting += 1;
            self.lines.came(&group.address);
            group.replies.push(reply);
        }
    }

    /// Makes room: what nobody waits for any more leaves its line.
    fn forget_who_left(&mut self) {
        let (groups, waiting, lines) = (&mut self.groups, &mut self.waiting, &mut self.lines);
        for group in groups.values_mut() {
            let before = group.replies.len();
            group.replies.retain(|reply| !reply.is_closed());
            let gone = before - group.replies.len();
            *waiting -= gone;
            lines.left(&group.address, gone);
        }
        lines.retain(|question, whom| {
            let group = groups.get(&question.id);
            let wanted = group.is_some_and(|group| !group.replies.is_empty());
            let kept = wanted || whom == For::Memory;
            if !kept {
                groups.remove(&question.id);
            }
            kept
        });
    }

    /// Takes a group apart: an answer is there, or nobody wants one.
    fn dissolve(&mut self, id: &CertId) -> Vec<oneshot::Sender<Verdict>> {
        let Some(group) = self.groups.remove(id) else {
            return Vec::new();
        };
        self.waiting -= group.replies.len();
        self.lines.left(&group.address, group.replies.len());
        group.replies
    }

    fn start(&mut self) {
        while self.running.len() < FETCHES_MAX {
            let Some((question, whom)) = self.lines.next() else {
                return;
            };
            let Some(cache) = self.cache.upgrade() else {
                return;
            };
            let group = self.groups.get(&question.id);
            let left = group.is_some_and(|it| it.replies.iter().all(oneshot::Sender::is_closed));
            if left && whom == For::Clients {
                self.dissolve(&question.id);
                self.lines.ended(&question.address);
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
        self.lines.ended(&question.address);
        let replies = self.dissolve(&question.id);
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
        for reply in replies {
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
                let group = Group {
                    address: due.question.address.clone(),
                    replies: Vec::new(),
                };
                self.groups.insert(Arc::clone(&due.question.id), group);
                self.lines.push(due.question, For::Memory);
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
