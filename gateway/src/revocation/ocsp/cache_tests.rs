//! What becomes of answers: verdicts, memory, waiting, and a real responder.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use portcullis_config::{OcspMode, OcspSettings};
use rcgen::ExtendedKeyUsagePurpose as Purpose;
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::answer::{Answer, Said};
use super::testing::{CA, Reply, question};
use super::{OcspCache, Verdict, answer_questions};
use crate::reason::Reason;
use crate::revocation::certificate::PathCert;
use crate::revocation::testing::{Ca, HOUR, NOW};

static LEAF: LazyLock<Vec<u8>> = LazyLock::new(|| CA.leaf(7, &[]));

fn settings(mode: OcspMode, responder: &str) -> OcspSettings {
    OcspSettings {
        mode,
        responder: Some(responder.to_owned()),
        deadline: Duration::from_millis(1500),
        nonce: false,
        refresh: Duration::from_secs(3600),
        entries: 100,
    }
}

#[test]
fn only_good_passes_hard_and_revoked_passes_nowhere() {
    let judged = |mode, verdict: &Verdict| {
        let cache = OcspCache::open(&settings(mode, "http://x/"), None);
        let judged = cache.judge(verdict).err().map(|refused| refused.reason);
        (judged, cache.stats().soft_passes)
    };
    let revoked = Verdict::Revoked {
        since: 0,
        reason: 1,
    };
    let gone = Verdict::Unavailable("gone");
    for mode in [OcspMode::Soft, OcspMode::Hard] {
        let reason = Some(Reason::ClientCertRevokedOcsp);
        assert_eq!(judged(mode, &revoked), (reason, 0));
        assert_eq!(judged(mode, &Verdict::Good), (None, 0));
    }
    let unknown = Some(Reason::ClientCertOcspUnknown);
    assert_eq!(judged(OcspMode::Hard, &Verdict::Unknown), (unknown, 0));
    let unavailable = Some(Reason::ClientCertOcspUnavailable);
    assert_eq!(judged(OcspMode::Hard, &gone), (unavailable, 0));
    assert_eq!(judged(OcspMode::Soft, &Verdict::Unknown), (None, 1));
    assert_eq!(judged(OcspMode::Soft, &gone), (None, 1));
    assert_eq!(judged(OcspMode::Off, &revoked), (None, 0));
}

#[test]
fn an_older_answer_does_not_undo_a_newer_one() {
    let cache = OcspCache::open(&settings(OcspMode::Hard, "http://x/"), None);
    let id = question(7).id;
    let answer = |said, this_update| Answer {
        said,
        this_update,
        next_update: NOW + HOUR,
    };
    let revoked = Said::Revoked {
        since: 1,
        reason: 1,
    };
    assert_eq!(
        cache.learn(&id, &answer(Said::Good, NOW - 20), NOW),
        Verdict::Good
    );
    assert_eq!(cache.epoch(), 0);
    cache.learn(&id, &answer(revoked, NOW - 10), NOW);
    assert_eq!(cache.epoch(), 1);
    let replayed = cache.learn(&id, &answer(Said::Good, NOW - 20), NOW);
    assert!(matches!(replayed, Verdict::Revoked { .. }));
    // Neither does a responder that went away.
    let failed = cache.fail(&id, "gone", NOW + 2 * HOUR);
    assert!(matches!(failed, Verdict::Revoked { .. }));
    assert_eq!(cache.known(&id, NOW + 3 * HOUR), None);
    // A failure is forgotten soon, a good answer outlives it.
    let other = question(8).id;
    let gone = Verdict::Unavailable("gone");
    assert_eq!(cache.fail(&other, "gone", NOW), gone);
    assert_eq!(cache.known(&other, NOW + 10), Some((gone, NOW + 10)));
    assert_eq!(cache.known(&other, NOW + 11), None);
    cache.learn(&other, &answer(Said::Good, NOW), NOW);
    assert_eq!(cache.fail(&other, "gone", NOW), Verdict::Good);
}

#[tokio::test]
async fn a_responder_that_hangs_costs_the_deadline_and_is_asked_once_for_all_who_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        let end = tokio::time::sleep(Duration::from_secs(2));
        tokio::pin!(end);
        loop {
            tokio::select! {
                tcp = listener.accept() => held.push(tcp),
                () = &mut end => return held.len(),
            }
        }
    });
    let cache = OcspCache::open(&settings(OcspMode::Hard, &address), None);
    answer_questions(&cache);
    let leaf = PathCert::new(&LEAF, CA.key()).unwrap();
    let started = tokio::time::Instant::now();
    let ask = || cache.settle(&leaf, UnixTime::now());
    let verdicts = tokio::join!(ask(), ask(), ask());
    let late = Verdict::Unavailable("no answer within the deadline");
    assert_eq!(verdicts, (late.clone(), late.clone(), late));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(accepted.await.unwrap(), 1);
}

#[tokio::test]
async fn an_answer_in_use_is_renewed_before_it_runs_out_and_a_revocation_counts_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let now = || UnixTime::now().as_secs().cast_signed();
        let revoked = Said::Revoked {
            since: 1,
            reason: 1,
        };
        for said in [Said::Good, revoked] {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; 4096];
            let _ = tcp.read(&mut bytes).await.unwrap();
            let reply = Reply {
                said,
                this_update: now(),
                next_update: Some(now() + 3),
                ..Reply::default()
            };
            let body = reply.signed(&question(7).id, &CA, &[]);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            tcp.write_all(&[head.as_bytes(), &body].concat())
                .await
                .unwrap();
        }
    });
    let cache = OcspCache::open(&settings(OcspMode::Hard, &address), None);
    answer_questions(&cache);
    let leaf = PathCert::new(&LEAF, CA.key()).unwrap();
    assert_eq!(cache.settle(&leaf, UnixTime::now()).await, Verdict::Good);
    assert_eq!(cache.cached(&leaf, UnixTime::now()), Some(Verdict::Good));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while cache.epoch() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "it is not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let verdict = cache.cached(&leaf, UnixTime::now());
    assert!(matches!(verdict, Some(Verdict::Revoked { .. })));
}

/// `openssl ocsp`, ended with the test.
struct Responder(Child);

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it with an index in which number 7 is good, 8 revoked; returns its address.
fn openssl(folder: &std::path::Path, signer: &Ca) -> Option<(Responder, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let index = "V\t350101000000Z\t\t07\tunknown\t/CN=seven\n\
                 R\t350101000000Z\t240101000000Z,keyCompromise\t08\tunknown\t/CN=eight\n";
    std::fs::write(path("index"), index).unwrap();
    std::fs::write(path("ca"), CA.pems().0).unwrap();
    let (certificate, key) = signer.pems();
    std::fs::write(path("signer"), certificate).unwrap();
    std::fs::write(path("key"), key).unwrap();
    let child = Command::new("openssl")
        .args(["ocsp", "-port", "0", "-nmin", "5"])
        .args(["-index", &path("index"), "-CA", &path("ca")])
        .args(["-rsigner", &path("signer"), "-rkey", &path("key")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut responder = Responder(child);
    let mut lines = BufReader::new(responder.0.stdout.take()?).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with("ACCEPT")))?;
    let port = line
        .split_whitespace()
        .nth(1)?
        .rsplit(':')
        .next()?
        .to_owned();
    Some((responder, format!("http://127.0.0.1:{port}")))
}

#[tokio::test]
async fn a_real_responder_is_understood_with_and_without_nonce_and_delegation() {
    let delegated = CA.responder(vec![Purpose::OcspSigning], NOW + 20_000 * HOUR);
    for (signer, nonce) in [(&*CA, false), (&*CA, true), (&delegated, true)] {
        let folder = tempfile::tempdir().unwrap();
        let Some((_responder, address)) = openssl(folder.path(), signer) else {
            eprintln!("SKIPPED a_real_responder_is_understood: no openssl (apt install openssl)");
            return;
        };
        let mut settings = settings(OcspMode::Hard, &address);
        settings.nonce = nonce;
        let cache: Arc<OcspCache> = OcspCache::open(&settings, None);
        answer_questions(&cache);
        for (serial, expected) in [
            (7, Verdict::Good),
            (
                8,
                Verdict::Revoked {
                    since: 1_704_067_200,
                    reason: 1,
                },
            ),
            (9, Verdict::Unknown),
        ] {
            let leaf = CA.leaf(serial, &[]);
            let leaf = PathCert::new(&leaf, CA.key()).unwrap();
            let verdict = cache.settle(&leaf, UnixTime::now()).await;
            assert_eq!(verdict, expected, "number {serial}");
            assert_eq!(cache.cached(&leaf, UnixTime::now()), Some(expected));
        }
        assert_eq!((cache.stats().asked, cache.stats().failed), (3, 0));
    }
}
