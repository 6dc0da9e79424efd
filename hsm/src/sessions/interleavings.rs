//! The queue with its threads under a model checker: `make model` runs each story in thousands of orders.
//!
//! A wake-up that is lost shows as a deadlock, for the model has no time that would end a wait: in the gateway
//! it would be a signature that comes at its deadline, from a token that is idle.
//! What the stories promise: a job is answered once; a thread that was written off gets no more work; neither
//! an outage nor a change of size strands a job or a thread; closing ends them all; the bound holds.

mod model;

use std::time::Instant;

use shuttle::future::block_on;
use shuttle::thread;

use self::model::{FAR, Model, Token, lost};
use super::mode::TokenState;
use super::ticket::Answer;
use crate::error::HsmError;
use crate::sync::Arc;

/// Orders that are tried of each story by each of the two schedulers.
const ORDERS: usize = 3_000;

/// Changes of thread that the second scheduler places where they may hurt the most.
const DEPTH: usize = 4;

fn in_every_order(story: impl Fn() + Send + Sync + 'static + Clone) {
    shuttle::check_random(story.clone(), ORDERS);
    shuttle::check_pct(story, ORDERS, DEPTH);
}

/// A token of which nothing goes wrong.
fn sound(sessions: usize) -> Token {
    Token {
        sessions,
        ..Token::default()
    }
}

/// Threads that each ask for one signature; what they got, by job.
fn ask(model: &Arc<Model>, jobs: std::ops::Range<u8>) -> Vec<thread::JoinHandle<Answer>> {
    let ask = |job| {
        let model = Arc::clone(model);
        thread::spawn(move || model.ask(job))
    };
    jobs.map(ask).collect()
}

fn answers(threads: Vec<thread::JoinHandle<Answer>>) -> Vec<Answer> {
    let joined = threads.into_iter().map(thread::JoinHandle::join);
    joined.map(Result::unwrap).collect()
}

#[test]
fn more_work_than_the_bound_is_never_held() {
    in_every_order(|| {
        let model = Model::new(sound(1), 1, 2);
        let submitters: Vec<_> = (0..4)
            .map(|job| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    let submitted = model.submit(job);
                    assert!(model.queue.stats().waiting <= 2, "the bound");
                    submitted
                })
            })
            .collect();
        let submitted = submitters.into_iter().map(|thread| thread.join().unwrap());
        let (held, refused): (Vec<_>, Vec<_>) = submitted.partition(Result::is_ok);
        assert_eq!((held.len(), refused.len()), (2, 2));
        assert!(matches!(
            model.queue.admit(),
            Err(HsmError::QueueFull { .. })
        ));
        // Whoever has given up keeps nobody out.
        drop(held);
        model.queue.admit().unwrap();
        let fresh = model.submit(9).unwrap();
        let keeper = model.start();
        assert_eq!(block_on(fresh).unwrap(), [9]);
        assert_eq!(model.begun(9), 1);
        assert_eq!((0..4).map(|job| model.begun(job)).sum::<usize>(), 0);
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn every_job_is_begun_and_answered_once() {
    in_every_order(|| {
        let model = Model::new(sound(2), 2, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..4);
        for (job, answer) in (0..).zip(answers(asked)) {
            assert_eq!(answer.unwrap(), [job]);
            assert_eq!(model.begun(job), 1);
        }
        assert_eq!(model.queue.counters.signatures(), 4);
        model.queue.close();
        keeper.ended(&model);
        assert_eq!(model.queue.outstanding(), 0);
    });
}

#[test]
fn a_deadline_and_a_signature_answer_a_job_once_between_them() {
    in_every_order(|| {
        let token = Token {
            hangs: Some(0),
            ..sound(2)
        };
        let model = Model::new(token, 2, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..3);
        model.until_it_hangs();
        let overdue = model.queue.lock().take_overdue(Instant::now() + 2 * FAR);
        overdue.iter().for_each(|job| model.queue.expire(job));
        let mut asked = asked.into_iter();
        let mut answered = answers(asked.by_ref().take(1).collect());
        assert!(
            matches!(answered[0], Err(HsmError::Deadline { .. })),
            "its call hangs"
        );
        model.release();
        answered.extend(answers(asked.collect()));
        let (signed, late): (Vec<_>, Vec<_>) = answered.into_iter().partition(Result::is_ok);
        let due = |answer: &Answer| matches!(answer, Err(HsmError::Deadline { .. }));
        assert!(late.iter().all(due), "{late:?}");
        let timeouts = model.queue.stats().timeouts;
        assert_eq!(late.len() as u64, timeouts, "each is counted once");
        assert_eq!(signed.len() + late.len(), 3);
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn a_thread_that_hangs_is_replaced_and_gets_no_more_work() {
    in_every_order(|| {
        let token = Token {
            hangs: Some(0),
            ..sound(8)
        };
        let model = Model::new(token, 2, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..3);
        model.until_it_hangs();
        model.write_off();
        let mut asked = asked.into_iter();
        let first = asked.next().unwrap().join().unwrap();
        assert!(matches!(first, Err(HsmError::Hung { .. })), "{first:?}");
        for answer in answers(asked.collect()) {
            assert!(
                matches!(answer, Ok(_) | Err(HsmError::Hung { .. })),
                "{answer:?}"
            );
        }
        // While it still hangs, others work: as many as before.
        while model.queue.stats().sessions < 2 {
            thread::yield_now();
        }
        assert_eq!(model.ask(7).unwrap(), [7]);
        model.release();
        assert_eq!(model.ask(8).unwrap(), [8]);
        assert!((0..3).all(|job| model.begun(job) <= 1));
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn a_token_that_goes_away_and_comes_back_strands_neither_thread_nor_job() {
    in_every_order(|| {
        let token = Token {
            failures: 2,
            failed_tries: 1,
            ..sound(2)
        };
        let model = Model::new(token, 2, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..4);
        for answer in answers(asked) {
            assert!(
                matches!(
                    answer,
                    Ok(_) | Err(HsmError::Away { .. } | HsmError::Interface(_))
                ),
                "{answer:?}"
            );
        }
        // It comes back whether it is asked or not; away it is at most three times.
        let back = (0..).find_map(|_| {
            while model.queue.lock().mode.state() != TokenState::Up {
                thread::yield_now();
            }
            model.ask(9).ok()
        });
        assert_eq!(back.unwrap(), [9]);
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn a_token_with_fewer_sessions_than_wanted_serves_with_those() {
    in_every_order(|| {
        let model = Model::new(sound(2), 4, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..4);
        for answer in answers(asked) {
            answer.unwrap();
        }
        assert_eq!(model.ask(9).unwrap(), [9]);
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn a_pool_that_shrinks_and_grows_strands_nothing() {
    in_every_order(|| {
        let model = Model::new(sound(8), 3, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..3);
        model.queue.resize(1);
        assert_eq!(model.ask(8).unwrap(), [8]);
        model.queue.resize(2);
        while model.queue.stats().sessions < 2 {
            thread::yield_now();
        }
        for answer in answers(asked) {
            answer.unwrap();
        }
        model.queue.resize(1);
        assert_eq!(model.ask(9).unwrap(), [9]);
        model.queue.close();
        keeper.ended(&model);
    });
}

#[test]
fn a_pool_that_shrinks_ends_no_thread_that_it_wants() {
    in_every_order(|| {
        let model = Model::new(sound(8), 3, 8);
        let keeper = model.start();
        answers(ask(&model, 0..3));
        model.queue.resize(1);
        while model.queue.stats().sessions > 1 {
            thread::yield_now();
        }
        assert_eq!(model.ask(9).unwrap(), [9]);
        model.queue.close();
        keeper.ended(&model);
        let opened = model.queue.stats().sessions_opened;
        assert!(opened <= 3, "{opened}: one was ended and another opened");
    });
}

#[test]
fn closing_answers_every_job_and_ends_every_thread() {
    in_every_order(|| {
        let token = Token {
            failures: 1,
            ..sound(2)
        };
        let model = Model::new(token, 2, 8);
        let keeper = model.start();
        let asked = ask(&model, 0..3);
        model.queue.close();
        for answer in answers(asked) {
            assert!(
                matches!(
                    answer,
                    Ok(_) | Err(HsmError::Closed { .. } | HsmError::Interface(_))
                ),
                "{answer:?}"
            );
        }
        let after = model.ask(9);
        assert!(matches!(after, Err(HsmError::Closed { .. })), "{after:?}");
        keeper.ended(&model);
    });
}

#[test]
fn whoever_waits_for_the_first_try_is_told_its_outcome() {
    in_every_order(|| {
        let token = Token {
            failed_tries: 1,
            ..sound(1)
        };
        let model = Model::new(token, 1, 8);
        let keeper = model.start();
        if let Err(error) = model.queue.settled(FAR) {
            assert_eq!(error.to_string(), lost().to_string());
        }
        model.queue.close();
        keeper.ended(&model);
    });
}
