//! Keys out of a file: the first line seals, all open.
//!
//! The file is looked at every second. One that is broken, or that others may read, never takes the place of a
//! good one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::key_file::{self, KeyFile};
use super::scope::scoped;
use super::source::Setup;
use super::{KeyRing, Look, Rotation, Status, TicketKey, TicketKeysError, Versions};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A file of keys.
pub struct KeysFile {
    setup: Setup,
    path: PathBuf,
    /// The text of the keys in force.
    text: Zeroizing<String>,
    seals: Option<Arc<TicketKey>>,
    error: Option<String>,
    failures: u64,
}

impl KeysFile {
    pub(super) fn new(setup: Setup, path: PathBuf) -> Self {
        Self {
            setup,
            path,
            text: Zeroizing::default(),
            seals: None,
            error: None,
            failures: 0,
        }
    }

    /// The first look; without a good file there is nothing to begin with.
    pub(super) async fn begin(&mut self, now: i64) -> Result<Look, TicketKeysError> {
        let look = self.look(now).await;
        match look.status.error {
            Some(error) => Err(TicketKeysError(error)),
            None => Ok(look),
        }
    }

    pub(super) async fn look(&mut self, now: i64) -> Look {
        let path = self.path.clone();
        // A file system may let one wait.
        let read = tokio::task::spawn_blocking(move || KeyFile::read(&path)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        let ring = read.and_then(|file| self.take(file, now));
        let (ring, error) = match ring {
            Ok(ring) => (ring, None),
            Err(error) => (None, Some(error)),
        };
        if error.is_some() && error != self.error {
            self.failures += 1;
        }
        self.error = error;
        Look {
            ring,
            status: self.status(),
            again: EVERY,
        }
    }

    pub(super) async fn rotate(&mut self, rotation: Rotation) -> Result<String, String> {
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || write_another(&path, rotation)).await;
        written.map_err(|error| error.to_string())??;
        let path = self.path.display();
        Ok(match rotation {
            Rotation::Keep => format!(
                "another key stands first in {path}, older tickets still open; give the file to the other gateways"
            ),
            Rotation::Revoke => format!(
                "another key stands alone in {path}, older tickets do not open any more; give the file to the other gateways"
            ),
        })
    }

    /// The ring of what stands in the file; none where that is in force.
    fn take(&mut self, file: KeyFile, now: i64) -> Result<Option<KeyRing>, String> {
        if *file.text == *self.text {
            return Ok(None);
        }
        let keys = file.keys(&self.path)?;
        let keys = keys.iter().map(|(line, secret)| {
            let secret = scoped(secret, &self.setup);
            let name = format!("line {line}");
            let period = (now, i64::MAX);
            Arc::new(TicketKey::new(&secret, Versions::All, name, period))
        });
        let mut keys = keys.collect::<Vec<_>>().into_iter();
        // One that sealed before goes on sealing since then.
        let first = keys.next();
        let before = self.seals.take();
        self.seals = match (first, before) {
            (Some(first), Some(before)) if first.id() == before.id() => Some(before),
            (first, _) => first,
        };
        self.text = file.text;
        Ok(Some(KeyRing::new(self.seals.clone(), keys.collect())))
    }

    fn status(&self) -> Status {
        Status {
            source: "file",
            place: self.path.display().to_string(),
            error: self.error.clone(),
            generation: None,
            epoch: None,
            failures: self.failures,
        }
    }
}

impl std::fmt::Debug for KeysFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeysFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Puts a new key first. A file that cannot be used is not added to, but a revocation replaces it.
fn write_another(path: &Path, rotation: Rotation) -> Result<(), String> {
    let line = key_file::generate_line()?;
    let text = match rotation {
        Rotation::Keep => {
            let file = KeyFile::read(path)?;
            file.keys(path)?;
            Zeroizing::new(format!("{}\n{}", *line, *file.text))
        }
        Rotation::Revoke => Zeroizing::new(format!("{}\n", *line)),
    };
    let written = key_file::replace(path, &text);
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str) {
        key_file::replace(path, text).unwrap();
    }

    fn setup(fleet: &str, generation: u64) -> Setup {
        Setup {
            fleet: fleet.to_owned(),
            generation,
            rotate: 100,
            lifetime: 100,
            max_outage: 0,
            clock_skew: 0,
        }
    }

    /// A source over a file with one key, and its first ring.
    async fn begun(folder: &Path) -> (KeysFile, KeyRing) {
        let path = folder.join("tickets.keys");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, &format!("{}\n", "01".repeat(32)));
        let mut source = KeysFile::new(setup("a", 0), path);
        let ring = source.begin(10).await.unwrap().ring.unwrap();
        (source, ring)
    }

    fn sealed(ring: &KeyRing) -> Vec<u8> {
        ring.seals().unwrap().seal(&[0; 32], &[]).unwrap()
    }

    fn opens(ring: &KeyRing, ticket: &[u8]) -> bool {
        ring.open(&[0; 32], ticket).is_ok()
    }

    #[tokio::test]
    async fn a_missing_file_is_no_beginning_and_a_broken_one_takes_nothing_away() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("none");
        let error = KeysFile::new(setup("a", 0), nowhere).begin(10).await;
        assert!(error.unwrap_err().0.contains("none"));

        let (mut source, _) = begun(folder.path()).await;
        assert!(!format!("{source:?}").contains("0101"));
        assert!(source.look(11).await.ring.is_none(), "nothing changed");
        write(
            &source.path.clone(),
            &format!("{}\nnonsense\n", "02".repeat(32)),
        );
        for now in 12..15 {
            let look = source.look(now).await;
            assert!(look.ring.is_none());
            assert!(look.status.error.unwrap().contains("line 2"));
            assert_eq!(look.status.failures, 1, "told once");
        }
        let error = source.rotate(Rotation::Keep).await.unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        write(&source.path.clone(), &format!("{}\n", "02".repeat(32)));
        let look = source.look(15).await;
        assert!(look.ring.is_some() && look.status.error.is_none());
    }

    #[tokio::test]
    async fn the_first_line_seals_and_every_line_opens() {
        let folder = tempfile::tempdir().unwrap();
        let (mut source, ring) = begun(folder.path()).await;
        let ticket = sealed(&ring);
        let both = format!("{}\n# older\n{}\n", "02".repeat(32), "01".repeat(32));
        write(&source.path.clone(), &both);
        let ring = source.look(20).await.ring.unwrap();
        assert_eq!(ring.seals().unwrap().period().0, 20);
        assert_ne!(sealed(&ring)[..9], ticket[..9]);
        assert!(opens(&ring, &ticket));
        // The older key leaves; the one that seals stays as it was.
        write(&source.path.clone(), &format!("{}\n", "02".repeat(32)));
        let ring = source.look(30).await.ring.unwrap();
        assert_eq!(ring.seals().unwrap().period().0, 20);
        assert!(!opens(&ring, &ticket));
    }

    #[tokio::test]
    async fn a_rotation_keeps_what_stands_there_and_a_revocation_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (mut source, ring) = begun(folder.path()).await;
        let first = sealed(&ring);
        source.rotate(Rotation::Keep).await.unwrap();
        let ring = source.look(11).await.ring.unwrap();
        let second = sealed(&ring);
        assert!(opens(&ring, &first) && ring.opens().len() == 2);
        assert_ne!(first[..9], second[..9]);
        source.rotate(Rotation::Revoke).await.unwrap();
        let ring = source.look(12).await.ring.unwrap();
        assert!(!opens(&ring, &first) && !opens(&ring, &second));
        let mode = fs::metadata(&source.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn the_same_file_in_another_fleet_or_generation_gives_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let (source, ring) = begun(folder.path()).await;
        let ticket = sealed(&ring);
        for (other, same) in [
            (setup("a", 0), true),
            (setup("b", 0), false),
            (setup("a", 1), false),
        ] {
            let mut other = KeysFile::new(other, source.path.clone());
            let ring = other.begin(10).await.unwrap().ring.unwrap();
            assert_eq!(opens(&ring, &ticket), same);
        }
    }
}
