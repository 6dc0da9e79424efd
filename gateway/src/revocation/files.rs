//! The operator's files with lists: read at the start, looked at for changes afterwards.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_config::CrlSettings;

use super::error::{Problem, RevocationError};
use super::index::List;
use super::renew::Proof;
use super::source::{self, Stamp};
use super::stats::Counters;

/// One configured path and what was read there.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    /// The files as they were when the lists were read.
    read: Vec<Stamp>,
    /// The files as they were when they were refused, so that this is told once.
    refused: Option<Vec<Stamp>>,
    lists: Vec<Arc<List>>,
}

/// Everything read from files.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(Vec<Place>);

/// Says who signed a list.
type Prove<'a> = &'a dyn Fn(&List) -> Result<Proof, Problem>;

impl Files {
    /// Reads everything, or tells every file that cannot be used.
    pub(super) fn read(
        settings: &CrlSettings,
        prove: Prove<'_>,
    ) -> Result<Self, Vec<RevocationError>> {
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for path in &settings.files {
            let place = Place {
                path: path.value.clone(),
                read: Vec::new(),
                refused: None,
                lists: Vec::new(),
            };
            match place.read_again(settings, prove) {
                Ok(place) => places.push(place),
                Err((origin, problem)) => errors.push(RevocationError {
                    origin: origin.display().to_string(),
                    span: path.span.clone(),
                    problem,
                }),
            }
        }
        if errors.is_empty() {
            Ok(Self(places))
        } else {
            Err(errors)
        }
    }

    /// Reads what changed; tells whether something did. A file that is broken now leaves what it was.
    pub(super) fn look(
        &mut self,
        settings: &CrlSettings,
        counters: &Counters,
        prove: Prove<'_>,
    ) -> bool {
        let mut changed = false;
        for place in &mut self.0 {
            let stamps = source::files(&place.path);
            let seen = stamps.as_ref().ok().cloned().unwrap_or_default();
            if seen == place.read && stamps.is_ok() {
                place.refused = None;
                continue;
            }
            if place.refused.as_ref() == Some(&seen) {
                continue;
            }
            match place.read_again(settings, prove) {
                Ok(new) => {
                    tracing::info!(path = %new.path.display(), "revocation lists were read again");
                    *place = new;
                    changed = true;
                }
                Err((path, problem)) => {
                    counters.refused();
                    let path = path.display();
                    tracing::error!(%path, %problem, "a revocation list is not used; the one before stays");
                    place.refused = Some(seen);
                }
            }
        }
        changed
    }

    /// Every list.
    pub(super) fn lists(&self) -> impl Iterator<Item = &Arc<List>> {
        self.0.iter().flat_map(|place| &place.lists)
    }
}

impl Place {
    fn read_again(
        &self,
        settings: &CrlSettings,
        prove: Prove<'_>,
    ) -> Result<Self, (PathBuf, Problem)> {
        let failed = |problem| (self.path.clone(), problem);
        // Stamps first: what changes while it is read is read once more the next time.
        let stamps = source::files(&self.path).map_err(failed)?;
        let mut lists = Vec::new();
        for stamp in &stamps {
            let path = stamp.path();
            let failed = |problem| (path.to_owned(), problem);
            let read = source::read_file(path, settings.max_size).map_err(failed)?;
            for list in read {
                prove(&list).map_err(failed)?;
                lists.push(list);
            }
        }
        Ok(Self {
            path: self.path.clone(),
            read: stamps,
            refused: None,
            lists,
        })
    }
}
