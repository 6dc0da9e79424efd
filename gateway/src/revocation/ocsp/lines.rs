//! Questions that wait for their responder, in a line for each: one that hangs holds up nobody but its own.

use std::collections::{HashMap, VecDeque};

use super::question::Question;

/// For whom a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Clients,
    /// For the next client, and for those who stand.
    Memory,
}

/// How much of the room one responder may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Fetches at once.
    pub(super) fetches: usize,
    /// Clients who wait.
    pub(super) waiting: usize,
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines {
    by_address: HashMap<String, Line>,
    /// Whose turn it is: the lines with a question that may be asked now.
    turn: VecDeque<String>,
    share: Share,
}

#[derive(Debug, Default)]
struct Line {
    questions: VecDeque<(Question, For)>,
    running: usize,
    waiting: usize,
    /// Whether it is in `turn`.
    has_turn: bool,
}

impl Lines {
    pub(super) fn new(share: Share) -> Self {
        Self {
            by_address: HashMap::new(),
            turn: VecDeque::new(),
            share,
        }
    }

    /// Whether nobody more may wait for this responder.
    pub(super) fn is_full(&self, address: &str) -> bool {
        let line = self.by_address.get(address);
        line.is_some_and(|line| line.waiting >= self.share.waiting)
    }

    /// One more client waits for a responder.
    pub(super) fn came(&mut self, address: &str) {
        let line = self.by_address.entry(address.to_owned()).or_default();
        line.waiting += 1;
    }

    /// So many do not wait any more.
    pub(super) fn left(&mut self, address: &str, count: usize) {
        if let Some(line) = self.by_address.get_mut(address) {
            line.waiting = line.waiting.saturating_sub(count);
        }
        self.settle(address);
    }

    /// Puts a question at the end of its line.
    pub(super) fn push(&mut self, question: Question, whom: For) {
        let address = question.address.clone();
        let line = self.by_address.entry(address.clone()).or_default();
        line.questions.push_back((question, whom));
        self.settle(&address);
    }

    /// The next question to ask; lines take turns. It counts as running until [`Self::ended`].
    pub(super) fn next(&mut self) -> Option<(Question, For)> {
        while let Some(address) = self.turn.pop_front() {
            let Some(line) = self.by_address.get_mut(&address) else {
                continue;
            };
            line.has_turn = false;
            let question = line.questions.pop_front();
            line.running += usize::from(question.is_some());
            self.settle(&address);
            if question.is_some() {
                return question;
            }
        }
        None
    }

    /// A question that [`Self::next`] gave was answered, or is not asked after all.
    pub(super) fn ended(&mut self, address: &str) {
        if let Some(line) = self.by_address.get_mut(address) {
            line.running = line.running.saturating_sub(1);
        }
        self.settle(address);
    }

    /// Keeps the questions for which `wanted` says so.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&Question, For) -> bool) {
        for line in self.by_address.values_mut() {
            line.questions
                .retain(|(question, whom)| wanted(question, *whom));
        }
    }

    /// Gives a line its turn, or forgets it, after a change.
    fn settle(&mut self, address: &str) {
        let Some(line) = self.by_address.get_mut(address) else {
            return;
        };
        let can_ask = !line.questions.is_empty() && line.running < self.share.fetches;
        if can_ask && !line.has_turn {
            line.has_turn = true;
            self.turn.push_back(address.to_owned());
        }
        let is_used = line.running > 0 || line.waiting > 0 || !line.questions.is_empty();
        if !is_used && !line.has_turn {
            self.by_address.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(address: &str) -> Question {
        Question {
            id: [1].into(),
            address: address.to_owned(),
            issuer_name: Vec::new(),
            issuer_key: Vec::new(),
        }
    }

    fn lines() -> Lines {
        Lines::new(Share {
            fetches: 2,
            waiting: 3,
        })
    }

    #[test]
    fn a_responder_takes_no_more_than_its_share_and_the_others_their_turns() {
        let mut lines = lines();
        for address in ["hangs", "hangs", "hangs", "hangs", "answers", "answers"] {
            lines.push(question(address), For::Clients);
        }
        let mut next = || lines.next().map(|(question, _)| question.address);
        let asked: Vec<String> = std::iter::from_fn(&mut next).collect();
        assert_eq!(asked, ["hangs", "answers", "hangs", "answers"]);
        lines.push(question("answers"), For::Memory);
        assert!(lines.next().is_none());
        lines.ended("answers");
        assert_eq!(lines.next().map(|(_, whom)| whom), Some(For::Memory));
        lines.ended("hangs");
        assert_eq!(lines.next().map(|it| it.0.address), Some("hangs".into()));
    }

    #[test]
    fn who_waits_is_counted_by_responder_and_an_empty_line_is_forgotten() {
        let mut lines = lines();
        for _ in 0..3 {
            assert!(!lines.is_full("a"));
            lines.came("a");
        }
        assert!(lines.is_full("a") && !lines.is_full("b"));
        lines.push(question("a"), For::Clients);
        lines.left("a", 3);
        assert!(!lines.is_full("a"));
        lines.retain(|_, _| false);
        assert!(lines.next().is_none());
        assert!(lines.by_address.is_empty() && lines.turn.is_empty());
    }
}
