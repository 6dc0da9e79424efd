//! Which of several endpoints gets the next request, or the next connection: the decision alone.
//!
//! It knows no protocol, no socket and no clock: who asks says what time it is, and which endpoints are out of the
//! question. Loads and latencies are those of the worker that asks, so that nothing is shared and nothing waits.
//! A choice allocates nothing.

mod budget;
mod chooser;
mod hash;
mod load;

pub use budget::Budget;
pub use chooser::{Ask, Candidate, Chooser};
pub use hash::hash;
pub use load::Load;
