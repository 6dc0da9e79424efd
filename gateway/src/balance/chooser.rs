//! The four ways to choose, and the cookie that goes before them.

use std::cell::Cell;
use std::time::Duration;

use portcullis_config::Balance;

use super::hash::{bid, mix};
use super::load::Load;

/// An endpoint as a chooser sees it.
pub trait Candidate {
    /// Its share beside the others'; never 0.
    fn weight(&self) -> u32;
    /// What tells it from the others, in every process alike.
    fn name(&self) -> u64;
    /// What this worker has there.
    fn load(&self) -> &Load;
}

/// What is known of who asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask {
    /// The [`hash`](super::hash()) of what belongs to one endpoint; used by `balance = "hash"`.
    pub key: Option<u64>,
    /// The name of the endpoint it was at before, which it gets again if it can.
    pub sticky: Option<u64>,
    /// The time, on the clock of [`Load::answered`]; used by `p2c`.
    pub now: Duration,
}

/// Chooses among the endpoints of one upstream, for one worker.
#[derive(Debug)]
pub struct Chooser {
    balance: Way,
    random: Cell<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Turn,
    Fewest,
    BetterOfTwo,
    Hash,
}

impl Chooser {
    /// Chooses as the operator said. Workers draw differently by their seed.
    pub fn new(balance: &Balance, seed: u64) -> Self {
        let balance = match balance {
            Balance::RoundRobin => Way::Turn,
            Balance::LeastRequest => Way::Fewest,
            Balance::P2c => Way::BetterOfTwo,
            Balance::Hash(_) => Way::Hash,
        };
        Self {
            balance,
            random: Cell::new(seed),
        }
    }

    /// Whether it looks at requests in progress.
    pub fn counts(&self) -> bool {
        matches!(self.balance, Way::Fewest | Way::BetterOfTwo)
    }

    /// Whether it looks at latencies, and at the time.
    pub fn measures(&self) -> bool {
        self.balance == Way::BetterOfTwo
    }

    /// The place in `among` of the endpoint to use; `None` where none is usable.
    pub fn choose<C: Candidate>(
        &self,
        among: &[C],
        ask: &Ask,
        usable: impl Fn(&C) -> bool,
    ) -> Option<usize> {
        if let Some(name) = ask.sticky
            && let Some(at) = among.iter().position(|it| it.name() == name)
            && usable(&among[at])
        {
            return Some(at);
        }
        match (self.balance, ask.key) {
            (Way::Turn, _) | (Way::Hash, None) => in_turn(among, usable),
            (Way::Hash, Some(key)) => by_hash(among, key, usable),
            (Way::Fewest, _) => fewest(among, usable),
            (Way::BetterOfTwo, _) => self.better_of_two(among, ask.now, usable),
        }
    }

    fn better_of_two<C: Candidate>(
        &self,
        among: &[C],
        now: Duration,
        usable: impl Fn(&C) -> bool,
    ) -> Option<usize> {
        let count = among.iter().filter(|it| usable(it)).count();
        let first = self.draw(count)?;
        // Another one than the first: of the rest, which close up behind it.
        let second = self.draw(count - 1);
        let second = second.map_or(first, |at| if at >= first { at + 1 } else { at });
        let mut places = (0..among.len()).filter(|at| usable(&among[*at]));
        let (low, high) = (first.min(second), first.max(second));
        let low_at = places.nth(low)?;
        let high_at = match high - low {
            0 => low_at,
            apart => places.nth(apart - 1)?,
        };
        let (first, second) = match first == low {
            true => (low_at, high_at),
            false => (high_at, low_at),
        };
        let cost = |at: usize| among[at].load().cost(now) / f64::from(among[at].weight());
        // Among equals the one that was drawn first, whichever that is.
        Some(if cost(second) < cost(first) {
            second
        } else {
            first
        })
    }

    /// A number below `count` (SplitMix64; the bias of the multiplication is below 2^-32).
    fn draw(&self, count: usize) -> Option<usize> {
        let next = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(next);
        let drawn = (u128::from(mix(next)) * count as u128) >> 64;
        (count > 0).then_some(drawn as usize)
    }
}

/// Smooth weighted round robin: everybody's claim grows by its weight, the largest is served and pays for all. The
/// heavy ones are spread between the light ones, not served in a row.
fn in_turn<C: Candidate>(among: &[C], usable: impl Fn(&C) -> bool) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, candidate) in among.iter().enumerate().filter(|(_, it)| usable(it)) {
        let weight = i64::from(candidate.weight());
        let turn = &candidate.load().turn;
        turn.set(turn.get() + weight);
        total += weight;
        if best.is_none_or(|(_, most)| turn.get() > most) {
            best = Some((at, turn.get()));
        }
    }
    let (at, claim) = best?;
    among[at].load().turn.set(claim - total);
    Some(at)
}

fn fewest<C: Candidate>(among: &[C], usable: impl Fn(&C) -> bool) -> Option<usize> {
    let ratio = |it: &C| (u64::from(it.load().open()) + 1, u64::from(it.weight()));
    let less = |a: (u64, u64), b: (u64, u64)| a.0 * b.1 < b.0 * a.1;
    let all = among.iter().filter(|it| usable(it)).map(ratio);
    let least = all.reduce(|a, b| if less(b, a) { b } else { a })?;
    in_turn(among, |it| usable(it) && !less(least, ratio(it)))
}

fn by_hash<C: Candidate>(among: &[C], key: u64, usable: impl Fn(&C) -> bool) -> Option<usize> {
    let bids = among.iter().enumerate().filter(|(_, it)| usable(it));
    let bids = bids.map(|(at, it)| (at, bid(it.name(), key, it.weight())));
    let best = bids.reduce(|a, b| if b.1 > a.1 { b } else { a });
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
