//! Checkouts for the engine: what their archive is, and the archive itself as an object of the store.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::manifest::{EntryPath, Provenance};
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_store::{NewObject, StoreError};

use super::archive::archive_name;
use super::error::CheckoutError;
use super::export::FetchedCommit;
use super::git::Git;
use super::git_url::{GitCommit, GitReference};
use super::repository::{remote_refs, resolve};
use super::survey::{listing, scratch};
use super::{Checkout, CheckoutPlace};
use crate::build::built_before;
use crate::event::Event;
use crate::realize::engine::{Engine, joined, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::{ChosenKind, Pin, PinKey, Selection};
use crate::realize::profile::Activity;
use crate::realize::remembered_selection;
use crate::realize::schedule::Place;
use crate::session::Session;

/// Namespace of the archives of commits, whichever interpreter they are for.
const MEMO: &str = "git-source/1";

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 256 << 10;

/// The commit that a reference means now: a full one is itself, a branch or tag is asked for.
///
/// # Errors
/// When the repository can't be asked, or has no such revision.
pub async fn resolve_reference(session: &Session, reference: &GitReference) -> Result<GitCommit, CheckoutError> {
    if let Some(commit) = reference.commit() {
        return Ok(commit);
    }
    let git = Git::of(session)?;
    let scratch = scratch(session)?;
    let refs = remote_refs(&git, (&reference.repository, scratch.path()), &session.cancel).await?;
    Ok(reference.at(resolve(reference, &refs)?))
}

/// The selection that a pin means by itself: what a directory was found to hold, or where an editable is.
pub(crate) fn fixed_selection(pin: &Pin) -> Option<Selection> {
    let checkout = pin.checkout.as_ref()?;
    let (file_name, sha256) = match &checkout.place {
        CheckoutPlace::Git(_) => return None,
        CheckoutPlace::Directory(directory) => (archive_name(&pin.name), directory.sha256),
        CheckoutPlace::Editable(editable) => (format!("{}.editable", pin.name), editable.sha256),
    };
    Some(selection(file_name, sha256))
}

fn selection(file_name: String, sha256: Sha256Digest) -> Selection {
    Selection { file_name, sha256, kind: ChosenKind::Sdist, yanked: None }
}

fn memo_key(pin: &Pin, commit: &GitCommit) -> [u8; 32] {
    let mut encoder = Encoder::for_domain("pip-accel/git-source-memo/1");
    encoder.text(pin.name.as_str()).text(&commit.identity());
    encoder.finish()
}

fn failed(pin: &Pin) -> impl Fn(CheckoutError) -> ObtainError + use<> {
    let pin = pin.to_string();
    move |source| match source {
        CheckoutError::Cancelled => ObtainError::Cancelled { pin: pin.clone() },
        source => ObtainError::Checkout { pin: pin.clone(), source: Arc::new(source) },
    }
}

impl Engine {
    /// The archive that a checkout means; a commit is fetched unless the store has what follows from it.
    pub(crate) async fn select_checkout(
        self: &Arc<Self>,
        pin: &Pin,
        key: &PinKey,
        checkout: &Checkout,
    ) -> Result<Selection, ObtainError> {
        let CheckoutPlace::Git(commit) = &checkout.place else {
            return fixed_selection(pin).ok_or_else(|| ObtainError::Worker { pin: pin.to_string() });
        };
        if let Some(selection) = self.fetched_before(pin, (key, commit))? {
            return Ok(selection);
        }
        if self.session.options.offline && !commit.repository.is_file() {
            return Err(ObtainError::Offline { pin: pin.to_string() });
        }
        let _lane = self.permits.acquire(Place::Lane).await;
        let lock = self.lock(pin, &format!("git {}", commit.identity())).await?;
        if let Some(selection) = self.fetched_before(pin, (key, commit))? {
            return Ok(selection);
        }
        let new = self.pack_commit(pin, commit).await?;
        let Provenance::Source { file_name, sha256 } = &new.provenance else {
            return Err(ObtainError::Worker { pin: pin.to_string() });
        };
        let selection = selection(file_name.clone(), *sha256);
        self.publish(pin, vec![new]).await?;
        let value = serde_json::to_vec(&selection).expect("a selection has no map with odd keys");
        self.session.store.memo_put(MEMO, &memo_key(pin, commit), &value).map_err(store_error(pin))?;
        self.session
            .store
            .memo_put(crate::realize::SELECTION_MEMO, key.as_bytes(), &value)
            .map_err(store_error(pin))?;
        drop(lock);
        Ok(selection)
    }

    /// What is remembered of a commit, as long as its archive or its build is there.
    fn fetched_before(
        self: &Arc<Self>,
        pin: &Pin,
        (key, commit): (&PinKey, &GitCommit),
    ) -> Result<Option<Selection>, ObtainError> {
        let error = store_error(pin);
        let store = &self.session.store;
        let of_pin = remembered_selection(&self.session, key).map_err(&error)?;
        let of_commit = match store.memo_find(MEMO, &memo_key(pin, commit)).map_err(&error)? {
            Some(value) => serde_json::from_slice::<Selection>(&value).ok(),
            None => None,
        };
        for selection in of_pin.iter().chain(&of_commit) {
            let has_source = self.session.lease.take_source(&selection.sha256).map_err(&error)?.is_some();
            if has_source || built_before(self, pin, selection)?.is_some() {
                if of_pin.as_ref() != Some(selection) {
                    let value = serde_json::to_vec(selection).expect("a selection has no map with odd keys");
                    store.memo_put(crate::realize::SELECTION_MEMO, key.as_bytes(), &value).map_err(&error)?;
                }
                return Ok(Some(selection.clone()));
            }
        }
        Ok(None)
    }

    /// The archive of `selection`, made again.
    pub(crate) async fn pack_checkout(
        self: &Arc<Self>,
        pin: &Pin,
        checkout: &Checkout,
        selection: &Selection,
    ) -> Result<NewObject, ObtainError> {
        let new = match &checkout.place {
            CheckoutPlace::Git(commit) if self.session.options.offline && !commit.repository.is_file() => {
                return Err(ObtainError::Offline { pin: pin.to_string() });
            }
            CheckoutPlace::Git(commit) => self.pack_commit(pin, commit).await?,
            CheckoutPlace::Directory(directory) => self.pack_directory(pin, &directory.path).await?,
            // Never asked for: an editable has no archive.
            CheckoutPlace::Editable(_) => return Err(ObtainError::Worker { pin: pin.to_string() }),
        };
        match &new.provenance {
            Provenance::Source { sha256, .. } if *sha256 == selection.sha256 => Ok(new),
            _ => Err(failed(pin)(CheckoutError::Changed { path: checkout.place.to_string().into() })),
        }
    }

    async fn pack_commit(self: &Arc<Self>, pin: &Pin, commit: &GitCommit) -> Result<NewObject, ObtainError> {
        self.make_room().await;
        let failed = failed(pin);
        let _running = self.work.begin(Activity::Download);
        let git = Git::of(&self.session).map_err(&failed)?;
        let scratch = scratch(&self.session).map_err(&failed)?;
        let fetched = FetchedCommit::fetch(&git, commit, scratch.path(), &self.cancel()).await.map_err(&failed)?;
        let new = self.packed(pin, move |output| fetched.pack(output).map(|(_, sha256)| sha256)).await?;
        self.session.report(Event::Fetched { file_name: commit.to_string() });
        Ok(new)
    }

    async fn pack_directory(self: &Arc<Self>, pin: &Pin, path: &Path) -> Result<NewObject, ObtainError> {
        let (session, path) = (Arc::clone(&self.session), path.to_owned());
        self.packed(pin, move |output| {
            let scratch = scratch(&session)?;
            listing(&session, &path)?.pack(output, scratch.path()).map(|(_, sha256)| sha256)
        })
        .await
    }

    /// The source object whose file `write` writes.
    async fn packed(
        self: &Arc<Self>,
        pin: &Pin,
        write: impl FnOnce(&mut dyn Write) -> Result<Sha256Digest, CheckoutError> + Send + 'static,
    ) -> Result<NewObject, ObtainError> {
        let tree = self.session.store.new_tree().map_err(store_error(pin))?;
        let file_name = archive_name(&pin.name);
        let path =
            EntryPath::parse(&file_name).map_err(|source| ObtainError::FileName { pin: pin.to_string(), source })?;
        let failed = failed(pin);
        let pin_text = pin.to_string();
        let work = tokio::task::spawn_blocking(move || {
            let of_store = |source: StoreError| ObtainError::Store { pin: pin_text.clone(), source: Arc::new(source) };
            let mut file = BufWriter::with_capacity(WRITE_BYTES, tree.create_file(&path).map_err(of_store)?);
            let sha256 = write(&mut file).map_err(&failed)?;
            let place = tree.path();
            let file = file
                .into_inner()
                .map_err(|error| failed(CheckoutError::Io { path: place.to_owned(), source: error.into_error() }))?;
            file.finish(false).map_err(of_store)?;
            Ok((tree, sha256))
        });
        let (tree, sha256) = joined(work, &pin.to_string()).await?;
        let version = pin.label_version();
        Ok(NewObject {
            tree,
            path: StorePath::new(ObjectId::of_source(&file_name, &sha256), &pin.name, &version, Some("checkout")),
            name: pin.name.clone(),
            version,
            provenance: Provenance::Source { file_name, sha256 },
            references: Vec::new(),
            link_plan: None,
        })
    }
}
