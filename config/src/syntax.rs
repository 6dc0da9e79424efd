//! From the text of one file to a tree whose spans are global.
//!
//! A parser that goes on after a mistake guesses, and one missing bracket can swallow the rest of the file.
//! So a broken file is cut into statements: those that do not parse are reported, each once, and blanked
//! (with same byte offsets), and the rest is parsed as if they were not there. What was lost is remembered,
//! so that nobody reports its absence.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::DeTable;

use crate::secret::{self, Section};
use crate::source::Diagnostic;

/// A statement may be this many statement-like lines long (a multi-line array or string that looks like keys).
const STATEMENT_LINES_MAX: usize = 256;
/// After so many broken statements the rest of the file is not read: it is something else than TOML.
const BROKEN_STATEMENTS_MAX: usize = 100;

/// A text without its broken statements.
pub(crate) struct Sound<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Ranges of broken statements that may hold a secret.
    pub(crate) masks: Vec<Range<usize>>,
}

/// What the operator wrote but the loader could not use. Its absence is not a second mistake.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Start of the table, and key in it.
    keys: HashSet<(usize, String)>,
    /// A whole table is gone, so a name that seems unknown may have been in it.
    pub(crate) tables: bool,
}

impl Lost {
    pub(crate) fn key(&mut self, table: usize, key: &str) {
        self.keys.insert((table, key.to_owned()));
    }

    pub(crate) fn has(&self, table: usize, key: &str) -> bool {
        self.keys.contains(&(table, key.to_owned()))
    }
}

/// Blanks what does not parse in `text`, whose first byte has the global offset `base`.
pub(crate) fn sound<'a>(text: &'a str, base: usize, lost: &mut Lost) -> Sound<'a> {
    let mut sound = Sound {
        text: Cow::Borrowed(text),
        diagnostics: Vec::new(),
        masks: Vec::new(),
    };
    if first_error(text).is_none() {
        return sound;
    }
    let broken = broken_statements(text);
    for statement in &broken {
        sound.diagnostics.push(statement.diagnostic(base));
        statement.remember(base, lost);
        sound.masks.extend(secret::in_broken_text(
            text,
            &statement.range,
            statement.section,
            base,
        ));
    }
    sound.text = Cow::Owned(blanked(text, &broken));
    sound
}

/// Parses a [`Sound`] text. Spans stay local. What is wrong now is wrong between statements.
pub(crate) fn parse<'a>(
    text: &'a str,
    base: usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Spanned<DeTable<'a>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let what = text.get(span.clone()).unwrap_or_default();
        let message = match error.message() {
            "duplicate key" => format!("`{what}` is given twice"),
            other => other.to_owned(),
        };
        diagnostics.push(Diagnostic::new(
            &(base + span.start..base + span.end),
            message,
        ));
    }
    root
}

/// A statement that does not parse.
struct Broken {
    range: Range<usize>,
    error: toml::de::Error,
    /// Offset of the header above it (0 for the root) and its key, when that can be seen.
    table: usize,
    key: Option<String>,
    loses_tables: bool,
    section: Section,
    /// Up to here everything belongs to a broken header and is not read.
    blank_until: usize,
}

impl Broken {
    fn diagnostic(&self, base: usize) -> Diagnostic {
        let span = self.error.span().unwrap_or_default();
        let at = base + self.range.start;
        Diagnostic::new(&(at + span.start..at + span.end), self.error.message())
    }

    fn remember(&self, base: usize, lost: &mut Lost) {
        lost.tables |= self.loses_tables;
        if let Some(key) = &self.key {
            lost.key(base + self.table, key);
        }
    }
}

fn broken_statements(text: &str) -> Vec<Broken> {
    let starts = statement_starts(text);
    let end_of = |index: usize| starts.get(index).copied().unwrap_or(text.len());
    let mut broken = Vec::new();
    let mut header = "";
    let mut table = 0;
    let mut index = 0;
    while index < starts.len() {
        let start = starts[index];
        let line = text[start..end_of(index + 1)].trim_start();
        let is_header = line.starts_with('[');
        if is_header {
            header = line;
            table = end_of(index + 1) - line.len();
        }
        let error = match first_error(&text[start..end_of(index + 1)]) {
            None => {
                index += 1;
                continue;
            }
            Some(error) => error,
        };
        if let Some(next) = sound_until(text, &starts, index) {
            index = next;
            continue;
        }
        index += 1;
        let range = start..end_of(index);
        if is_header {
            // Its keys must not fall to the table above.
            let name = root_name(header);
            while index < starts.len() && !begins_other_table(&text[starts[index]..], name) {
                index += 1;
            }
        }
        let section = Section::of(root_name(header));
        let key = (!is_header).then(|| key_of(line)).flatten();
        let is_last = broken.len() + 1 == BROKEN_STATEMENTS_MAX;
        let blank_until = if is_last { text.len() } else { end_of(index) };
        broken.push(Broken {
            range,
            error,
            table,
            key,
            loses_tables: is_header || is_last,
            section,
            blank_until,
        });
        if is_last {
            break;
        }
    }
    broken
}

/// Offsets of the lines that look like the beginning of a statement; the first is always 0.
fn statement_starts(text: &str) -> Vec<usize> {
    let mut starts = vec![0];
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start();
        if offset > 0 && (content.starts_with('[') || key_of(content).is_some()) {
            starts.push(offset);
        }
        offset += line.len();
    }
    starts
}

/// The key of `key = ...`, without quotes.
fn key_of(line: &str) -> Option<String> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let plain = |c: char| c.is_alphanumeric() || "_-.\"' ".contains(c);
    (!key.is_empty() && key.chars().all(plain)).then(|| key.trim_matches(['"', '\'']).to_owned())
}

/// `site` of `[[site.route]]`.
fn root_name(header: &str) -> &str {
    let name = header.trim_start_matches(['[', ' ', '\t']);
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
    &name[..end.unwrap_or(name.len())]
}

fn begins_other_table(statement: &str, name: &str) -> bool {
    let line = statement.trim_start();
    let path = line.trim_start_matches(['[', ' ', '\t']);
    let below = path
        .strip_prefix(name)
        .is_some_and(|rest| rest.trim_start().starts_with('.'));
    line.starts_with('[') && (name.is_empty() || !below)
}

fn first_error(text: &str) -> Option<toml::de::Error> {
    let (_, errors) = DeTable::parse_recoverable(text);
    errors
        .into_iter()
        .min_by_key(|error| error.span().map_or(usize::MAX, |span| span.start))
}

/// Where the statement at `index` ends when it is sound but some of its lines look like statements.
fn sound_until(text: &str, starts: &[usize], index: usize) -> Option<usize> {
    let first = &text[starts[index]..starts.get(index + 1).copied().unwrap_or(text.len())];
    let opens = first.matches(['[', '{']).count() > first.matches([']', '}']).count();
    if !opens && !first.contains("\"\"\"") && !first.contains("'''") {
        return None;
    }
    (index + 2..=starts.len().min(index + STATEMENT_LINES_MAX)).find(|&next| {
        let end = starts.get(next).copied().unwrap_or(text.len());
        first_error(&text[starts[index]..end]).is_none()
    })
}

/// `text` with spaces in place of what is broken, at the same offsets.
fn blanked(text: &str, broken: &[Broken]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for statement in broken {
        for byte in &mut bytes[statement.range.start..statement.blank_until] {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b' ';
            }
        }
    }
    // Whole characters were replaced, byte by byte, so this cannot lose anything.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `offset message` of every broken statement, and what is left.
    fn sound_of(text: &str) -> (Vec<usize>, String) {
        let sound = sound(text, 0, &mut Lost::default());
        let places = sound
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.span.start);
        let left: Vec<_> = sound.text.split_whitespace().collect();
        (places.collect(), left.join(" "))
    }

    #[test]
    fn a_broken_statement_costs_itself_and_nothing_else() {
        assert_eq!(sound_of("a = \"x\nb = 1\n"), (vec![6], "b = 1".to_owned()));
        assert_eq!(sound_of("a = [1, 2\n[t]\nb = 1\n").1, "[t] b = 1");
        assert_eq!(sound_of("a = x\nb = y\nc = 1\n").0.len(), 2);
    }

    #[test]
    fn a_broken_header_costs_its_table_and_what_is_below_it() {
        let text = "[ok]\na = 1\n[[bad]\nb = 1\n[[bad.below]]\nc = 1\n[next]\nd = 1\n";
        let mut lost = Lost::default();
        let sound = sound(text, 0, &mut lost);
        let left: Vec<_> = sound.text.split_whitespace().collect();
        assert_eq!(left.join(" "), "[ok] a = 1 [next] d = 1");
        assert!(lost.tables && sound.diagnostics.len() == 1);
    }

    #[test]
    fn lines_inside_lists_and_strings_are_no_statements() {
        let text = "a = [\n[1],\n{ b = 2 },\n]\nc = \"\"\"\n[x]\ny = z\n\"\"\"\nd = broken\n";
        assert_eq!(sound_of(text).0.len(), 1);
    }

    #[test]
    fn what_is_not_toml_at_all_ends_soon() {
        let (places, left) = sound_of(&"a = b = c\n".repeat(100_000));
        assert_eq!((places.len(), left.as_str()), (BROKEN_STATEMENTS_MAX, ""));
        assert_eq!(
            sound_of(&"a = [\n".repeat(2_000)).0.len(),
            BROKEN_STATEMENTS_MAX
        );
    }

    #[test]
    fn what_was_lost_is_remembered() {
        let mut lost = Lost::default();
        sound("x = 1\n[t]\na = b\n", 10, &mut lost);
        assert!(lost.has(16, "a") && !lost.has(10, "a") && !lost.tables);
    }
}
