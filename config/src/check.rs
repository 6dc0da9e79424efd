//! What the rooms need to turn raw values into checked ones: a place for mistakes, and names.
//!
//! A check that fails says so once and goes on with something harmless; the result is thrown away at the end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Located;
use crate::source::{Diagnostic, SourceMap};
use crate::syntax::Lost;
use crate::value::{
    CountText, Decimal, DurationText, Number, Share, SizeText, did_you_mean, duration_text,
    parse_duration, parse_size, quoted, share, size_text,
};

/// A range in the files.
pub(crate) type Span = Range<usize>;

/// One pass over the raw configuration.
pub(crate) struct Check<'a> {
    sources: &'a SourceMap,
    lost: &'a Lost,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Check<'a> {
    pub(crate) fn new(sources: &'a SourceMap, lost: &'a Lost) -> Self {
        Check {
            sources,
            lost,
            diagnostics: Vec::new(),
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Records a mistake; help and a second place can be added to what is returned.
    pub(crate) fn error(&mut self, span: &Span, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic::new(span, message));
        let last = self.diagnostics.len() - 1;
        &mut self.diagnostics[last]
    }

    /// Whether a whole table could not be read, so that nothing can be said about what is absent.
    pub(crate) fn lost_tables(&self) -> bool {
        self.lost.tables
    }

    /// Whether a key of a table is there but was no use, which has been reported.
    pub(crate) fn lost_key(&self, table: &Span, key: &str) -> bool {
        self.lost.has(table.start, key)
    }

    /// A value that must be there. Its absence is reported at the header of the table.
    pub(crate) fn required<T>(&mut self, table: &Span, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.lost_key(table, key) {
            self.error(table, format!("`{key}` is missing"));
        }
        value
    }

    /// `text` as a path, relative to the directory of the file it stands in.
    pub(crate) fn path(&mut self, text: &Located<String>) -> Located<PathBuf> {
        if text.value.is_empty() {
            self.error(&text.span, "this path is empty");
        }
        text.with(self.resolved(&text.span, &text.value))
    }

    pub(crate) fn resolved(&self, span: &Span, path: &str) -> PathBuf {
        let directory = self
            .sources
            .file(span)
            .map_or(Path::new(""), |file| &file.directory);
        // Components normalize `./x`, so that two spellings of one path are equal.
        directory.join(path).components().collect()
    }

    /// A duration within bounds, or the default.
    pub(crate) fn duration(
        &mut self,
        value: Option<Located<DurationText>>,
        default: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = value else { return default };
        match parse_duration(&text.value.0) {
            Ok(duration) if allowed.contains(&duration) => duration,
            Ok(_) => {
                let (least, most) = (
                    duration_text(*allowed.start()),
                    duration_text(*allowed.end()),
                );
                self.error(&text.span, format!("must be between {least} and {most}"));
                default
            }
            Err(problem) => {
                self.error(
                    &text.span,
                    format!("{} is no duration: {problem}", quoted(&text.value.0)),
                );
                default
            }
        }
    }

    /// A duration within bounds, `off` as `None`, or the default.
    pub(crate) fn duration_or_off(
        &mut self,
        value: Option<Located<DurationText>>,
        default: Option<Duration>,
        allowed: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = match value {
            None => return default,
            Some(text) if text.value.0 == "off" => return None,
            Some(text) => text,
        };
        let least = *allowed.start();
        Some(self.duration(Some(text), least, allowed))
    }

    /// A size within bounds, or the default.
    pub(crate) fn size(
        &mut self,
        value: Option<Located<SizeText>>,
        default: u64,
        allowed: RangeInclusive<u64>,
    ) -> u64 {
        let Some(text) = value else { return default };
        match parse_size(&text.value.0) {
            Ok(size) if allowed.contains(&size) => size,
            Ok(_) => {
                let (least, most) = (size_text(*allowed.start()), size_text(*allowed.end()));
                self.error(&text.span, format!("must be between {least} and {most}"));
                default
            }
            Err(problem) => {
                self.error(
                    &text.span,
                    format!("{} is no size: {problem}", quoted(&text.value.0)),
                );
                default
            }
        }
    }

    /// A number within bounds, or the default.
    pub(crate) fn count(
        &mut self,
        value: Option<Located<Number>>,
        default: usize,
        allowed: RangeInclusive<usize>,
    ) -> usize {
        let Some(number) = value else { return default };
        match usize::try_from(number.value.0) {
            Ok(count) if allowed.contains(&count) => count,
            _ => {
                let message = format!("must be between {} and {}", allowed.start(), allowed.end());
                self.error(&number.span, message);
                default
            }
        }
    }

    /// A part of a whole, or the default.
    pub(crate) fn share(&mut self, value: Option<Located<Decimal>>, default: Share) -> Share {
        let Some(number) = value else { return default };
        share(number.value).unwrap_or_else(|| {
            self.error(&number.span, "must be between 0 and 1")
                .help("a share has at most three digits behind the point, as in 0.125");
            default
        })
    }

    /// A number within bounds; `auto`, also the default, is `None`.
    pub(crate) fn count_or_auto(
        &mut self,
        value: Option<Located<CountText>>,
        allowed: RangeInclusive<usize>,
    ) -> Option<NonZeroUsize> {
        let text = value.filter(|text| text.value.0 != "auto")?;
        let Ok(number) = text.value.0.parse() else {
            let message = format!("{} is no number", quoted(&text.value.0));
            self.error(&text.span, message)
                .help("write a number, or \"auto\"");
            return None;
        };
        let least = *allowed.start();
        NonZeroUsize::new(self.count(Some(text.with(Number(number))), least, allowed))
    }

    /// `ADDRESS:PORT`.
    pub(crate) fn address(&mut self, text: &Located<String>) -> Option<Located<SocketAddr>> {
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let message = format!("{} is no address with port", quoted(&text.value));
            let help = "write \"0.0.0.0:443\", \"[::]:443\" or \"127.0.0.1:8443\"; names are not resolved here";
            self.error(&text.span, message).help(help);
        }
        parsed.map(|address| text.with(address))
    }

    /// Reports every value that stands in a list twice.
    pub(crate) fn distinct<T: Eq + std::hash::Hash>(&mut self, values: &[Located<T>], what: &str) {
        let mut seen = HashMap::new();
        for value in values {
            if let Some(first) = seen.insert(&value.value, &value.span) {
                self.error(&value.span, format!("{what} is listed twice"))
                    .related(first, "first here");
            }
        }
    }
}

/// The names of one kind of thing, in file order.
pub(crate) struct Names {
    kind: &'static str,
    names: Vec<Located<String>>,
    /// The first of each name: ten thousand rules look up ten thousand roles.
    places: HashMap<String, usize>,
}

impl Names {
    /// Takes the names, and reports those that are no names or are there twice.
    pub(crate) fn new(
        check: &mut Check<'_>,
        kind: &'static str,
        names: Vec<Located<String>>,
    ) -> Self {
        const NAME_LENGTH_MAX: usize = 128;
        let mut seen: HashMap<&str, &Span> = HashMap::new();
        for name in &names {
            let length = name.value.chars().count();
            if length == 0 || length > NAME_LENGTH_MAX || name.value.contains(char::is_control) {
                let message =
                    format!("a {kind} name has 1 to {NAME_LENGTH_MAX} printable characters");
                check.error(&name.span, message);
            }
            if let Some(first) = seen.insert(&name.value, &name.span) {
                let message = format!("two {kind}s are called {}", quoted(&name.value));
                check
                    .error(&name.span, message)
                    .related(first, "first here");
            }
        }
        Self::of(kind, names)
    }

    fn of(kind: &'static str, names: Vec<Located<String>>) -> Self {
        let mut places = HashMap::new();
        for (at, name) in names.iter().enumerate() {
            places.entry(name.value.clone()).or_insert(at);
        }
        Names {
            kind,
            names,
            places,
        }
    }

    /// The index of `wanted`; reports a name that is not there.
    pub(crate) fn index(&self, check: &mut Check<'_>, wanted: &Located<String>) -> Option<usize> {
        let found = self.places.get(&wanted.value).copied();
        if found.is_none() && !check.lost_tables() {
            let known = self.names.iter().map(|name| name.value.as_str());
            let help = match did_you_mean(&wanted.value, known.clone()) {
                Some(meant) => format!("did you mean {}?", quoted(meant)),
                None if self.names.is_empty() => {
                    format!("there is no {} in the configuration", self.kind)
                }
                None => {
                    let known: Vec<_> = known.map(quoted).collect();
                    format!("there is {}", known.join(", "))
                }
            };
            let message = format!("no {} is called {}", self.kind, quoted(&wanted.value));
            check.error(&wanted.span, message).help(help);
        }
        found
    }

    /// These names and then `more`, as one list to look names up in.
    pub(crate) fn and(&self, more: &Names) -> Names {
        let names = self.names.iter().chain(&more.names).cloned();
        Self::of(self.kind, names.collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Located<String>> {
        self.names.iter()
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        self.names.get(index).map_or("", |name| &name.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}
