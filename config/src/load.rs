//! From a path to a checked configuration: files, includes, and one list of everything that is wrong.

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::Check;
use crate::document::RawConfig;
use crate::error::{ConfigError, ConfigErrors};
use crate::schema::SCHEMA;
use crate::shape::Shaper;
use crate::source::{Diagnostic, SourceFile, SourceMap};
use crate::syntax::Lost;
use crate::{Config, secret, syntax};

/// An include may include, so deep.
const INCLUDE_DEPTH_MAX: usize = 8;
/// All files of a configuration.
const FILES_MAX: usize = 256;
/// Bytes of one file.
const FILE_SIZE_MAX: u64 = 4 << 20;

impl Config {
    /// Reads `path` and everything it includes. On failure all mistakes in all files are returned.
    pub fn load(path: &Path) -> Result<(Config, SourceMap), ConfigErrors> {
        Config::load_with(path, &|name| std::env::var(name).ok())
    }

    /// [`Config::load`] with `env` in place of the environment of the process.
    pub fn load_with(
        path: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Config, SourceMap), ConfigErrors> {
        let mut loader = Loader {
            env,
            sources: SourceMap::default(),
            lost: Lost::default(),
            diagnostics: Vec::new(),
            root: DeTable::new(),
            seen: HashSet::new(),
        };
        if let Err(problem) = loader.file(path, 0) {
            let message = format!("cannot read the configuration: {problem}");
            return Err(ConfigError::without_place(path, message, None).into());
        }
        loader.finish()
    }
}

struct Loader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    sources: SourceMap,
    lost: Lost,
    diagnostics: Vec<Diagnostic>,
    /// Everything read so far.
    root: DeTable<'static>,
    /// Canonical paths, against circles.
    seen: HashSet<PathBuf>,
}

impl Loader<'_> {
    /// Reads one file and what it includes. An error is about the file as such.
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        if depth > INCLUDE_DEPTH_MAX {
            return Err(format!(
                "includes are nested deeper than {INCLUDE_DEPTH_MAX}"
            ));
        }
        if self.seen.len() >= FILES_MAX {
            return Err(format!(
                "a configuration may have {FILES_MAX} files at most"
            ));
        }
        let canonical = path.canonicalize().map_err(|error| error.to_string())?;
        if !self.seen.insert(canonical) {
            return Err(
                "this file was read already: it is included twice or in a circle".to_owned(),
            );
        }
        let text = read(path)?;
        let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
        let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();

        let base = self.sources.next_base();
        let sound = syntax::sound(&text, base, &mut self.lost);
        self.diagnostics.extend(sound.diagnostics);
        let parsed = syntax::parse(&sound.text, base, &mut self.diagnostics);
        let mut masks = sound.masks;
        masks.extend(secret::in_table(&text, parsed.get_ref(), base));
        let mut shaper = Shaper {
            text: &text,
            base,
            env: self.env,
            lost: &mut self.lost,
            diagnostics: &mut self.diagnostics,
        };
        let mut table = shaper.table(parsed, &SCHEMA).into_inner();
        let path = path.to_owned();
        self.sources.push(SourceFile {
            path: path.clone(),
            directory,
            text,
            base,
            masks,
        });

        let includes = table.remove("include");
        self.merge(table);
        if let Some(DeValue::Array(patterns)) = includes.map(Spanned::into_inner) {
            for pattern in patterns {
                if let DeValue::String(text) = pattern.get_ref() {
                    self.include(&path, text, &pattern.span(), depth + 1);
                }
            }
        }
        Ok(())
    }

    /// Reads the files `pattern` names, sorted.
    fn include(&mut self, from: &Path, pattern: &str, span: &Range<usize>, depth: usize) {
        let folder = from.parent().unwrap_or(Path::new(""));
        if !pattern.contains(['*', '?', '[']) {
            self.included(&folder.join(pattern), span, depth);
            return;
        }
        // Only the operator's own pattern is one; a folder called `a[1]` is not.
        let whole = match Path::new(pattern).is_absolute() {
            true => pattern.to_owned(),
            false => {
                let folder = glob::Pattern::escape(&folder.to_string_lossy());
                Path::new(&folder)
                    .join(pattern)
                    .to_string_lossy()
                    .into_owned()
            }
        };
        let options = glob::MatchOptions {
            require_literal_leading_dot: true,
            ..Default::default()
        };
        let paths = match glob::glob_with(&whole, options) {
            Ok(paths) => paths,
            Err(error) => {
                let message = format!("this is not a file pattern: {}", error.msg);
                self.diagnostics.push(Diagnostic::new(span, message));
                return;
            }
        };
        // One more than allowed is enough to notice.
        let mut files: Vec<PathBuf> = Vec::new();
        for path in paths.take(FILES_MAX + 1) {
            match path {
                Ok(path) => files.push(path),
                Err(error) => self
                    .diagnostics
                    .push(Diagnostic::new(span, error.to_string())),
            }
        }
        files.sort();
        for file in files {
            if !self.included(&file, span, depth) && self.seen.len() >= FILES_MAX {
                break;
            }
        }
    }

    /// Whether the file could be read.
    fn included(&mut self, path: &Path, span: &Range<usize>, depth: usize) -> bool {
        let Err(problem) = self.file(path, depth) else {
            return true;
        };
        let message = format!("cannot include `{}`: {problem}", path.display());
        self.diagnostics.push(Diagnostic::new(span, message));
        false
    }

    /// Lists are appended, tables are merged, and what can be there only once is not there twice.
    fn merge(&mut self, table: DeTable<'static>) {
        merge(&mut self.root, table, &mut self.diagnostics, 0);
    }

    fn finish(mut self) -> Result<(Config, SourceMap), ConfigErrors> {
        let root = Spanned::new(0..0, std::mem::take(&mut self.root));
        let config = match RawConfig::deserialize(toml::de::Deserializer::from(root)) {
            Ok(raw) => {
                let mut check = Check::new(&self.sources, &self.lost);
                let config = raw.check(&mut check);
                self.diagnostics.extend(check.into_diagnostics());
                config
            }
            // The shaper let pass what the types do not take. Say so rather than hide it.
            Err(error) => {
                let span = error.span().unwrap_or_default();
                self.diagnostics
                    .push(Diagnostic::new(&span, error.message()));
                None
            }
        };
        self.diagnostics
            .sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        self.diagnostics.dedup();
        let errors = self
            .diagnostics
            .iter()
            .map(|diagnostic| self.sources.error(diagnostic));
        match (ConfigErrors::collect(errors), config) {
            (None, Some(mut config)) => {
                config.places = self.sources.places();
                Ok((config, self.sources))
            }
            (Some(errors), _) => Err(errors),
            (None, None) => {
                let error = self
                    .sources
                    .report(0..0, "the configuration is incomplete", None);
                Err(error.into())
            }
        }
    }
}

/// The text of a regular file of bounded size.
fn read(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_SIZE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_SIZE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("it is not UTF-8 (line {line})")
    })
}

/// Merges two tables; below the first level (`[hsm]`, `[limits]`) a name can be given only once.
fn merge(
    into: &mut DeTable<'static>,
    from: DeTable<'static>,
    diagnostics: &mut Vec<Diagnostic>,
    level: usize,
) {
    for (key, value) in from {
        let Some(first) = into
            .get_key_value(key.get_ref().as_ref())
            .map(|(key, _)| key.span())
        else {
            into.insert(key, value);
            continue;
        };
        let Some(existing) = into.get_mut(key.get_ref().as_ref()) else {
            continue;
        };
        match (existing.get_mut(), value.into_inner()) {
            (DeValue::Array(items), DeValue::Array(more)) => {
                more.into_iter().for_each(|item| items.push(item));
            }
            (DeValue::Table(table), DeValue::Table(more)) if level == 0 => {
                merge(table, more, diagnostics, level + 1);
            }
            _ => {
                let message = format!("`{}` is given twice", key.get_ref());
                let mut diagnostic = Diagnostic::new(&key.span(), message);
                diagnostic.related(&first, "first here");
                diagnostics.push(diagnostic);
            }
        }
    }
}
