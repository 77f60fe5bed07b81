//! Package indexes: what files a project has, which of them to take, and getting them.
//!
//! Three steps, of which only the first and the last touch the world: [`IndexClient::project_files`] asks every
//! index and `--find-links` place, [`choose`] picks a file (pure), [`IndexClient::download`] streams it into a sink
//! and checks its hash.
//!
//! What an index says is hostile: pages and files have named size limits, file names are checked, links into this
//! machine's files are dropped, and no byte counts before its hash is one of the lock. Credentials exist in
//! `credentials.rs` and in the [`SafeUrl`]s they were written in; neither shows them, and each hop
//! of a redirect looks them up anew for its own origin. No index has a name in this code.

mod choose;
mod client;
mod credentials;
mod download;
mod file_name;
mod http_clients;
mod local;
mod netrc;
mod page;
mod retry;
mod safe_url;
mod settings;
mod transport;

pub use choose::{Choice, ChoiceError, ChoiceRequest, ChosenKind, NAMES_LISTED_MAX, NameList, choose};
pub use client::{IndexClient, IndexError};
pub use credentials::{KEYRING_ANSWER_BYTES_MAX, KEYRING_TIMEOUT};
pub use download::{DOWNLOAD_BYTES_MAX, DownloadError, DownloadSink, HASH_RETRIES_MAX, PROGRESS_BYTES_MIN};
pub use file_name::{DistributionFile, SDIST_SUFFIXES, parse_sdist_file_name};
pub(crate) use http_clients::read_client_cert;
pub use http_clients::{CA_FILE_BYTES_MAX, CLIENT_CERT_BYTES_MAX, SetupError};
pub use local::{DIRECTORY_ENTRIES_MAX, sha256_of_file};
pub use netrc::NETRC_BYTES_MAX;
pub use page::{FILE_NAME_BYTES_MAX, FileOrigin, INDEX_PAGE_BYTES_MAX, PageError, PublishedFile};
pub use retry::{RETRY_AFTER_MAX, RETRY_DELAY_MAX};
pub use safe_url::SafeUrl;
pub use settings::{
    CONCURRENCY_DEFAULT, FindLinks, IndexSettings, RETRIES_DEFAULT, RETRIES_MAX, RETRY_DELAY_DEFAULT, TIMEOUT_DEFAULT,
};
pub use transport::{REDIRECTS_MAX, RequestError};
