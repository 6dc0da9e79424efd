//! Every file of one load, behind one numbering of bytes.
//!
//! File k begins at a base offset, so one range names a file, a line and a column. What may be a secret is
//! marked here, and no excerpt shows it: the rest of the crate, and the rooms above, cannot print a PIN.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ConfigError, Excerpt, Related};
use crate::places::Places;

/// What stands in an excerpt instead of a secret; its length says nothing about the secret's.
const MASK: &str = "***";

/// The files of one load. Cheap to clone, and shareable.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<Arc<SourceFile>>,
}

/// One file.
pub(crate) struct SourceFile {
    /// As the operator would write it.
    pub(crate) path: PathBuf,
    /// Absolute; relative paths in the file are resolved against it.
    pub(crate) directory: PathBuf,
    pub(crate) text: String,
    /// Offset of the first byte of `text`.
    pub(crate) base: usize,
    /// Ranges (global) that no excerpt may show.
    pub(crate) masks: Vec<Range<usize>>,
}

/// Something to tell the operator, before it is bound to the text of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) related: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    pub(crate) fn new(span: &Range<usize>, message: impl Into<String>) -> Self {
        Diagnostic {
            span: span.clone(),
            message: message.into(),
            help: None,
            related: None,
        }
    }

    /// What to do about it.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// What to do about it, if that is known.
    pub(crate) fn maybe_help(&mut self, help: Option<String>) -> &mut Self {
        self.help = help.or(self.help.take());
        self
    }

    /// The other place that belongs to the mistake.
    pub(crate) fn related(&mut self, span: &Range<usize>, label: impl Into<String>) -> &mut Self {
        self.related = Some((span.clone(), label.into()));
        self
    }
}

impl SourceMap {
    /// Offset for the next file. The first file begins at 1, so that `0..0` is the place of nothing.
    pub(crate) fn next_base(&self) -> usize {
        self.files
            .last()
            .map_or(1, |last| last.base + last.text.len() + 1)
    }

    pub(crate) fn push(&mut self, file: SourceFile) {
        debug_assert_eq!(file.base, self.next_base());
        self.files.push(Arc::new(file));
    }

    /// An error at a place that the configuration names, for what only upper rooms can find out: a file that
    /// does not exist, a key that is not in the token. With an empty span the error has no line.
    pub fn report(&self, span: Range<usize>, message: &str, help: Option<&str>) -> ConfigError {
        let mut diagnostic = Diagnostic::new(&span, message);
        diagnostic.maybe_help(help.map(str::to_owned));
        self.error(&diagnostic)
    }

    /// The files that were read: the main file first, then the included ones.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Where the lines are, for who names places long after the load.
    pub fn places(&self) -> Places {
        let files = self.files.iter();
        Places::new(files.map(|file| (file.path.as_path(), file.base, file.text.as_str())))
    }

    pub(crate) fn error(&self, diagnostic: &Diagnostic) -> ConfigError {
        let main = self
            .files
            .first()
            .map(|file| file.path.clone())
            .unwrap_or_default();
        let (file, excerpt) = match self.file(&diagnostic.span) {
            Some(file) => (file.path.clone(), Some(file.excerpt(&diagnostic.span))),
            None => (main, None),
        };
        let related = diagnostic.related.as_ref().and_then(|(span, label)| {
            let file = self.file(span)?;
            let excerpt = file.excerpt(span);
            Some(Related {
                file: file.path.clone(),
                excerpt,
                label: label.clone(),
            })
        });
        ConfigError {
            file,
            excerpt,
            related,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
        }
    }

    /// The file a range lies in; none for the empty range of a default.
    pub(crate) fn file(&self, span: &Range<usize>) -> Option<&SourceFile> {
        if span.start == 0 {
            return None;
        }
        let after = self.files.partition_point(|file| file.base <= span.start);
        let file = self.files.get(after.checked_sub(1)?)?;
        (span.start <= file.base + file.text.len()).then_some(file)
    }
}

// The text may hold a secret, so it is not part of the debug form.
impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile")
            .field("path", &self.path)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl SourceFile {
    /// The line `span` begins in, with secrets masked.
    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let at = floor_char_boundary(&self.text, span.start - self.base);
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |newline| at + newline);
        let end = span.end.saturating_sub(self.base).clamp(at, line_end);
        let end = floor_char_boundary(&self.text, end);
        let end = floor_char_boundary(&self.text, end);
        let mut text = String::new();
        let mut marked = None..None;
        let mut offset = line_start;
        for part in self.parts(line_start..line_end) {
            let shown_from = text.len();
            let shown = if part.secret {
                MASK
            } else {
                &self.text[offset..part.end]
            };
            text.push_str(shown);
            // A mark that begins or ends inside a mask takes the whole mask.
            if marked.start.is_none() && (at < part.end || part.end == line_end) {
                let inside = if part.secret {
                    0
                } else {
                    at.saturating_sub(offset)
                };
                marked.start = Some(shown_from + inside);
            }
            if marked.end.is_none() && (end <= part.end || part.end == line_end) {
                let inside = if part.secret {
                    MASK.len()
                } else {
                    end.saturating_sub(offset)
                };
                marked.end = Some(shown_from + inside);
            }
            offset = part.end;
        }
        let start = marked.start.unwrap_or(0).min(text.len());
        Excerpt {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..at].chars().count() + 1,
            marked: start..marked.end.unwrap_or(start).clamp(start, text.len()),
            text: text.trim_end_matches('\r').to_owned(),
        }
        .clamped()
    }

    /// `line` cut at the borders of masks.
    fn parts(&self, line: Range<usize>) -> Vec<Part> {
        let mut masks: Vec<Range<usize>> = self
            .masks
            .iter()
            .map(|mask| mask.start - self.base..mask.end - self.base)
            .map(|mask| mask.start.max(line.start)..mask.end.min(line.end))
            .filter(|mask| mask.start < mask.end)
            .collect();
        masks.sort_by_key(|mask| mask.start);
        let mut parts = Vec::new();
        let mut offset = line.start;
        for mask in masks {
            if mask.start > offset {
                parts.push(Part {
                    end: mask.start,
                    secret: false,
                });
            }
            if mask.end > offset {
                parts.push(Part {
                    end: mask.end,
                    secret: true,
                });
                offset = mask.end;
            }
        }
        if offset < line.end || parts.is_empty() {
            parts.push(Part {
                end: line.end,
                secret: false,
            });
        }
        parts
    }
}

/// A piece of a line up to `end`.
struct Part {
    end: usize,
    secret: bool,
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str, masks: Vec<Range<usize>>) -> SourceMap {
        let mut sources = SourceMap::default();
        let path = PathBuf::from("a.toml");
        let directory = PathBuf::from("/");
        sources.push(SourceFile {
            path,
            directory,
            text: text.into(),
            base: 1,
            masks,
        });
        sources
    }

    #[test]
    fn an_error_inside_a_mask_marks_the_whole_mask_and_shows_nothing_of_it() {
        let sources = map(
            "x = { pin = \"1234\", y = 1 }\n",
            vec![Range { start: 13, end: 19 }],
        );
        let error = sources.report(13..19, "no", None);
        let text = error.to_string();
        assert!(
            !text.contains("1234") && text.contains("pin = ***, y = 1"),
            "{text}"
        );
        assert_eq!((error.line(), error.column()), (Some(1), Some(13)));
        assert!(!format!("{sources:?}{error:?}").contains("1234"));
        let after = sources.report(21..22, "no", None);
        assert_eq!(
            after.excerpt.as_ref().map(|e| &e.text[e.marked.clone()]),
            Some("y")
        );
    }

    #[test]
    fn an_empty_span_has_no_line() {
        let error = map("a = 1\n", vec![]).report(0..0, "nothing here", Some("do it"));
        assert_eq!(
            (error.line(), error.file().to_str()),
            (None, Some("a.toml"))
        );
    }

    #[test]
    fn the_end_of_a_file_and_the_middle_of_a_character_are_places_too() {
        let sources = map("ä = 'é'", vec![]);
        assert_eq!(sources.report(10..10, "end", None).column(), Some(8));
        assert_eq!(sources.report(2..3, "inside", None).column(), Some(1));
    }

    #[test]
    fn masks_may_touch_overlap_and_span_lines() {
        let sources = map("p = '''\nabc\ndef'''\n", vec![5..19, 6..8]);
        assert!(
            !sources
                .report(9..12, "no", None)
                .to_string()
                .contains("abc")
        );
        assert!(
            !sources
                .report(14..15, "no", None)
                .to_string()
                .contains("def")
        );
    }
}
