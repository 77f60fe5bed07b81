//! Which files a project has, over all indexes and `--find-links` places.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use pip_accel_schema::name::PackageName;
use tokio::sync::OnceCell;
use url::Url;

use super::file_name::belongs_to;
use super::local;
use super::page::{self, ACCEPT_PAGE, FileOrigin, INDEX_PAGE_BYTES_MAX, PageError, PublishedFile};
use super::safe_url::SafeUrl;
use super::settings::{FindLinks, IndexSettings};
use super::transport::{Body, RequestError, Transport};

/// Why it is not known which files a project has. No variant shows credentials.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// An index or page URL that cannot be one.
    #[error("`{url}` cannot be the URL of an index or page (http, https and file can)")]
    Url {
        /// The URL of the settings.
        url: SafeUrl,
    },
    /// The request failed.
    #[error("cannot read the index page `{url}`")]
    Request {
        /// The page.
        url: SafeUrl,
        /// Why.
        source: RequestError,
    },
    /// The answer is not an index page.
    #[error("`{url}` is not an index page")]
    Page {
        /// The page.
        url: SafeUrl,
        /// Why.
        source: PageError,
    },
    /// A local directory or page cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The directory or page.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl IndexError {
    /// Whether an index refused access (401, 403).
    #[must_use]
    pub const fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Request { source: RequestError::Unauthorized { .. }, .. })
    }

    /// Whether there was no answer at all: no connection, a broken one, or a server that can't answer now.
    const fn is_unreachable(&self) -> bool {
        use RequestError::{Busy, Exhausted, Incomplete, Network};
        matches!(
            self,
            Self::Request { source: Network { .. } | Busy { .. } | Incomplete { .. } | Exhausted { .. }, .. }
        )
    }

    /// Some indexes say 403 for a project they do not have.
    const fn may_mean_absent(&self) -> bool {
        matches!(self, Self::Request { source: RequestError::Unauthorized { status: 403, .. }, .. })
    }
}

type Files = Arc<Vec<PublishedFile>>;

/// Asks indexes and gets files. One value serves a whole process: connections and answers are shared.
pub struct IndexClient {
    /// Indexes in their order, credentials included, each path ending in `/`.
    indexes: Vec<SafeUrl>,
    find_links: Vec<(FindLinks, OnceCell<Files>)>,
    projects: Mutex<HashMap<PackageName, Arc<OnceCell<Files>>>>,
    pub(super) transport: Transport,
    /// Told once that an index gives no answer.
    on_unreachable: Mutex<Option<Tell>>,
}

/// Who is told something.
type Tell = Box<dyn FnOnce(String) + Send>;

impl std::fmt::Debug for IndexClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IndexClient").field("indexes", &self.indexes).finish_non_exhaustive()
    }
}

impl IndexClient {
    /// A client for `settings`. No file is read and no connection made before the first question.
    ///
    /// # Errors
    /// [`IndexError::Url`] if an index or page URL is neither HTTP nor `file:`.
    pub fn new(settings: IndexSettings) -> Result<Self, IndexError> {
        let indexes: Vec<SafeUrl> = settings
            .index_url
            .iter()
            .chain(&settings.extra_index_urls)
            .map(|url| check_url(url).map(|()| SafeUrl::from(url.clone())))
            .collect::<Result<_, _>>()?;
        for place in &settings.find_links {
            if let FindLinks::Url(url) = place {
                check_url(url)?;
            }
        }
        let find_links = settings.find_links.iter().map(|place| (place.clone(), OnceCell::new())).collect();
        let transport = Transport::new(settings);
        Ok(Self { indexes, find_links, projects: Mutex::default(), transport, on_unreachable: Mutex::default() })
    }

    /// The same client, which tells once that an index gives no answer, where it does without.
    #[must_use]
    pub fn warning(self, tell: impl FnOnce(String) + Send + 'static) -> Self {
        Self { on_unreachable: Mutex::new(Some(Box::new(tell))), ..self }
    }

    fn tell_once(&self, error: &IndexError) {
        let tell = self.on_unreachable.lock().expect("nobody panics with the lock held").take();
        if let Some(tell) = tell {
            tell(format!("{error}: only what --find-links has is used"));
        }
    }

    /// The same client, which says for which place it waits, in lines such as `host: attempt 2 of 6 (no answer)`, once a
    /// request has failed for some seconds.
    #[must_use]
    pub fn telling(mut self, tell: impl Fn(String) + Send + Sync + 'static) -> Self {
        self.transport.set_on_retry(Box::new(tell));
        self
    }

    /// All files of `name`: those of the indexes in their order, then those of the `--find-links` places.
    ///
    /// Each project is asked for once in the life of the client, however many ask at the same time; failures are
    /// not remembered. A project that no place knows has no files.
    ///
    /// # Errors
    /// The first place (in order) that could not be read. An index that says 403 counts as one without
    /// the project if another place has files. Where an index gives no answer, the files of the `--find-links` places are all
    /// there are, and that is told; without any it is an error.
    pub async fn project_files(&self, name: &PackageName) -> Result<Arc<Vec<PublishedFile>>, IndexError> {
        let cell = {
            let mut projects = self.projects.lock().expect("nobody panics with the lock held");
            Arc::clone(projects.entry(name.clone()).or_default())
        };
        cell.get_or_try_init(|| self.ask(name)).await.cloned()
    }

    /// The settings for a program that reads neither netrc nor the keyring: each URL with the credentials that a
    /// request of this client would carry.
    ///
    /// # Errors
    /// When the netrc file can't be read.
    pub(crate) async fn settings_with_credentials(&self) -> Result<IndexSettings, IndexError> {
        let mut settings = self.transport.settings().clone();
        let pages = settings.find_links.iter_mut().filter_map(|place| match place {
            FindLinks::Url(url) => Some(url),
            FindLinks::Path(_) => None,
        });
        for url in settings.index_url.iter_mut().chain(&mut settings.extra_index_urls).chain(pages) {
            let failed = |source| IndexError::Request { url: url.clone().into(), source: RequestError::Setup(source) };
            *url = self.transport.with_credentials(url).await.map_err(failed)?;
        }
        Ok(settings)
    }

    async fn ask(&self, name: &PackageName) -> Result<Files, IndexError> {
        let from_indexes = join_all(self.indexes.iter().map(|index| self.ask_index(index, name)));
        let from_places = join_all(self.find_links.iter().map(|(place, cell)| self.find_links(place, cell)));
        let (from_indexes, from_places) = tokio::join!(from_indexes, from_places);
        let mut files = Vec::new();
        let mut of_places = Vec::new();
        for answer in from_places {
            of_places.extend(answer?.iter().filter(|file| belongs_to(name, &file.file_name)).cloned());
        }
        let mut refusal = None;
        for answer in from_indexes {
            match answer {
                // Another index is no substitute for the one that should have been asked: it may be anybody's.
                Err(error) if error.is_unreachable() && !of_places.is_empty() => {
                    self.tell_once(&error);
                    return Ok(Arc::new(of_places));
                }
                Ok(found) => files.extend(found),
                Err(error) if error.may_mean_absent() && refusal.is_none() => refusal = Some(error),
                Err(error) if error.may_mean_absent() => {}
                Err(error) => return Err(error),
            }
        }
        files.extend(of_places);
        match refusal {
            Some(error) if files.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(%error, project = %name, "an index refuses access, the others have the project");
                Ok(Arc::new(files))
            }
            None => Ok(Arc::new(files)),
        }
    }

    async fn ask_index(&self, index: &SafeUrl, name: &PackageName) -> Result<Vec<PublishedFile>, IndexError> {
        let url = project_url(index, name)?;
        if let Some(path) = local_path(&url)? {
            return match read_local(path).await {
                Err(IndexError::Read { source, .. }) if is_absent(&source) => Ok(Vec::new()),
                answer => answer,
            };
        }
        match self.transport.get(&url, ACCEPT_PAGE, INDEX_PAGE_BYTES_MAX).await {
            Ok(body) => read_page(url, body).await,
            Err(RequestError::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(IndexError::Request { url, source }),
        }
    }

    async fn find_links(&self, place: &FindLinks, cell: &OnceCell<Files>) -> Result<Files, IndexError> {
        let read = || async {
            let mut files = match place {
                FindLinks::Path(path) => read_local(path.clone()).await?,
                FindLinks::Url(url) => self.read_find_links_url(&SafeUrl::from(url.clone())).await?,
            };
            for file in &mut files {
                file.origin = FileOrigin::FindLinks;
            }
            Ok(Arc::new(files))
        };
        cell.get_or_try_init(read).await.cloned()
    }

    async fn read_find_links_url(&self, url: &SafeUrl) -> Result<Vec<PublishedFile>, IndexError> {
        if let Some(path) = local_path(url)? {
            return read_local(path).await;
        }
        match self.transport.get(url, ACCEPT_PAGE, INDEX_PAGE_BYTES_MAX).await {
            Ok(body) => read_page(url.clone(), body).await,
            Err(source) => Err(IndexError::Request { url: url.clone(), source }),
        }
    }
}

fn check_url(url: &Url) -> Result<(), IndexError> {
    if matches!(url.scheme(), "http" | "https" | "file") {
        Ok(())
    } else {
        Err(IndexError::Url { url: url.clone().into() })
    }
}

/// `…/simple/` and `name` as `…/simple/name/`; a query of the index stays.
fn project_url(index: &SafeUrl, name: &PackageName) -> Result<SafeUrl, IndexError> {
    let mut url = index.expose().clone();
    match url.path_segments_mut() {
        Ok(mut segments) => segments.pop_if_empty().push(name.as_str()).push(""),
        Err(()) => return Err(IndexError::Url { url: index.clone() }),
    };
    url.set_fragment(None);
    Ok(url.into())
}

/// The path of a `file:` URL, `None` for others.
fn local_path(url: &SafeUrl) -> Result<Option<PathBuf>, IndexError> {
    if !url.is_file() {
        return Ok(None);
    }
    url.expose().to_file_path().map(Some).map_err(|()| IndexError::Url { url: url.clone() })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Parses in the pool for blocking work: a large page takes tens of milliseconds.
async fn read_page(url: SafeUrl, body: Body) -> Result<Vec<PublishedFile>, IndexError> {
    let parse = move || {
        let inflated = if body.is_gzip { Some(page::inflate(&body.bytes)?) } else { None };
        page::parse_page(&body.url, &body.content_type, inflated.as_deref().unwrap_or(&body.bytes))
    };
    blocking(parse).await.map_err(|source| IndexError::Page { url, source })
}

/// A directory with `index.html` is a page, any other a list of files; a file is a page.
async fn read_local(path: PathBuf) -> Result<Vec<PublishedFile>, IndexError> {
    blocking(move || read_local_now(&path)).await
}

fn read_local_now(path: &Path) -> Result<Vec<PublishedFile>, IndexError> {
    let failed = |source| IndexError::Read { path: path.to_owned(), source };
    let page_path = if path.is_dir() { path.join("index.html") } else { path.to_owned() };
    let absolute = std::path::absolute(&page_path).map_err(failed)?;
    match local::read_at_most(&absolute, INDEX_PAGE_BYTES_MAX) {
        Ok(bytes) => {
            // An absolute path always makes a URL.
            let url = Url::from_file_path(&absolute).map_err(|()| failed(io::ErrorKind::InvalidInput.into()))?;
            bytes
                .ok_or(PageError::TooLarge)
                .and_then(|bytes| page::parse_html(&url, &bytes))
                .map_err(|source| IndexError::Page { url: url.into(), source })
        }
        Err(error) if is_absent(&error) && path.is_dir() => local::list_directory(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Runs `work` in the pool for blocking work; its panic is passed on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody waits for the value.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}
