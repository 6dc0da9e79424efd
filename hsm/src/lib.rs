//! Keys that sign and never leave.
pub mod uri;
