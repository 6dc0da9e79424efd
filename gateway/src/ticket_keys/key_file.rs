//! Files of secret keys: one a line, 32 bytes in base64 or hex, `#` begins a comment.
//!
//! A file that others may read is refused: whoever has a ticket key reads every session it sealed. No error shows
//! what stands in a line.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// 32 secret bytes.
pub(super) type Bytes32 = Zeroizing<[u8; 32]>;

/// A file of this many keys is a few KiB; a larger one is the wrong file.
const SIZE_MAX: u64 = 64 * 1024;

/// The text of a key file, and whether it may be used.
pub(super) struct KeyFile {
    pub(super) text: Zeroizing<String>,
}

impl KeyFile {
    /// Reads the text, if nobody else may.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.mode() & 0o077 != 0 {
            return Err(format!(
                "{}: others may read it (mode {:04o}): chmod 600 {}",
                path.display(),
                about.mode() & 0o7777,
                path.display()
            ));
        }
        if about.len() > SIZE_MAX {
            return Err(format!("{}: larger than {SIZE_MAX} bytes", path.display()));
        }
        // Room for all of it, so that nothing is left behind where it was read to first.
        let room = usize::try_from(about.len()).unwrap_or_default() + 1;
        let mut text = Zeroizing::new(String::with_capacity(room));
        file.take(SIZE_MAX)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Ok(Self { text })
    }

    /// The keys, each with the number of its line.
    pub(super) fn keys(&self, path: &Path) -> Result<Vec<(usize, Bytes32)>, String> {
        let mut keys = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let key = parse(line).ok_or_else(|| {
                format!(
                    "{}, line {}: not 32 bytes in base64 or hex (portcullis tickets generate-key makes one)",
                    path.display(),
                    at + 1
                )
            })?;
            if keys.iter().any(|(_, known)| *known == key) {
                return Err(format!(
                    "{}, line {}: the same key a second time",
                    path.display(),
                    at + 1
                ));
            }
            keys.push((at + 1, key));
        }
        if keys.is_empty() {
            return Err(format!("{}: no key in it", path.display()));
        }
        Ok(keys)
    }
}

/// A new key as a line of a file, without its end.
///
/// # Errors
/// The system has no randomness.
pub fn generate_line() -> Result<Zeroizing<String>, String> {
    let mut secret = Zeroizing::new([0; 32]);
    rand::fill(&mut *secret).map_err(|_| "the system has no randomness".to_owned())?;
    Ok(Zeroizing::new(STANDARD.encode(*secret)))
}

/// Replaces a file at once and for good, readable by its owner alone. Where the path is a link, what it leads to
/// is replaced.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // It may not be there.
    }
    written?;
    // So that the name is there after a power cut as well.
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// 64 hexadecimal digits would be base64 as well, but of more bytes.
fn parse(line: &str) -> Option<Bytes32> {
    if line.len() == 64 {
        return from_hex(line.as_bytes());
    }
    let engine = match line.ends_with('=') {
        true => STANDARD,
        false => STANDARD_NO_PAD,
    };
    let bytes = Zeroizing::new(engine.decode(line).ok()?);
    Some(Zeroizing::new(<[u8; 32]>::try_from(bytes.as_slice()).ok()?))
}

fn from_hex(digits: &[u8]) -> Option<Bytes32> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        let both = value(&pair[0])? << 4 | value(&pair[1])?;
        *byte = u8::try_from(both).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keys(text: &str, mode: u32) -> Result<Vec<(usize, u8)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let keys = KeyFile::read(&path)?.keys(&path)?;
        Ok(keys.iter().map(|(line, key)| (*line, key[0])).collect())
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_line_and_not_its_text() {
        let (hex, short) = ("5a".repeat(32), "5a".repeat(31));
        for (text, line) in [
            (format!("{hex}\n{short}\n"), "line 2"),
            (format!("# one\n\n{}g{}\n", &short, "5"), "line 3"),
            ("WlpaWlpa\n".to_owned(), "line 1"),
            (format!("{hex}\n{hex}\n"), "line 2"),
            (format!("{}\n", "5a".repeat(33)), "line 1"),
            ("# none\n".to_owned(), "no key"),
            (String::new(), "no key"),
        ] {
            let error = keys(&text, 0o600).unwrap_err();
            assert!(error.contains(line), "{error}");
            assert!(
                !error.contains("5a5a") && !error.contains("WlpaWlpa"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_told_how_to_close_it() {
        for mode in [0o640, 0o604, 0o644, 0o610] {
            let error = keys(&"5a".repeat(32), mode).unwrap_err();
            assert!(error.contains("chmod 600"), "{mode:o}: {error}");
        }
        let large = "#\n".repeat(40_000);
        assert!(keys(&large, 0o600).unwrap_err().contains("larger"));
    }

    #[test]
    fn base64_and_hex_are_read_with_comments_around_them() {
        let line = generate_line().unwrap();
        let text = format!(
            "# newest\n{}  # from the vault\n\n{}\n",
            "A5".repeat(32),
            *line
        );
        let read = keys(&text, 0o400).unwrap();
        assert_eq!(read[0], (2, 0xa5));
        assert_eq!(read[1].0, 4);
        let unpadded = keys(line.trim_end_matches('='), 0o600).unwrap();
        assert_eq!(unpadded, [(1, read[1].1)]);
    }
}
