//! Writing the files of a wheel, in parallel, each read once: checked against `RECORD` while the store hashes it.

use std::collections::HashMap;
use std::io::Write;

use pip_accel_store::TreeWriter;
use rayon::prelude::*;

use super::foreign_paths::{ForeignPaths, Search};
use super::layout::PlannedFile;
use super::record::{RecordCheck, RecordError, RecordLine};
use super::{FileTrait, TreeFile, WheelFault};
use crate::python::elf::ELF_MAGIC;
use crate::python::link_plan::declares_namespace;
use crate::python::recorded_files::asks_for_files;
use crate::python::zip_file::ZipReader;

/// Files up to this length in bytes are held in memory, so that the store can link an equal file instead of writing.
const SMALL_FILE_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a file's start that are kept to see what it is.
const START_BYTES: usize = 8;

/// What is looked for in the files.
#[derive(Clone, Copy)]
pub(super) struct LookedFor<'a> {
    /// Name of the wheel's project.
    pub(super) project: &'a str,
    /// Paths of the build, if it is a wheel that was built.
    pub(super) foreign_paths: Option<&'a ForeignPaths>,
}

/// What a thread uses for one file after the other.
struct Worker<'a> {
    looked_for: LookedFor<'a>,
    reader: ZipReader,
    buffer: Vec<u8>,
    content: Vec<u8>,
}

/// Unpacks `files` into `tree`; the result has the order of `files`.
pub(super) fn extract(
    reader: &ZipReader,
    files: &[PlannedFile],
    (record, looked_for): (&HashMap<String, RecordLine>, LookedFor<'_>),
    tree: &TreeWriter,
) -> Result<Vec<TreeFile>, WheelFault> {
    let worker = || Worker { looked_for, reader: reader.clone(), buffer: Vec::new(), content: Vec::new() };
    let unpacked: Result<Vec<Option<TreeFile>>, WheelFault> = files
        .par_iter()
        .map_init(worker, |worker, file| worker.unpack(file, record.get(file.member.path.as_str()), tree))
        .collect();
    Ok(unpacked?.into_iter().flatten().collect())
}

impl Worker<'_> {
    fn unpack(
        &mut self,
        file: &PlannedFile,
        line: Option<&RecordLine>,
        tree: &TreeWriter,
    ) -> Result<Option<TreeFile>, WheelFault> {
        let mut check = RecordCheck::new(line);
        let is_script = file.is_script();
        let executable = file.member.executable || is_script;
        let mut start = [0; START_BYTES];
        let mut start_length = 0;
        let mut foreign = self.looked_for.foreign_paths.map(ForeignPaths::search);
        let mut see = |bytes: &[u8]| {
            check.update(bytes);
            if let Some(search) = &mut foreign {
                search.update(bytes);
            }
            let count = bytes.len().min(START_BYTES - start_length);
            start[start_length..start_length + count].copy_from_slice(&bytes[..count]);
            start_length += count;
        };
        let path = file.destination.as_ref();
        let store_error =
            |source| WheelFault::Store { path: path.map(ToString::to_string).unwrap_or_default(), source };
        self.content.clear();
        if file.member.size <= SMALL_FILE_BYTES_MAX || path.is_none() {
            let content = &mut self.content;
            self.reader.read::<WheelFault>(&file.member, &mut self.buffer, &mut |bytes| {
                see(bytes);
                if path.is_some() {
                    content.extend_from_slice(bytes);
                }
                Ok(())
            })?;
            // Nothing that contradicts its digest is given to the store.
            verify(check, file)?;
            if let Some(path) = path {
                tree.write_file(path, executable, content).map_err(store_error)?;
            }
        } else if let Some(path) = path {
            let mut staged = tree.create_file(path).map_err(store_error)?;
            self.reader.read::<WheelFault>(&file.member, &mut self.buffer, &mut |bytes| {
                see(bytes);
                staged.write_all(bytes).map_err(|source| WheelFault::File { path: path.to_string(), source })
            })?;
            verify(check, file)?;
            staged.finish(executable).map_err(store_error)?;
        }
        let start = &start[..start_length];
        Ok(path.map(|path| TreeFile {
            path: path.clone(),
            size: file.member.size,
            executable,
            file_trait: self.file_trait(path.file_name(), is_script, start),
            foreign: foreign.map(Search::finish).unwrap_or_default(),
        }))
    }
}

impl Worker<'_> {
    /// What the file that was read last is.
    fn file_trait(&self, name: &str, is_script: bool, start: &[u8]) -> FileTrait {
        if start.starts_with(ELF_MAGIC) {
            FileTrait::Elf
        } else if is_script && start.starts_with(b"#!python") {
            FileTrait::PythonScript
        } else if name == "__init__.py" && declares_namespace(&self.content) {
            FileTrait::NamespaceInit
        } else if name.ends_with(".py") && asks_for_files(&self.content, self.looked_for.project) {
            FileTrait::AsksForFiles
        } else {
            FileTrait::None
        }
    }
}

fn verify(check: RecordCheck<'_>, file: &PlannedFile) -> Result<(), RecordError> {
    if check.finish() { Ok(()) } else { Err(RecordError::Mismatch { path: file.member.path.to_string() }) }
}
