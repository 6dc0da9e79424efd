//! How many requests may be sent again.

use std::cell::Cell;

use portcullis_config::Share;

/// What a retry costs, in the thousandths that a [`Share`] has.
const COST: u32 = 1_000;
/// Retries in stock: enough for the requests that are on their way to an endpoint when it dies.
const STOCK: u32 = 100;

/// Earned by requests, spent by retries.
#[derive(Debug)]
pub struct Budget {
    share: u32,
    credit: Cell<u32>,
}

impl Budget {
    /// A full stock, unless nothing may be spent at all.
    pub fn new(share: Share) -> Self {
        let share = share.thousandths();
        let credit = if share == 0 { 0 } else { STOCK * COST };
        Self {
            share,
            credit: Cell::new(credit),
        }
    }

    /// There was one more request.
    pub fn earn(&self) {
        self.credit
            .set((self.credit.get() + self.share).min(STOCK * COST));
    }

    /// Whether there is something to spend.
    pub fn is_good(&self) -> bool {
        self.credit.get() >= COST
    }

    /// Pays for a retry; `false` where that cannot be paid.
    pub fn spend(&self) -> bool {
        let left = self.credit.get().checked_sub(COST);
        left.map(|left| self.credit.set(left)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_config::Upstream;

    #[test]
    fn beyond_the_stock_there_is_only_the_share() {
        let fifth = Upstream::new(String::new(), Vec::new()).retries.budget;
        let budget = Budget::new(fifth);
        let spent = |requests: u32| {
            let retried = (0..requests).filter(|_| {
                budget.earn();
                budget.spend()
            });
            retried.count()
        };
        // Every request wants to be sent again.
        assert_eq!(
            spent(1_000),
            100 + 199,
            "the stock, and a fifth once it is used up"
        );
        assert!(!budget.is_good());
        assert_eq!(spent(1_000), 200);
        (0..10_000).for_each(|_| budget.earn());
        assert!(budget.is_good());
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100);
    }
}
