//! What the tests of the index client share: a directory of files, a client, and sinks.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use pip_accel_builder::index::{DownloadError, DownloadSink, IndexClient, IndexSettings, PublishedFile};
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::name::PackageName;
use pip_accel_tests::index_server::{IndexServer, sha256_of};

/// The wheel that most tests ask for.
pub(crate) const WHEEL: &str = "demo-1.0-py3-none-any.whl";

/// Where it lies on the server.
pub(crate) const WHEEL_PATH: &str = "/files/demo-1.0-py3-none-any.whl";

/// The page of its project.
pub(crate) const PAGE_PATH: &str = "/simple/demo/";

/// A directory of files that an index serves.
pub(crate) struct Files {
    pub(crate) directory: tempfile::TempDir,
}

impl Files {
    /// With [`WHEEL`] of `size` bytes in it.
    pub(crate) fn with_wheel(size: usize) -> Self {
        let files = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        files.write(WHEEL, &content(size));
        files
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("the directory is writable");
        path
    }

    pub(crate) fn serve(&self) -> IndexServer {
        IndexServer::start(self.directory.path())
    }
}

/// Bytes that differ from place to place, so that a wrong offset shows.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// Settings for `server` that give up soon.
pub(crate) fn settings(server: &IndexServer) -> IndexSettings {
    IndexSettings {
        index_url: Some(server.index_url()),
        retries: 3,
        retry_delay: Duration::from_millis(1),
        ..IndexSettings::default()
    }
}

pub(crate) fn client(settings: IndexSettings) -> IndexClient {
    IndexClient::new(settings).expect("good settings")
}

pub(crate) fn project(name: &str) -> PackageName {
    name.parse().expect("a project name")
}

/// The file of that name on the page of `demo`.
pub(crate) async fn find(client: &IndexClient, file_name: &str) -> PublishedFile {
    let files = client.project_files(&project("demo")).await.expect("a page");
    files.iter().find(|file| file.file_name == file_name).expect("the file is listed").clone()
}

/// A sink in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) total: Option<u64>,
    pub(crate) restarts: usize,
    /// Bytes that were good at each repetition.
    pub(crate) retries: Vec<u64>,
    /// The disk is full after that many bytes.
    pub(crate) room: Option<usize>,
    /// Runs before the first repetition.
    pub(crate) at_retry: Option<Box<dyn FnOnce() + Send>>,
}

impl DownloadSink for Memory {
    fn start(&mut self, total: Option<u64>) {
        self.total = total;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.room.is_some_and(|room| self.bytes.len() + bytes.len() > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.restarts += 1;
        self.bytes.clear();
        Ok(())
    }

    fn retrying(&mut self, received: u64) {
        self.retries.push(received);
        if let Some(action) = self.at_retry.take() {
            action();
        }
    }
}

/// Downloads [`WHEEL`] as the index announces it, expecting `wanted`.
pub(crate) async fn download(
    client: &IndexClient,
    wanted: &[u8],
    sink: &mut Memory,
) -> Result<Sha256Digest, DownloadError> {
    let file = find(client, WHEEL).await;
    client.download(&file, &[sha256_of(wanted)], sink).await
}
