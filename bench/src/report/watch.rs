//! Who looks on while a run goes on.
//!
//! Load is made in other threads than the one that tells: a slow watcher delays no request.

use std::collections::BTreeMap;

use super::model::Point;

/// Is told how a run goes, every quarter of a second.
pub trait Watcher: Send + Sync {
    /// `done_share` is how much of the run's time is over, 0 to 1; `errors` are all since its begin.
    fn point(&self, point: &Point, done_share: f64, errors: &BTreeMap<String, u64>);
}

/// Looks away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Watcher for Nobody {
    fn point(&self, _: &Point, _: f64, _: &BTreeMap<String, u64>) {}
}
