//! Which line of which file a range is: kept as long as a configuration is in force.
//!
//! Unlike [`crate::SourceMap`] it holds no text, and so no secret that was written in one.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lines of the files of one load. Cheap to clone.
#[derive(Clone, Default)]
pub struct Places(Arc<[Lines]>);

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As the operator would write it.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

struct Lines {
    path: PathBuf,
    /// Offset of the first byte of the file.
    base: usize,
    /// Offset behind its last byte.
    end: usize,
    /// Offset of the first byte of each line but the first.
    starts: Vec<usize>,
}

impl Places {
    /// Takes path, offset and text of each file, by rising offset.
    pub(crate) fn new<'a>(files: impl Iterator<Item = (&'a Path, usize, &'a str)>) -> Self {
        let lines = files.map(|(path, base, text)| Lines {
            path: path.to_owned(),
            base,
            end: base + text.len(),
            starts: text
                .match_indices('\n')
                .map(|(at, _)| base + at + 1)
                .collect(),
        });
        Self(lines.collect())
    }

    /// The line a range begins in; none for the empty range of a default.
    pub fn find(&self, span: &Range<usize>) -> Option<Place> {
        let after = self.0.partition_point(|file| file.base <= span.start);
        let file = self.0.get(after.checked_sub(1)?)?;
        (span.start <= file.end).then(|| Place {
            file: file.path.clone(),
            line: file.starts.partition_point(|start| *start <= span.start) + 1,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

// The same for all files that say the same.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_has_no_place_and_each_byte_of_each_file_has_one() {
        let files = [("a.toml", 1, "a = 1\nb = 2\n"), ("b.toml", 14, "\nc")];
        let files = files.map(|(path, base, text)| (Path::new(path), base, text));
        let places = Places::new(files.into_iter());
        let find = |at: usize| places.find(&(at..at)).map(|place| place.to_string());
        assert_eq!(find(0), None);
        assert_eq!(find(1).as_deref(), Some("a.toml:1"));
        assert_eq!(find(6).as_deref(), Some("a.toml:1"));
        assert_eq!(find(7).as_deref(), Some("a.toml:2"));
        assert_eq!(find(13).as_deref(), Some("a.toml:3"));
        assert_eq!(find(14).as_deref(), Some("b.toml:1"));
        assert_eq!(find(15).as_deref(), Some("b.toml:2"));
        assert_eq!(find(99), None);
        assert_eq!(Places::default().find(&(5..6)), None);
    }
}
