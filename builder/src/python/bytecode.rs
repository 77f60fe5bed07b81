//! Bytecode, compiled by processes of the interpreter that will run it.
//!
//! A pool keeps a few processes (`compile_worker.py`), each with a thread that feeds it batches of files.
//! What is written depends on the files of the batch alone, so batches are cut by a fixed rule from the sorted list.

mod worker;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pip_accel_schema::interpreter::Interpreter;
use pip_accel_schema::link_plan::SITE_FOLDER;
use pip_accel_schema::manifest::EntryPath;

use worker::Worker;

/// How long one file may take. The slowest files that are published (tables of a few megabytes) take some ten seconds.
pub const COMPILE_FILE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Most files in one batch. Fixed: the content of bytecode may depend on how files are grouped.
const BATCH_FILES_MAX: usize = 48;

/// Source bytes after which a batch is full. Fixed for the same reason.
const BATCH_BYTES_MAX: u64 = 400 << 10;

/// Why nothing can be compiled.
#[derive(Debug, thiserror::Error)]
pub enum BytecodeError {
    /// The interpreter can't be started.
    #[error("`{}` can't be started to compile", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The interpreter starts, but does not answer as it should.
    #[error("`{}` does not answer as a compiler: {reason}", python.display())]
    Protocol {
        /// The interpreter.
        python: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The interpreter makes other bytecode than it did when it was queried.
    #[error("`{}` writes bytecode `{found}` instead of `{expected}`: was it replaced?", python.display())]
    OtherBytecode {
        /// The interpreter.
        python: PathBuf,
        /// The tag it was known by.
        expected: String,
        /// Its cache tag and magic number.
        found: String,
    },
    /// A source can't be read or its bytecode not written.
    #[error("the bytecode of `{path}` can't be written")]
    File {
        /// The source.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The pool was shut down meanwhile.
    #[error("the compilers were stopped")]
    Stopped,
}

/// Why a file has no bytecode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It is no source that this interpreter understands.
    Syntax,
    /// The compiler died over it.
    Crash,
    /// The compiler took longer than it may.
    Timeout,
}

/// A file without bytecode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The source.
    pub path: EntryPath,
    /// Why.
    pub reason: SkipReason,
}

/// What became of the files of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The files that were written, sorted.
    pub written: Vec<EntryPath>,
    /// The files that could not be compiled, sorted.
    pub skipped: Vec<Skipped>,
}

/// One source file and its length in bytes.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// Where, relative to the tree; files that are not `site/….py` are left alone.
    pub path: &'a EntryPath,
    /// Its length in bytes.
    pub size: u64,
}

/// How a pool compiles.
#[derive(Debug, Clone)]
pub struct BytecodeOptions {
    /// Processes. As many as there are cores keeps all of them busy.
    pub workers: usize,
    /// How long one file may take.
    pub file_timeout: Duration,
    /// The tag that the bytecode must have (`cpython-311-a70d0d0a`); `None` takes any.
    pub bytecode_tag: Option<String>,
}

/// Processes of one interpreter that compile; usable from several threads at once. Dropping it ends them.
#[derive(Debug)]
pub struct BytecodePool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    python: PathBuf,
    options: BytecodeOptions,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Batch>,
    stopped: bool,
}

/// Files that one process compiles from a fresh state.
#[derive(Debug)]
struct Batch {
    root: PathBuf,
    files: Vec<EntryPath>,
    answer: mpsc::Sender<Result<Compiled, BytecodeError>>,
    /// Set when another batch of the same call failed.
    given_up: Arc<AtomicBool>,
}

impl BytecodePool {
    /// A pool of `workers` processes of `python`, which `interpreter` describes. Processes start when they are needed.
    #[must_use]
    pub fn new(python: &Path, interpreter: &Interpreter, workers: usize) -> Self {
        let bytecode_tag = Some(interpreter.bytecode_tag.clone());
        Self::with_options(python, BytecodeOptions { workers, file_timeout: COMPILE_FILE_TIMEOUT, bytecode_tag })
    }

    /// A pool with other than the usual options.
    #[must_use]
    pub fn with_options(python: &Path, options: BytecodeOptions) -> Self {
        let workers = options.workers.max(1);
        let shared = Shared { python: python.to_owned(), options, queue: Mutex::default(), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let threads = (0..workers).filter_map(|_| {
            let shared = Arc::clone(&shared);
            // Fewer threads are slower, nothing else; `compile` looks whether there are any.
            std::thread::Builder::new().name("bytecode".to_owned()).spawn(move || shared.serve()).ok()
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Compiles those of `files` that are `.py` files below `site/` of the tree at `tree_root`.
    ///
    /// Files that can't be compiled are part of the result. Bytecode goes to `__pycache__` beside the source
    /// (beside it for Python 2); no other path than that relative to `site/` is written into it.
    ///
    /// # Errors
    /// When the interpreter can't be run or is not the one that was asked for.
    pub fn compile(&self, tree_root: &Path, files: &[SourceFile<'_>]) -> Result<Compiled, BytecodeError> {
        let mut sources: Vec<SourceFile<'_>> = files.iter().copied().filter(|file| is_source(file.path)).collect();
        sources.sort_by(|left, right| left.path.cmp(right.path));
        if self.threads.is_empty() {
            return Err(BytecodeError::Stopped);
        }
        let (answer, answers) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let mut queue = self.shared.lock();
        for files in cut_batches(&sources) {
            let (answer, given_up) = (answer.clone(), Arc::clone(&given_up));
            queue.batches.push_back(Batch { root: tree_root.to_owned(), files, answer, given_up });
        }
        drop(queue);
        drop(answer);
        self.shared.changed.notify_all();

        let mut compiled = Compiled::default();
        let mut failed: Option<BytecodeError> = None;
        // Ends when the last batch is answered, or dropped with the queue.
        for batch in answers {
            match batch {
                Ok(batch) => {
                    compiled.written.extend(batch.written);
                    compiled.skipped.extend(batch.skipped);
                }
                Err(error) => {
                    given_up.store(true, Ordering::Relaxed);
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if compiled.written.len() + compiled.skipped.len() != sources.len() {
            return Err(BytecodeError::Stopped);
        }
        compiled.written.sort();
        compiled.skipped.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(compiled)
    }
}

impl Drop for BytecodePool {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.stopped = true;
        queue.batches.clear();
        drop(queue);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole after every statement: a panic elsewhere changes nothing about it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_batch(&self) -> Option<Batch> {
        let mut queue = self.lock();
        loop {
            if queue.stopped {
                return None;
            }
            match queue.batches.pop_front() {
                Some(batch) => return Some(batch),
                None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The life of one thread: its process starts with the first batch and again after it had to be ended.
    fn serve(&self) {
        let mut worker = None;
        while let Some(batch) = self.next_batch() {
            if batch.given_up.load(Ordering::Relaxed) {
                continue;
            }
            let result = self.compile_batch(&mut worker, &batch);
            // A caller that gave up is no concern of the compiler.
            let _ = batch.answer.send(result);
        }
    }

    fn compile_batch(&self, slot: &mut Option<Worker>, batch: &Batch) -> Result<Compiled, BytecodeError> {
        let mut compiled = Compiled::default();
        let mut files = batch.files.as_slice();
        while !files.is_empty() {
            let mut worker = match slot.take() {
                Some(worker) => worker,
                None => Worker::start(&self.python, &self.options)?,
            };
            let run = worker.compile(&batch.root, files, self.options.file_timeout)?;
            let done = run.answers.len();
            for (path, written) in files.iter().zip(run.answers) {
                if written {
                    compiled.written.push(worker.bytecode_path(path)?);
                } else {
                    compiled.skipped.push(Skipped { path: path.clone(), reason: SkipReason::Syntax });
                }
            }
            files = files.get(done..).unwrap_or_default();
            match run.end {
                worker::RunEnd::Done => *slot = Some(worker),
                worker::RunEnd::Died { reason, process_is_whole } => {
                    if let Some((path, rest)) = files.split_first() {
                        worker.remove_partial(&batch.root, path)?;
                        compiled.skipped.push(Skipped { path: path.clone(), reason });
                        files = rest;
                    }
                    if process_is_whole {
                        *slot = Some(worker);
                    }
                }
            }
        }
        Ok(compiled)
    }
}

fn is_source(path: &EntryPath) -> bool {
    let inside = path.as_str().strip_prefix(SITE_FOLDER).is_some_and(|rest| rest.starts_with('/'));
    inside && path.file_name().len() > 3 && path.as_str().ends_with(".py")
}

fn cut_batches(sources: &[SourceFile<'_>]) -> Vec<Vec<EntryPath>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes: u64 = 0;
    for source in sources {
        if batch.len() >= BATCH_FILES_MAX || (!batch.is_empty() && bytes.saturating_add(source.size) > BATCH_BYTES_MAX)
        {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes = bytes.saturating_add(source.size);
        batch.push(source.path.clone());
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests;
