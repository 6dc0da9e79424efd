//! The long set.
