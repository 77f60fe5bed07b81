//! The thread that looks at the paths of traced calls and notes them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use super::FileTrace;
use super::calls::Use;
use super::notes::Notes;
use super::root::Root;

/// Calls that are handed over together: to wake a thread takes longer than to read a path.
const TOGETHER: usize = 128;

/// Heaps of calls that may wait to be noted. A build that makes them faster than they are looked at waits for the clerk from
/// then on: what it can make this process remember has a limit.
const WAITING_MAX: usize = 64;

/// What the clerk is told.
enum Word {
    /// The sandbox's root; nothing is looked at before it is known.
    Root(Root),
    /// A call named this absolute path.
    Path(Use, Vec<u8>),
    /// A call could not be read.
    Gap,
}

/// The other end of that thread.
pub(super) struct Clerk {
    words: SyncSender<Vec<Word>>,
    /// What is still to be handed over.
    heap: Vec<Word>,
    is_full: Arc<AtomicBool>,
    work: JoinHandle<FileTrace>,
}

impl Clerk {
    /// Starts it with `notes`.
    pub(super) fn start(notes: Notes) -> io::Result<Self> {
        let (words, told) = mpsc::sync_channel(WAITING_MAX);
        let is_full = Arc::new(AtomicBool::new(false));
        let full = Arc::clone(&is_full);
        let work = thread::Builder::new().name("trace-notes".to_owned()).spawn(move || note(notes, &told, &full))?;
        Ok(Self { words, heap: Vec::with_capacity(TOGETHER), is_full, work })
    }

    /// Whether more can be noted.
    pub(super) fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    /// The sandbox's root is this.
    pub(super) fn root(&mut self, root: Root) {
        self.tell(Word::Root(root));
    }

    /// A call names the absolute `path`, not yet resolved.
    pub(super) fn path(&mut self, purpose: Use, path: Vec<u8>) {
        self.tell(Word::Path(purpose, path));
    }

    /// The trace has a gap: something could not be read, or was too much.
    pub(super) fn gap(&mut self) {
        self.tell(Word::Gap);
    }

    /// Waits until everything is noted.
    pub(super) fn finish(mut self) -> FileTrace {
        self.hand_over();
        drop(self.words);
        // A thread that panicked leaves a trace that claims nothing.
        self.work.join().unwrap_or_default()
    }

    fn tell(&mut self, word: Word) {
        self.heap.push(word);
        if self.heap.len() >= TOGETHER {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let heap = std::mem::replace(&mut self.heap, Vec::with_capacity(TOGETHER));
        // It ends only when there is nobody left to tell it anything.
        let _ = self.words.send(heap);
    }
}

fn note(mut notes: Notes, told: &Receiver<Vec<Word>>, is_full: &AtomicBool) -> FileTrace {
    let mut root = None;
    for word in told.iter().flatten() {
        match (word, &root) {
            (Word::Root(given), _) => root = Some(given),
            (Word::Path(purpose, path), Some(root)) => notes.take(root, purpose, path),
            (Word::Gap, Some(_)) => notes.gap(),
            (Word::Path(..) | Word::Gap, None) => {}
        }
        is_full.store(!notes.has_room(), Ordering::Relaxed);
    }
    notes.finish()
}
