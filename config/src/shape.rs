//! Fits a parsed file to the schema: unknown keys, wrong types and unknown words are reported and removed.
//!
//! What comes out always deserializes, so one mistake never hides another. On the way spans become global,
//! variables are replaced, a single value where a list is allowed becomes a list, and numbers become text
//! (the integer type of the parser cannot leave its source text).

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value as Schema;
use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::env::expand;
use crate::source::Diagnostic;
use crate::syntax::Lost;
use crate::value::{did_you_mean, quoted};

/// What fits one file.
pub(crate) struct Shaper<'a> {
    pub(crate) text: &'a str,
    pub(crate) base: usize,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) lost: &'a mut Lost,
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Shaper<'_> {
    /// The parts of `table` that fit `schema`.
    pub(crate) fn table(
        &mut self,
        table: Spanned<DeTable<'_>>,
        schema: &Schema,
    ) -> Spanned<DeTable<'static>> {
        let span = self.global(table.span());
        let mut fitting = DeTable::new();
        for (key, value) in table.into_inner() {
            let key_span = self.global(key.span());
            let name = key.into_inner();
            let Some(inner) = self.schema_of_key(&name, schema, &key_span, span.start) else {
                continue;
            };
            let mistakes = self.diagnostics.len();
            let value = self.value(value, inner);
            if self.diagnostics.len() > mistakes {
                self.lost.key(span.start, &name);
            }
            if let Some(value) = value {
                let key = Cow::Owned(name.into_owned());
                fitting.insert(Spanned::new(key_span, key), value);
            }
        }
        Spanned::new(span, fitting)
    }

    fn schema_of_key<'s>(
        &mut self,
        name: &str,
        schema: &'s Schema,
        key_span: &Range<usize>,
        table: usize,
    ) -> Option<&'s Schema> {
        let Some(properties) = schema.get("properties").and_then(Schema::as_object) else {
            return schema.get("additionalProperties");
        };
        if let Some(inner) = properties.get(name) {
            return Some(inner);
        }
        let mut diagnostic = Diagnostic::new(key_span, format!("unknown key {}", quoted(name)));
        match did_you_mean(name, properties.keys().map(String::as_str)) {
            Some(meant) => {
                // The key that was meant is not also missing.
                self.lost.key(table, meant);
                diagnostic.help(format!("did you mean `{meant}`?"));
            }
            None => {
                let known: Vec<_> = properties.keys().map(|key| format!("`{key}`")).collect();
                diagnostic.help(format!("known here: {}", known.join(", ")));
            }
        }
        self.diagnostics.push(diagnostic);
        None
    }

    fn value(
        &mut self,
        value: Spanned<DeValue<'_>>,
        schema: &Schema,
    ) -> Option<Spanned<DeValue<'static>>> {
        if let Some(choices) = schema.get("anyOf").and_then(Schema::as_array) {
            return self.one_or_many(value, choices);
        }
        let span = self.global(value.span());
        let allows = |kind: &str| match schema.get("type") {
            Some(Schema::String(only)) => only == kind,
            Some(Schema::Array(kinds)) => kinds.iter().any(|allowed| allowed == kind),
            _ => kind == "string",
        };
        let fitting = match value.into_inner() {
            DeValue::Table(table) if allows("object") => {
                let local = span.start - self.base..span.end - self.base;
                DeValue::Table(self.table(Spanned::new(local, table), schema).into_inner())
            }
            DeValue::Array(items) if allows("array") => {
                let inner = schema.get("items")?;
                let written = items.len();
                // An item that does not fit is left out: the others are still checked.
                let items = items.into_iter().filter_map(|item| self.value(item, inner));
                let items: DeArray<'static> = items.collect();
                // A list of which nothing is left is not an empty list.
                if items.is_empty() && written > 0 {
                    return None;
                }
                DeValue::Array(items)
            }
            DeValue::String(text) if allows("string") => {
                let text = self.expanded(&text, &span)?;
                self.known_word(&text, schema, &span)?;
                DeValue::String(Cow::Owned(text))
            }
            DeValue::Integer(number) if allows("integer") => {
                let number = u64::from_str_radix(number.as_str(), number.radix());
                let Ok(number) = number else {
                    let message = "expected a number that is not negative and fits in 64 bits";
                    self.diagnostics.push(Diagnostic::new(&span, message));
                    return None;
                };
                DeValue::String(Cow::Owned(number.to_string()))
            }
            DeValue::Float(number) if allows("number") => {
                DeValue::String(Cow::Owned(number.as_str().replace('_', "")))
            }
            DeValue::Integer(number) if allows("number") => {
                DeValue::String(Cow::Owned(number.as_str().replace('_', "")))
            }
            DeValue::Boolean(value) if allows("boolean") => DeValue::Boolean(value),
            other => {
                self.wrong_type(&other, schema, &span);
                return None;
            }
        };
        Some(Spanned::new(span, fitting))
    }

    fn one_or_many(
        &mut self,
        value: Spanned<DeValue<'_>>,
        choices: &[Schema],
    ) -> Option<Spanned<DeValue<'static>>> {
        let [one, many] = choices else { return None };
        if matches!(value.get_ref(), DeValue::Array(_)) {
            return self.value(value, many);
        }
        let value = self.value(value, one)?;
        let span = value.span();
        Some(Spanned::new(
            span,
            DeValue::Array([value].into_iter().collect()),
        ))
    }

    fn expanded(&mut self, text: &str, span: &Range<usize>) -> Option<String> {
        let error = match expand(text, self.env) {
            Ok(expanded) => return Some(expanded.into_owned()),
            Err(error) => error,
        };
        // Escapes can make the value differ from what is written; then the whole value is the place.
        let written = &self.text[span.start - self.base..span.end - self.base];
        let at = written
            .find(&text[error.at.clone()])
            .map_or(span.clone(), |found| {
                span.start + found..span.start + found + error.at.len()
            });
        self.diagnostics.push(Diagnostic {
            help: Some(error.help),
            ..Diagnostic::new(&at, error.message)
        });
        None
    }

    fn known_word(&mut self, text: &str, schema: &Schema, span: &Range<usize>) -> Option<()> {
        let words: Vec<&str> = if let Some(words) = schema.get("enum").and_then(Schema::as_array) {
            words.iter().filter_map(Schema::as_str).collect()
        } else if let Some(words) = schema.get("oneOf").and_then(Schema::as_array) {
            words
                .iter()
                .filter_map(|word| word.get("const")?.as_str())
                .collect()
        } else {
            return Some(());
        };
        if words.contains(&text) {
            return Some(());
        }
        let mut diagnostic = Diagnostic::new(span, format!("unknown value {}", quoted(text)));
        diagnostic.help(match did_you_mean(text, words.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("expected one of \"{}\"", words.join("\", \"")),
        });
        self.diagnostics.push(diagnostic);
        None
    }

    fn wrong_type(&mut self, value: &DeValue<'_>, schema: &Schema, span: &Range<usize>) {
        let expected = match schema.get("type") {
            Some(Schema::String(only)) => with_article(only).to_owned(),
            Some(Schema::Array(kinds)) => {
                let kinds: Vec<_> = kinds
                    .iter()
                    .filter_map(Schema::as_str)
                    .map(with_article)
                    .collect();
                kinds.join(" or ")
            }
            _ => with_article("string").to_owned(),
        };
        let found = with_article(value.type_str());
        let mut diagnostic = Diagnostic::new(span, format!("expected {expected}, found {found}"));
        match value {
            DeValue::String(text) if expected == "an integer" && text.parse::<u64>().is_ok() => {
                diagnostic.help("remove the quotes");
            }
            DeValue::Integer(_) if schema.get("examples").is_some() => {
                diagnostic.help("write it with its unit, as in \"5s\" or \"500ms\"");
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)
                if expected == "a string" =>
            {
                diagnostic.help("put it in quotes");
            }
            _ => {}
        }
        self.diagnostics.push(diagnostic);
    }

    fn global(&self, span: Range<usize>) -> Range<usize> {
        self.base + span.start..self.base + span.end
    }
}

fn with_article(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "an integer",
        "number" | "float" => "a number with a fraction",
        "boolean" => "`true` or `false`",
        "datetime" => "a date",
        "array" => "a list",
        _ => "a table",
    }
}
