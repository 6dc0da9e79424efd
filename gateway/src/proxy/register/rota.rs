//! Whose turn it is: everybody has one, however often everybody is called again meanwhile.

/// Members in a circle.
#[derive(Debug)]
pub(super) struct Rota<T> {
    members: Vec<T>,
    /// Whose turn is next.
    at: usize,
    /// How many turns are left, from there on and round.
    left: usize,
}

impl<T> Default for Rota<T> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            at: 0,
            left: 0,
        }
    }
}

impl<T: Clone> Rota<T> {
    /// One more; it has a turn only where a round is under way.
    pub(super) fn enter(&mut self, member: T) {
        self.members.push(member);
        self.left += usize::from(self.left > 0);
    }

    /// Everybody has a turn from now on, first those who have waited longest.
    pub(super) fn everybody(&mut self) {
        self.left = self.members.len();
    }

    /// The next whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        if self.at >= self.members.len() {
            self.at = 0;
        }
        let member = self.members.get(self.at)?.clone();
        self.at += 1;
        Some(member)
    }

    /// Whether everybody has had their turn.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Keeps some members and their turns.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let (mut position, mut gone_before) = (0, 0);
        self.members.retain(|member| {
            let kept = keep(member);
            gone_before += usize::from(!kept && position < self.at);
            position += 1;
            kept
        });
        self.at -= gone_before;
        self.left = self.left.min(self.members.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everybody_has_a_turn_however_often_everybody_is_called_again() {
        let mut rota = Rota::default();
        (0..10).for_each(|member| rota.enter(member));
        assert!(rota.is_done() && rota.next().is_none());
        let mut seen = Vec::new();
        for _ in 0..5 {
            rota.everybody();
            seen.extend([rota.next(), rota.next()].into_iter().flatten());
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert!(!rota.is_done());
        assert_eq!(std::iter::from_fn(|| rota.next()).count(), 8);
        assert!(rota.is_done());
    }

    proptest! {
        #[test]
        fn whoever_was_there_at_a_call_and_stays_has_a_turn(
            steps in proptest::collection::vec(0_u8..4, 0..60),
        ) {
            let mut rota = Rota::default();
            let (mut names, mut waiting) = (0_u32.., Vec::new());
            let mut inside: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    0 => {
                        let name = names.next().unwrap();
                        inside.push(name);
                        rota.enter(name);
                    }
                    1 => {
                        rota.everybody();
                        waiting = inside.clone();
                    }
                    2 => {
                        let seen = rota.next();
                        waiting.retain(|name| Some(*name) != seen);
                    }
                    _ => {
                        let gone = inside.len() / 2;
                        let gone = (gone < inside.len()).then(|| inside.remove(gone));
                        waiting.retain(|name| Some(*name) != gone);
                        rota.retain(|name| Some(*name) != gone);
                    }
                }
            }
            while let Some(seen) = rota.next() {
                waiting.retain(|name| *name != seen);
            }
            prop_assert_eq!(waiting, Vec::<u32>::new());
        }
    }
}
