//! A download that goes into a staged tree of the store.

use std::io::{self, Write};

use pip_accel_schema::manifest::EntryPath;
use pip_accel_store::{StagedFile, StoreError, TreeWriter};

use super::engine::Engine;
use crate::event::Event;
use crate::index::DownloadSink;

/// Bytes between two progress events of one download.
const PROGRESS_STEP_BYTES: u64 = 256 << 10;

pub(crate) struct TreeSink<'a> {
    tree: &'a TreeWriter,
    path: &'a EntryPath,
    engine: &'a Engine,
    file_name: &'a str,
    file: Option<StagedFile<'a>>,
    unreported: u64,
}

impl<'a> TreeSink<'a> {
    pub(crate) fn new(tree: &'a TreeWriter, path: &'a EntryPath, engine: &'a Engine, file_name: &'a str) -> Self {
        Self { tree, path, engine, file_name, file: None, unreported: 0 }
    }

    fn file(&mut self) -> io::Result<&mut StagedFile<'a>> {
        if self.file.is_none() {
            self.file = Some(self.tree.create_file(self.path).map_err(into_io)?);
        }
        Ok(self.file.as_mut().expect("it was just created"))
    }

    /// Ends the file; an empty download is an empty file.
    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.tree.create_file(self.path)?,
        };
        file.finish(false).map(drop)
    }
}

/// The client knows only I/O errors; a full disk stays one.
fn into_io(error: StoreError) -> io::Error {
    match error {
        StoreError::Io { source, .. } | StoreError::Full { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}

impl DownloadSink for TreeSink<'_> {
    fn start(&mut self, total: Option<u64>) {
        self.engine.unfinished.begin(self.file_name, total.unwrap_or(0));
        self.engine.session.report(Event::FetchStarted { file_name: self.file_name.to_owned(), size_bytes: total });
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)?;
        self.unreported += bytes.len() as u64;
        if self.unreported >= PROGRESS_STEP_BYTES {
            let bytes = std::mem::take(&mut self.unreported);
            self.engine.session.report(Event::FetchProgress { file_name: self.file_name.to_owned(), bytes });
        }
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }
}
