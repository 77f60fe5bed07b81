//! Gets the trees of pins: from the store, else from a wheel, else from a build. Each tree once a run,
//! and by locks in the store once a machine, however many ask for it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::manifest::{EntryPath, Provenance};
use pip_accel_schema::store_path::{ObjectId, StorePath};
use pip_accel_schema::wheel::WheelFileName;
use pip_accel_store::{KeyLock, NewObject, Object, StoreError, TreeWriter};
use tokio::sync::OnceCell;

use super::course::Course;
use super::error::ObtainError;
use super::lacking::Lacking;
use super::permits::Permits;
use super::pin::{ChosenKind, Pin, PinKey, Selection};
use super::profile::{Activity, Work};
use super::publisher::Publisher;
pub use super::purpose::Purpose;
use super::room::Room;
use super::schedule::{Place, Places};
use super::unfinished::{Unfinished, source_name};
use crate::cancel::CancelToken;
use crate::event::Event;
use crate::index::{IndexClient, PublishedFile, sha256_of_file};
use crate::lock::LockedBuild;
use crate::python::bytecode::BytecodePool;
use crate::python::metadata::CoreMetadata;
use crate::python::requirement::satisfies_pin;
use crate::python::wheel::{ForeignPaths, ImportOptions, ImportedWheel, UnpackOptions, import_wheel};
use crate::session::Session;

/// A tree and how it was come by.
#[derive(Debug, Clone)]
pub struct Obtained {
    /// The object.
    pub object: Object,
    /// Whether it was there, fetched or built.
    pub how: How,
}

/// How a tree was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It was in the store, or the wheel that it was unpacked from was.
    Store,
    /// Its wheel was fetched and unpacked in this run.
    Fetched,
    /// It was built in this run.
    Built,
}

/// The future of a tree.
pub type Obtaining<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Obtained, ObtainError>> + Send + 'a>>;

/// Wheels and sources that are under way at once; more than any network or disk needs.
const LANES: usize = 64;

type Cell = Arc<OnceCell<Obtained>>;

/// The machinery of one run; made only when something is missing in the store.
pub struct Engine {
    pub(crate) session: Arc<Session>,
    publisher: Publisher,
    /// Bounds what is under way. A sandbox's place is held only while it runs: a build may wait for its inputs.
    pub(crate) permits: Permits,
    client: OnceCell<IndexClient>,
    bytecode: OnceLock<Arc<BytecodePool>>,
    /// By pin, and whether a build wants it: under [`Purpose::Fetch`] only what builds want is built.
    cells: Mutex<HashMap<(PinKey, bool), Cell>>,
    pub(super) lacking: Lacking,
    build_locks: Vec<LockedBuild>,
    pub(crate) purpose: Purpose,
    touched: Mutex<BTreeSet<ObjectId>>,
    /// Files that this run downloaded.
    downloaded: Mutex<BTreeSet<Sha256Digest>>,
    pub(crate) room: Room,
    pub(crate) unfinished: Unfinished,
    /// What the run's time goes to.
    pub(crate) work: Work,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes the machinery of a run; nothing is started yet.
    #[must_use]
    pub fn new(session: &Arc<Session>, build_locks: Vec<LockedBuild>, purpose: Purpose) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            publisher: Publisher::new(Arc::clone(session)),
            permits: Permits::new(Places {
                lanes: LANES,
                processors,
                sandboxes: session.options.jobs,
                sandbox_bytes: session.options.build_memory,
            }),
            client: OnceCell::new(),
            bytecode: OnceLock::new(),
            cells: Mutex::default(),
            lacking: Lacking::default(),
            build_locks,
            purpose,
            touched: Mutex::default(),
            downloaded: Mutex::default(),
            room: Room::default(),
            unfinished: Unfinished::default(),
            work: Work::default(),
            session: Arc::clone(session),
        })
    }

    /// The tree of `pin`, for the build `wanted_by` if there is one.
    ///
    /// # Errors
    /// See [`ObtainError`]; a failure is not remembered, the next caller tries again.
    pub fn tree<'a>(self: &'a Arc<Self>, pin: &'a Pin, wanted_by: Option<PinKey>) -> Obtaining<'a> {
        // Boxed and named: a build asks for further trees, and the compiler can't see through that circle.
        Box::pin(self.tree_once(pin, wanted_by))
    }

    async fn tree_once(self: &Arc<Self>, pin: &Pin, wanted_by: Option<PinKey>) -> Result<Obtained, ObtainError> {
        let key = pin.key(self.session.interpreter_identity());
        if let Some(parent) = wanted_by {
            self.note_need((parent, key), pin)?;
        }
        let cell = {
            let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry((key, wanted_by.is_some())).or_default())
        };
        let obtained =
            cell.get_or_try_init(|| self.obtain_unless_known(pin, &key, wanted_by.is_some())).await.cloned()?;
        self.touch(obtained.object.id);
        Ok(obtained)
    }

    /// What ends the work that the caller is at: of the package's course, or of the whole run.
    pub(crate) fn cancel(&self) -> CancelToken {
        Course::current().map_or_else(|| self.session.cancel.clone(), |course| course.cancel().clone())
    }

    pub(crate) fn touch(&self, id: ObjectId) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Every object that this run looked at: trees, sources, build requirements.
    #[must_use]
    pub fn touched(&self) -> Vec<ObjectId> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    pub(crate) fn build_locks(&self) -> &[LockedBuild] {
        &self.build_locks
    }

    /// Records that `parent` waits for `child`, which is wanted for `pin`, unless all would wait for each other.
    pub(crate) fn note_need(&self, (parent, child): (PinKey, PinKey), pin: &Pin) -> Result<(), ObtainError> {
        self.permits.wait(parent, child).map_err(|_| ObtainError::Cycle { pin: pin.to_string() })
    }

    pub(super) async fn obtain(
        self: &Arc<Self>,
        pin: &Pin,
        key: &PinKey,
        for_build: bool,
    ) -> Result<Obtained, ObtainError> {
        let cancelled = || ObtainError::Cancelled { pin: pin.to_string() };
        if self.cancel().is_cancelled() {
            return Err(cancelled());
        }
        let (selection, published) = self.select(pin, key).await?;
        if !for_build && let Some(course) = Course::current() {
            course.looked_up();
        }
        if self.cancel().is_cancelled() {
            return Err(cancelled());
        }
        if let Some(reason) = &selection.yanked {
            let reason = if reason.is_empty() { "no reason given" } else { reason };
            self.session.report(Event::Warning(format!("{pin} was withdrawn by its author: {reason}")));
        }
        match selection.kind {
            ChosenKind::Wheel => self.wheel(pin, &selection, published).await,
            ChosenKind::Sdist => {
                let build = for_build || self.purpose == Purpose::Build;
                crate::build::obtain_built(self, pin, (&selection, published), build).await
            }
        }
    }

    /// The tree of the wheel that `selection` names.
    pub(crate) async fn wheel(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
        published: Option<PublishedFile>,
    ) -> Result<Obtained, ObtainError> {
        let store_error = store_error(pin);
        let id = ObjectId::of_wheel(&selection.sha256, &self.session.python.interpreter.bytecode_tag);
        let take = || Ok::<_, StoreError>(self.session.lease.take(&[id])?.pop().flatten());
        if let Some(object) = take().map_err(&store_error)? {
            return stored(pin, selection, object);
        }
        // Nothing below asks for another lane, so waiting here can't be waited for.
        let _lane = self.permits.acquire(Place::Lane).await;
        let lock = self.lock(pin, &format!("wheel {id}")).await?;
        if let Some(object) = take().map_err(&store_error)? {
            return stored(pin, selection, object);
        }
        let file_name: WheelFileName = selection
            .file_name
            .parse()
            .map_err(|source| ObtainError::WheelName { pin: pin.to_string(), source: Arc::new(source) })?;
        let (archive, source) = self.source_archive(pin, selection, published).await?;
        let (tree, imported) = self.import(&selection.file_name, &file_name, archive, None).await?;
        check_identity(pin, selection, &imported.metadata)?;
        for warning in &imported.warnings {
            self.session.report(Event::Warning(format!("{}: {warning}", selection.file_name)));
        }
        let new = NewObject {
            tree,
            path: StorePath::new(id, &imported.metadata.name, &imported.metadata.version, Some(&file_name.tags_text())),
            name: imported.metadata.name,
            version: imported.metadata.version,
            provenance: Provenance::Wheel {
                file_name: selection.file_name.clone(),
                sha256: selection.sha256,
                bytecode_tag: self.session.python.interpreter.bytecode_tag.clone(),
            },
            references: Vec::new(),
            link_plan: Some(imported.link_plan),
        };
        let mut batch = vec![new];
        batch.extend(source);
        let published = self.publish(pin, batch).await?;
        drop(lock);
        let object = published.into_iter().next().expect("publishing returns an object for each it was given");
        let is_new = self.downloaded.lock().unwrap_or_else(PoisonError::into_inner).contains(&selection.sha256);
        Ok(Obtained { object, how: if is_new { How::Fetched } else { How::Store } })
    }

    /// Unpacks a wheel, looks for `foreign_paths` in it and compiles its bytecode, bounded by the processors.
    pub(crate) async fn import(
        self: &Arc<Self>,
        display_name: &str,
        file_name: &WheelFileName,
        archive: PathBuf,
        foreign_paths: Option<Arc<ForeignPaths>>,
    ) -> Result<(TreeWriter, ImportedWheel), ObtainError> {
        let permit = self.permits.acquire(Place::Processor).await;
        let engine = Arc::clone(self);
        let (wheel, name) = (file_name.clone(), display_name.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let tree = engine
                .session
                .store
                .new_tree()
                .map_err(|source| ObtainError::Store { pin: name.clone(), source: Arc::new(source) })?;
            let _running = engine.work.begin(Activity::Unpack);
            let unpack = UnpackOptions { foreign_paths: foreign_paths.as_deref(), ..UnpackOptions::default() };
            let options = ImportOptions { bytecode: Some(engine.bytecode()), unpack };
            let imported = import_wheel(&archive, &wheel, &tree, &options)
                .map_err(|source| ObtainError::Wheel { file_name: name, source: Arc::new(source) })?;
            Ok((tree, imported))
        });
        let result = joined(work, display_name).await;
        drop(permit);
        result
    }

    fn bytecode(&self) -> &BytecodePool {
        self.bytecode.get_or_init(|| {
            let python = &self.session.python;
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            Arc::new(BytecodePool::new(&python.executable, &python.interpreter, workers))
        })
    }

    /// Takes the store's lock `key` for `pin`, telling the user whom it waits for.
    pub(crate) async fn lock(self: &Arc<Self>, pin: &Pin, key: &str) -> Result<KeyLock, ObtainError> {
        let (engine, key) = (Arc::clone(self), key.to_owned());
        let waiting_for = pin.to_string();
        let cancel = self.cancel();
        let work = tokio::task::spawn_blocking(move || {
            engine.session.store.lock(&key, &mut |owner| {
                engine.session.report(Event::Waiting {
                    what: format!("{waiting_for}, held by process {} ({})", owner.pid, owner.command),
                });
            })
        });
        tokio::select! {
            result = work => match result {
                Ok(lock) => lock.map_err(store_error(pin)),
                Err(_) => Err(ObtainError::Worker { pin: pin.to_string() }),
            },
            () = cancel.cancelled() => Err(ObtainError::Cancelled { pin: pin.to_string() }),
        }
    }

    /// Publishes trees of `pin`, together with others that are ready.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn publish(&self, pin: &Pin, objects: Vec<NewObject>) -> Result<Vec<Object>, ObtainError> {
        let _running = self.work.begin(Activity::Publish);
        let sources: Vec<String> = objects.iter().filter_map(source_name).collect();
        let published = self.publisher.publish(pin, objects).await?;
        sources.iter().for_each(|file_name| self.unfinished.end(file_name));
        Ok(published)
    }

    pub(crate) async fn client(&self, pin: &Pin) -> Result<&IndexClient, ObtainError> {
        let session = Arc::clone(&self.session);
        let tell = move |what| session.report(Event::Waiting { what });
        let warned = Arc::clone(&self.session);
        let warn = move |what| warned.report(Event::Warning(what));
        let make = || async { Ok(IndexClient::new(self.session.options.index.clone())?.telling(tell).warning(warn)) };
        self.client
            .get_or_try_init(make)
            .await
            .map_err(|source| ObtainError::Index { pin: pin.to_string(), source: Arc::new(source) })
    }

    /// The archive of `selection` as a path that can be read, and, when it was just downloaded, the source object to publish.
    pub(crate) async fn source_archive(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
        published: Option<PublishedFile>,
    ) -> Result<(PathBuf, Option<NewObject>), ObtainError> {
        if let Some((object, archive)) = self.whole_source(pin, selection, true).await? {
            drop(object);
            return Ok((archive, None));
        }
        let new = self.download(pin, selection, published).await?;
        Ok((new.tree.path().join(&selection.file_name), Some(new)))
    }

    /// The source object of `selection`, published.
    ///
    /// # Errors
    /// See [`ObtainError`].
    pub async fn source(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
        published: Option<PublishedFile>,
    ) -> Result<(Object, How), ObtainError> {
        if let Some((object, _)) = self.whole_source(pin, selection, false).await? {
            return Ok((object, How::Store));
        }
        let _lane = self.permits.acquire(Place::Lane).await;
        let lock = self.lock(pin, &format!("source {}", selection.sha256)).await?;
        if let Some((object, _)) = self.whole_source(pin, selection, true).await? {
            return Ok((object, How::Store));
        }
        let new = self.download(pin, selection, published).await?;
        let objects = self.publish(pin, vec![new]).await?;
        drop(lock);
        let object = objects.into_iter().next().expect("publishing returns an object for each it was given");
        Ok((object, How::Fetched))
    }

    /// The source object of `selection`, if the store has it, and the path of its file, whose bytes were read and are
    /// those of the digest: what is unpacked and run is what the lock names, whoever wrote into the store meanwhile.
    /// Damage counts as absence; `may_replace` says that the caller replaces the object next.
    async fn whole_source(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
        may_replace: bool,
    ) -> Result<Option<(Object, PathBuf)>, ObtainError> {
        let expected = selection.sha256;
        let Some(object) = self.session.lease.take_source(&expected).map_err(store_error(pin))? else {
            return Ok(None);
        };
        let Provenance::Source { file_name, .. } = &object.provenance else { return Ok(None) };
        let archive = object.path.join(file_name);
        let reading = archive.clone();
        let work = tokio::task::spawn_blocking(move || Ok(sha256_of_file(&reading)));
        let found = match joined(work, &pin.to_string()).await? {
            Ok(found) if found == expected => return Ok(Some((object, archive))),
            Ok(found) => format!("it has the SHA-256 {found}"),
            // This process's want of something says nothing about the file.
            Err(source) if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                let source = Arc::new(source);
                return Err(ObtainError::Scratch { pin: pin.to_string(), path: archive, source });
            }
            Err(error) => error.to_string(),
        };
        if may_replace {
            let text = format!("`{file_name}` in the store is damaged ({found}); it is not used and fetched anew");
            self.session.report(Event::Warning(text));
            self.session.store.distrust(&object);
        }
        Ok(None)
    }

    async fn download(
        self: &Arc<Self>,
        pin: &Pin,
        selection: &Selection,
        published: Option<PublishedFile>,
    ) -> Result<NewObject, ObtainError> {
        if let Some(checkout) = &pin.checkout {
            return self.pack_checkout(pin, checkout, selection).await;
        }
        let file = match published {
            Some(file) => file,
            None => self.published_file(pin, selection).await?,
        };
        self.download_any(pin, &file, &[selection.sha256]).await.map(|(new, _)| new)
    }

    /// Downloads `file`, which must have one of the digests `expected`; gives the source object to publish and its digest.
    pub(crate) async fn download_any(
        self: &Arc<Self>,
        pin: &Pin,
        file: &PublishedFile,
        expected: &[Sha256Digest],
    ) -> Result<(NewObject, Sha256Digest), ObtainError> {
        if self.session.options.offline && !file.url.is_file() {
            return Err(ObtainError::Offline { pin: pin.to_string() });
        }
        self.make_room().await;
        let client = self.client(pin).await?;
        let failed = |source| ObtainError::Download { file_name: file.file_name.clone(), source: Arc::new(source) };
        let tree = self.session.store.new_tree().map_err(store_error(pin))?;
        let path = EntryPath::parse(&file.file_name)
            .map_err(|source| ObtainError::FileName { pin: pin.to_string(), source })?;
        let mut sink = super::sink::TreeSink::new(&tree, &path, self, &file.file_name);
        let running = self.work.begin(Activity::Download);
        let cancel = self.cancel();
        let sha256 = tokio::select! {
            result = client.download(file, expected, &mut sink) => result.map_err(failed)?,
            () = cancel.cancelled() => return Err(ObtainError::Cancelled { pin: pin.to_string() }),
        };
        sink.finish().map_err(store_error(pin))?;
        super::place::remember(&self.session.store, file, &sha256).map_err(store_error(pin))?;
        self.downloaded.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256);
        drop(running);
        self.session.report(Event::Fetched { file_name: file.file_name.clone() });
        let version = pin.label_version();
        let tags = if file.file_name.ends_with(".whl") { "wheel" } else { "sdist" };
        let id = ObjectId::of_source(&file.file_name, &sha256);
        let new = NewObject {
            tree,
            path: StorePath::new(id, &pin.name, &version, Some(tags)),
            name: pin.name.clone(),
            version,
            provenance: Provenance::Source { file_name: file.file_name.clone(), sha256 },
            references: Vec::new(),
            link_plan: None,
        };
        Ok((new, sha256))
    }
}

/// A tree of the store under the name that the lock gives it: a hash alone does not make one project another.
fn stored(pin: &Pin, selection: &Selection, object: Object) -> Result<Obtained, ObtainError> {
    if pin.is_met_by(&object) {
        return Ok(Obtained { object, how: How::Store });
    }
    Err(ObtainError::WheelIdentity {
        pin: pin.to_string(),
        file_name: selection.file_name.clone(),
        found: format!("{}=={}", object.name, object.version),
    })
}

fn check_identity(pin: &Pin, selection: &Selection, metadata: &CoreMetadata) -> Result<(), ObtainError> {
    let same_version = pin.version.as_ref().is_none_or(|version| satisfies_pin(version, &metadata.version));
    if metadata.name == pin.name && same_version {
        return Ok(());
    }
    Err(ObtainError::WheelIdentity {
        pin: pin.to_string(),
        file_name: selection.file_name.clone(),
        found: format!("{}=={}", metadata.name, metadata.version),
    })
}

pub(crate) fn store_error(pin: &Pin) -> impl Fn(StoreError) -> ObtainError + '_ {
    |source| ObtainError::Store { pin: pin.to_string(), source: Arc::new(source) }
}

/// The result of a blocking task; a panic in it is reported, never swallowed.
pub(crate) async fn joined<T>(
    work: tokio::task::JoinHandle<Result<T, ObtainError>>,
    pin: &str,
) -> Result<T, ObtainError> {
    work.await.unwrap_or_else(|_| Err(ObtainError::Worker { pin: pin.to_owned() }))
}
