//! Reports as files: JSON, written whole or not at all.
//!
//! A file of another format is refused rather than half understood.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::model::{FORMAT, Machine, Report, Run};

impl Report {
    /// A report of this machine.
    pub fn here(runs: Vec<Run>) -> Self {
        Self {
            format: FORMAT,
            machine: Machine::here(),
            runs,
        }
    }

    /// Reads a report.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", path.display()))
    }

    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec(self).context("write the report as JSON")?;
        write_whole(path, &text)
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let Versioned { format } =
            serde_json::from_slice(text).context("this is no report of portcullis-bench")?;
        ensure!(
            format == FORMAT,
            "its format is {format}, this program reads {FORMAT}: take the program that wrote it"
        );
        serde_json::from_slice(text).context("this report is damaged")
    }
}

/// Writes beside the file first, so that nobody finds half of it.
pub fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> anyhow::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(content)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_is_no_report_is_refused() {
        for text in ["", "[]", "{}", "{\"format\": 1}", "{\"format\": \"1\"}"] {
            assert!(Report::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_report_of_another_format_is_refused() {
        let told = Report::parse(b"{\"format\": 2, \"runs\": []}").unwrap_err();
        assert!(told.to_string().contains("its format is 2"), "{told}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let told = sample::single().write(Path::new("/nowhere/a.json"));
        assert!(told.unwrap_err().to_string().contains("/nowhere/a.json"));
    }

    #[test]
    fn a_report_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        for report in [sample::single(), sample::peers()] {
            report.write(&path).unwrap();
            assert_eq!(Report::read(&path).unwrap(), report);
        }
    }
}
