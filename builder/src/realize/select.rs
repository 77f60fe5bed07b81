//! Which file a pin means: remembered, else chosen from what the indexes list, else (offline) from the store.

use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::wheel::TagSet;
use pip_accel_store::Object;

use super::engine::{Engine, store_error};
use super::error::ObtainError;
use super::pin::{ChosenKind, DirectFile, Pin, PinKey, Selection};
use super::profile::Activity;
use crate::index::{self, ChoiceRequest, DownloadError, FileOrigin, PublishedFile, choose};
use crate::resolve::chosen_for;
use crate::session::Session;

/// Namespace of the remembered selections.
pub(crate) const MEMO: &str = "selection/1";

/// The selection that was remembered for a pin.
///
/// # Errors
/// The store's.
pub(crate) fn remembered(session: &Session, key: &PinKey) -> Result<Option<Selection>, pip_accel_store::StoreError> {
    let value = session.store.memo_find(MEMO, key.as_bytes())?;
    // A value that can't be read was written by another version: it is asked again.
    Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

impl Engine {
    /// The file for `pin`, and where it is published unless the selection was remembered.
    pub(crate) async fn select(
        self: &Arc<Self>,
        pin: &Pin,
        key: &PinKey,
    ) -> Result<(Selection, Option<PublishedFile>), ObtainError> {
        if let Some(checkout) = &pin.checkout {
            return Ok((self.select_checkout(pin, key, checkout).await?, None));
        }
        // Without hashes an index may answer differently each time; only offline the last answer has to do.
        let may_remember = !pin.hashes.is_empty();
        if (may_remember || self.session.options.offline)
            && let Some(selection) = remembered(&self.session, key).map_err(store_error(pin))?
        {
            return Ok((selection, None));
        }
        let (selection, published) = if self.session.options.offline {
            self.select_offline(pin).await?
        } else {
            let (selection, file) = self.select_from_index(pin).await?;
            (selection, Some(file))
        };
        // What is chosen from the store alone may not be the best file: only the index's answer is remembered.
        if published.is_some() {
            let value = serde_json::to_vec(&selection).expect("a selection has no map with odd keys");
            self.session.store.memo_put(MEMO, key.as_bytes(), &value).map_err(store_error(pin))?;
        }
        Ok((selection, published))
    }

    /// From the places of this machine, which are all that the settings have without a network; else from the store.
    async fn select_offline(self: &Arc<Self>, pin: &Pin) -> Result<(Selection, Option<PublishedFile>), ObtainError> {
        let is_remote = pin.direct.as_ref().is_some_and(|direct| !direct.url.is_file())
            || pin.files.iter().any(|file| !file.url.is_file());
        if !is_remote && !self.candidates(pin).await?.is_empty() {
            match self.select_from_index(pin).await {
                Ok((selection, file)) => return Ok((selection, Some(file))),
                Err(ObtainError::Choice { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.select_from_store(pin)?, None))
    }

    async fn select_from_index(self: &Arc<Self>, pin: &Pin) -> Result<(Selection, PublishedFile), ObtainError> {
        let files = self.candidates(pin).await?;
        let (selection, file, fallbacks) = self.choose(pin, &files)?;
        if file.sha256.is_some() {
            return Ok((selection, file));
        }
        self.select_by_content(pin, file, fallbacks).await
    }

    /// A place without hashes: only the file itself tells whether it is one of the lock's.
    async fn select_by_content(
        self: &Arc<Self>,
        pin: &Pin,
        best: PublishedFile,
        fallbacks: Vec<PublishedFile>,
    ) -> Result<(Selection, PublishedFile), ObtainError> {
        if let Some(selection) = self.stored_selection(pin, &best)? {
            return Ok((selection, best));
        }
        let mut first_error = None;
        for file in std::iter::once(best).chain(fallbacks) {
            let mut selection = self.selection(pin, &file, kind_of(&file.file_name))?;
            if file.sha256.is_some() {
                return Ok((selection, file));
            }
            match self.download_any(pin, &file, &pin.hashes).await {
                Ok((new, sha256)) => {
                    self.publish(pin, vec![new]).await?;
                    selection.sha256 = sha256;
                    return Ok((selection, file));
                }
                Err(error @ ObtainError::Download { .. }) if is_mismatch(&error) => {
                    first_error.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first_error.unwrap_or_else(|| ObtainError::Unhashed { pin: pin.to_string() }))
    }

    /// The file of that name in the store, if it is one of the lock's.
    fn stored_selection(&self, pin: &Pin, file: &PublishedFile) -> Result<Option<Selection>, ObtainError> {
        let sources = self.session.lease.take_sources(&pin.hashes).map_err(store_error(pin))?;
        let found = sources.iter().find_map(|object| match &object.provenance {
            Provenance::Source { file_name, sha256 } if *file_name == file.file_name => Some(*sha256),
            _ => None,
        });
        let Some(sha256) = found else { return Ok(None) };
        Ok(Some(Selection { sha256, ..self.selection(pin, file, kind_of(&file.file_name))? }))
    }

    /// Where the already selected file is published.
    pub(crate) async fn published_file(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
    ) -> Result<PublishedFile, ObtainError> {
        let files = self.candidates(pin).await?;
        let same = |file: &&PublishedFile| {
            file.sha256 == Some(selection.sha256) || (file.sha256.is_none() && file.file_name == selection.file_name)
        };
        match files.iter().find(same) {
            Some(file) => Ok(file.clone()),
            None if self.session.options.offline => Err(ObtainError::Offline { pin: pin.to_string() }),
            None => self.choose(pin, &files).map(|(_, file, _)| file),
        }
    }

    async fn candidates(self: &Arc<Self>, pin: &Pin) -> Result<Arc<Vec<PublishedFile>>, ObtainError> {
        if let Some(direct) = &pin.direct {
            return Ok(Arc::new(vec![direct_file(direct, pin)]));
        }
        if !pin.files.is_empty() {
            return Ok(Arc::clone(&pin.files));
        }
        let client = self.client(pin).await?;
        let _running = self.work.begin(Activity::Index);
        let cancel = self.cancel();
        let files = tokio::select! {
            files = client.project_files(&pin.name) => files,
            () = cancel.cancelled() => return Err(ObtainError::Cancelled { pin: pin.to_string() }),
        };
        files.map_err(|source| ObtainError::Index { pin: pin.to_string(), source: Arc::new(source) })
    }

    /// The best file, and those to try where its place tells no hash and it turns out to be another one.
    fn choose(
        &self,
        pin: &Pin,
        files: &[PublishedFile],
    ) -> Result<(Selection, PublishedFile, Vec<PublishedFile>), ObtainError> {
        if let (Some(direct), [file]) = (&pin.direct, files) {
            return Ok((self.selection(pin, file, kind_of(&direct.file_name))?, file.clone(), Vec::new()));
        }
        let version = pin.label_version();
        let interpreter = &self.session.python.interpreter;
        let other = chosen_for(pin, interpreter);
        let other_tags = other.as_ref().map(TagSet::for_interpreter);
        let request = ChoiceRequest {
            name: &pin.name,
            version: &version,
            hashes: &pin.hashes,
            tags: other_tags.as_ref().unwrap_or_else(|| self.session.tags()),
            allow_wheel: pin.formats.wheels,
            allow_sdist: pin.formats.sdists,
            python_version: other.as_ref().unwrap_or(interpreter).version,
        };
        let choice = choose(files, &request)
            .map_err(|source| ObtainError::Choice { pin: pin.to_string(), source: Arc::new(source) })?;
        let kind = match choice.kind {
            index::ChosenKind::Wheel(_) => ChosenKind::Wheel,
            index::ChosenKind::Sdist => ChosenKind::Sdist,
        };
        Ok((self.selection(pin, &choice.file, kind)?, choice.file, choice.fallbacks))
    }

    fn selection(&self, pin: &Pin, file: &PublishedFile, kind: ChosenKind) -> Result<Selection, ObtainError> {
        // Without a digest from the index the first of the lock stands in until the file is there; never empty.
        let sha256 = file.sha256.or_else(|| pin.hashes.first().copied());
        let sha256 = sha256.ok_or_else(|| ObtainError::Unhashed { pin: pin.to_string() })?;
        Ok(Selection { file_name: file.file_name.clone(), sha256, kind, yanked: file.yanked.clone() })
    }

    fn select_from_store(&self, pin: &Pin) -> Result<Selection, ObtainError> {
        let sources = self.session.lease.take_sources(&pin.hashes).map_err(store_error(pin))?;
        let mut files = Vec::new();
        for object in &sources {
            if let Provenance::Source { file_name, sha256 } = &object.provenance {
                files.extend(stored_file(object, file_name, *sha256));
            }
        }
        if files.is_empty() {
            return Err(ObtainError::Offline { pin: pin.to_string() });
        }
        self.choose(pin, &files).map(|(selection, _, _)| selection)
    }
}

fn kind_of(file_name: &str) -> ChosenKind {
    if file_name.ends_with(".whl") { ChosenKind::Wheel } else { ChosenKind::Sdist }
}

fn is_mismatch(error: &ObtainError) -> bool {
    matches!(error, ObtainError::Download { source, .. } if matches!(**source, DownloadError::HashMismatch { .. }))
}

fn direct_file(direct: &DirectFile, pin: &Pin) -> PublishedFile {
    PublishedFile {
        file_name: direct.file_name.clone(),
        url: direct.url.clone(),
        sha256: pin.hashes.first().copied().filter(|_| pin.hashes.len() == 1),
        size: None,
        requires_python: None,
        yanked: None,
        upload_time: None,
        origin: FileOrigin::Direct,
    }
}

/// A source object as if it were published.
fn stored_file(object: &Object, file_name: &str, sha256: Sha256Digest) -> Option<PublishedFile> {
    let url = url::Url::from_file_path(object.path.join(file_name)).ok()?;
    Some(PublishedFile { sha256: Some(sha256), ..PublishedFile::direct(url)? })
}
