//! What is wrong with a configuration: all of it, each at its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{Annotation, AnnotationKind, Level, Origin, Renderer, Snippet};

/// More errors than this are counted, not printed.
const PRINTED_ERRORS_MAX: usize = 100;

/// One mistake. It holds its excerpt, already masked, so it can be printed anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(crate) file: PathBuf,
    pub(crate) excerpt: Option<Excerpt>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) related: Option<Related>,
}

/// The line a mistake stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// Counted from 1.
    pub(crate) line: usize,
    /// In characters of the file, counted from 1.
    pub(crate) column: usize,
    /// The line with secrets masked, without its end.
    pub(crate) text: String,
    /// The bytes of `text` to point at.
    pub(crate) marked: Range<usize>,
}

/// A second place that explains the mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Related {
    pub(crate) file: PathBuf,
    pub(crate) excerpt: Excerpt,
    pub(crate) label: String,
}

impl ConfigError {
    /// The file it is in; the main file when it is about the whole configuration.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line, counted from 1; `None` when the mistake has no place (a key that stands nowhere).
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// Column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.column)
    }

    /// What is wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where that is known.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The error with excerpt and caret; in colour for a terminal.
    pub fn render(&self, color: bool) -> String {
        let path = self.file.display().to_string();
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = match &self.excerpt {
            Some(excerpt) => title.element(excerpt.snippet(&path, AnnotationKind::Primary, None)),
            None => title.element(Origin::path(path.as_str())),
        };
        let related_path = self
            .related
            .as_ref()
            .map(|related| related.file.display().to_string());
        if let (Some(related), Some(path)) = (&self.related, &related_path) {
            let label = Some(related.label.as_str());
            group = group.element(
                related
                    .excerpt
                    .snippet(path, AnnotationKind::Context, label),
            );
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let text = renderer.render(&[group]);
        match &self.excerpt {
            // The renderer counted columns in the masked text.
            Some(excerpt) if excerpt.shown_column() != excerpt.column => text.replacen(
                &format!("{path}:{}:{}", excerpt.line, excerpt.shown_column()),
                &format!("{path}:{}:{}", excerpt.line, excerpt.column),
                1,
            ),
            _ => text,
        }
    }

    /// A mistake about a whole file.
    pub(crate) fn without_place(path: &Path, message: String, help: Option<&str>) -> Self {
        let help = help.map(str::to_owned);
        ConfigError {
            file: path.to_owned(),
            excerpt: None,
            message,
            help,
            related: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}

impl Excerpt {
    /// Keeps the mark inside the text.
    pub(crate) fn clamped(mut self) -> Self {
        let end = self.text.len();
        self.marked = self.marked.start.min(end)..self.marked.end.min(end);
        self
    }

    /// The column of the mark in the masked text.
    fn shown_column(&self) -> usize {
        self.text[..self.marked.start].chars().count() + 1
    }

    fn snippet<'a>(
        &'a self,
        path: &'a str,
        kind: AnnotationKind,
        label: Option<&'a str>,
    ) -> Snippet<'a, Annotation<'a>> {
        let annotation = kind.span(self.marked.clone()).label(label);
        Snippet::source(self.text.as_str())
            .path(path)
            .line_start(self.line)
            .annotation(annotation)
    }
}

/// Every mistake of a load, sorted by file and place. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    pub(crate) errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// All of `errors`, in their order; `None` when there are none.
    pub fn collect(errors: impl IntoIterator<Item = ConfigError>) -> Option<Self> {
        let errors: Vec<_> = errors.into_iter().collect();
        (!errors.is_empty()).then_some(ConfigErrors { errors })
    }

    /// The mistakes.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// All of them as text (at most a hundred); in colour for a terminal.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for error in self.errors.iter().take(PRINTED_ERRORS_MAX) {
            text.push_str(&error.render(color));
            text.push_str("\n\n");
        }
        let count = self.errors.len();
        text.push_str(&match count {
            1 => "1 error in the configuration".to_owned(),
            _ if count <= PRINTED_ERRORS_MAX => format!("{count} errors in the configuration"),
            _ => format!(
                "{count} errors in the configuration, the first {PRINTED_ERRORS_MAX} are shown"
            ),
        });
        text
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        ConfigErrors {
            errors: vec![error],
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}
