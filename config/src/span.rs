//! Where in the operator's files a value was written.
use std::ops::Range;

/// A value with the place it was written at, so that upper rooms can report a missing file at its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Byte range in the [`crate::SourceMap`] of the load; empty for defaults.
    pub span: Range<usize>,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
