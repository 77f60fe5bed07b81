//! Walking an archive that may have been made by anybody.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use pip_accel_schema::bundle::{BUNDLE_FORMAT, BUNDLE_MANIFEST_NAME, BUNDLE_SEAL_NAME, BundleManifest, BundleMember};
use pip_accel_schema::digest::Sha256Digest;
use sha2::{Digest, Sha256};

use super::write::{head_of, seal_of};
use super::{BUNDLE_MANIFEST_BYTES_MAX, BUNDLE_RATIO_FREE_BYTES, BUNDLE_RATIO_MAX, BundleError, BundleFault, check};

/// First bytes of a zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest window of zstd that is accepted, as a power of two: 128 MiB, what the format's own tool accepts.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A block of tar; two blocks of zeros end an archive.
const BLOCK_BYTES: u64 = 512;

/// Bytes of nothing after the end of the archive: tar's own padding is 10 KiB.
const PADDING_BYTES_MAX: u64 = 1 << 20;

/// What was read so far, and whether reading failed; shared with whoever decodes it.
#[derive(Default)]
struct Progress {
    bytes: Cell<u64>,
    /// Bytes of zeros that have to come next.
    padding: Cell<u64>,
    failure: RefCell<Option<io::Error>>,
    hasher: RefCell<Sha256>,
}

/// The file or stream itself: hashed and counted.
struct Carrier<R> {
    input: R,
    progress: Rc<Progress>,
}

impl<R: Read> Read for Carrier<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Ok(length) => {
                self.progress.bytes.set(self.progress.bytes.get() + length as u64);
                self.progress.hasher.borrow_mut().update(&buffer[..length]);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                *self.progress.failure.borrow_mut() = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// The decoded archive, counted.
struct Decoded<'a> {
    stream: Box<dyn Read + 'a>,
    bytes: u64,
    is_compressed: bool,
    progress: Rc<Progress>,
}

impl Read for Decoded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.bytes += length as u64;
        let padding = usize::try_from(self.progress.padding.get()).unwrap_or(usize::MAX).min(length);
        if buffer[..padding].iter().any(|byte| *byte != 0) {
            return Err(io::Error::other("bytes between two members"));
        }
        self.progress.padding.set(self.progress.padding.get() - padding as u64);
        let most = self.progress.bytes.get().saturating_mul(BUNDLE_RATIO_MAX).max(BUNDLE_RATIO_FREE_BYTES);
        if self.is_compressed && self.bytes > most {
            return Err(io::Error::other(Bomb));
        }
        Ok(length)
    }
}

/// More comes out than any bundle has.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to over {BUNDLE_RATIO_MAX} times its size")]
struct Bomb;

/// A bundle that is being read.
pub(super) struct Reader<'a> {
    archive: tar::Archive<Decoded<'a>>,
    progress: Rc<Progress>,
}

impl<'a> Reader<'a> {
    /// Looks at the first bytes only.
    pub(super) fn new(input: impl Read + 'a) -> Result<Self, BundleError> {
        let progress = Rc::new(Progress::default());
        let carrier = Carrier { input, progress: Rc::clone(&progress) };
        let mut carrier = BufReader::with_capacity(1 << 18, carrier);
        let is_compressed = carrier.fill_buf().map_err(BundleError::Read)?.starts_with(&ZSTD_MAGIC);
        let stream: Box<dyn Read + 'a> = if is_compressed {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(carrier).map_err(BundleError::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(BundleError::Read)?;
            Box::new(decoder)
        } else {
            Box::new(carrier)
        };
        let decoded = Decoded { stream, bytes: 0, is_compressed, progress: Rc::clone(&progress) };
        Ok(Self { archive: tar::Archive::new(decoded), progress })
    }

    /// Reads the manifest, checks it, and gives each member's content to `take` as it comes; `begin` sees the manifest
    /// before that. Returns the manifest and the SHA-256 of the whole bundle.
    pub(super) fn walk(
        mut self,
        begin: &mut dyn FnMut(&BundleManifest) -> Result<(), BundleError>,
        take: &mut dyn FnMut(&BundleMember, &mut dyn Read) -> Result<(), BundleError>,
    ) -> Result<(BundleManifest, Sha256Digest), BundleError> {
        let progress = Rc::clone(&self.progress);
        let failed = |error| failure(&progress, error);
        let mut entries = self.archive.entries().map_err(&failed)?.raw(true);
        let manifest = read_manifest(&mut entries, &progress)?;
        check::structure(&manifest)?;
        begin(&manifest)?;
        for member in manifest.members() {
            let mut entry = next(&mut entries, &member.name, (Some(member.size), &progress))?;
            let mut content = Member { entry: &mut entry, progress: &progress, error: None };
            let taken = take(&member, &mut content);
            if let Some(error) = content.error {
                return Err(error);
            }
            taken?;
            progress.padding.set(padding_of(member.size));
        }
        match entries.next() {
            None => {}
            Some(Err(error)) => return Err(failed(error)),
            Some(Ok(entry)) => {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                return Err(BundleFault::new(&name, "is a member that the manifest does not have").into());
            }
        }
        self.finish().map(|sha256| (manifest, sha256))
    }

    /// The end of the archive: a block of zeros was read, another one must follow, and nothing but zeros after it.
    fn finish(self) -> Result<Sha256Digest, BundleError> {
        let progress = self.progress;
        let mut rest = self.archive.into_inner();
        let mut left = 0_u64;
        let mut buffer = [0; 8192];
        loop {
            let length = match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failure(&progress, error)),
            };
            left += length as u64;
            if left > PADDING_BYTES_MAX || buffer[..length].iter().any(|byte| *byte != 0) {
                return Err(BundleFault::new("the archive", "goes on after its end").into());
            }
        }
        if left < BLOCK_BYTES {
            return Err(BundleError::CutOff);
        }
        let hasher = progress.hasher.borrow().clone();
        Ok(Sha256Digest::from_bytes(hasher.finalize().into()))
    }
}

/// The content of one member; remembers what an error of reading means.
struct Member<'a, 'b, R: Read> {
    entry: &'a mut tar::Entry<'b, R>,
    progress: &'a Progress,
    error: Option<BundleError>,
}

impl<R: Read> Read for Member<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.entry.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.error = Some(failure(self.progress, error));
                Err(kind.into())
            }
            read => read,
        }
    }
}

/// What an error of the decoders means.
fn failure(progress: &Progress, error: io::Error) -> BundleError {
    if let Some(error) = progress.failure.take() {
        return BundleError::Read(error);
    }
    let is_bomb = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<Bomb>());
    if is_bomb(&error) || error.to_string().contains(&Bomb.to_string()) {
        return BundleError::TooLarge { what: "more bytes for what was read of it", limit: BUNDLE_RATIO_MAX };
    }
    if error.kind() == io::ErrorKind::UnexpectedEof || error.to_string().contains("unexpected EOF") {
        return BundleError::CutOff;
    }
    BundleFault::new("the archive", format!("can't be read: {error}")).into()
}

/// Bytes of zeros that fill the last block of a content.
fn padding_of(size: u64) -> u64 {
    (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES
}

/// The next member, which must be the regular file `name` with exactly the header that this program writes for it.
fn next<'a, R: Read + 'a>(
    entries: &mut tar::Entries<'a, R>,
    name: &str,
    (size, progress): (Option<u64>, &Progress),
) -> Result<tar::Entry<'a, R>, BundleError> {
    let first = |entries: &mut tar::Entries<'a, R>| match entries.next() {
        None => Err(BundleError::CutOff),
        Some(Err(error)) => Err(failure(progress, error)),
        Some(Ok(entry)) => Ok(entry),
    };
    let mut entry = first(entries)?;
    let misplaced = |entry: &tar::Entry<'_, R>| {
        let found = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        BundleError::from(BundleFault::new(&found, format!("stands where `{name}` belongs, or has another header")))
    };
    let head = head_of(name, size.unwrap_or(entry.size())).map_err(BundleError::Read)?;
    let (long_name, header) = head.split_at(head.len().saturating_sub(BLOCK_BYTES as usize));
    if !long_name.is_empty() {
        let (name_header, bytes) = long_name.split_at(BLOCK_BYTES as usize);
        if entry.header().as_bytes().as_slice() != name_header {
            return Err(misplaced(&entry));
        }
        let mut found = Vec::new();
        entry.read_to_end(&mut found).map_err(|error| failure(progress, error))?;
        if !bytes.starts_with(&found) || (found.len() as u64) < entry.size() {
            return Err(misplaced(&entry));
        }
        progress.padding.set(padding_of(entry.size()));
        entry = first(entries)?;
    }
    if entry.header().as_bytes().as_slice() != header {
        return Err(misplaced(&entry));
    }
    Ok(entry)
}

/// Reads all of a short member.
fn read_whole<R: Read>(
    mut entry: tar::Entry<'_, R>,
    (limit, progress): (u64, &Progress),
) -> Result<Vec<u8>, BundleError> {
    let size = entry.size();
    if size > limit {
        return Err(BundleError::TooLarge { what: "a longer manifest", limit });
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| failure(progress, error))?;
    if (text.len() as u64) < size {
        return Err(BundleError::CutOff);
    }
    progress.padding.set(padding_of(size));
    Ok(text)
}

fn read_manifest<'a, R: Read + 'a>(
    entries: &mut tar::Entries<'a, R>,
    progress: &Progress,
) -> Result<BundleManifest, BundleError> {
    /// What can be read of any format.
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let entry = next(entries, BUNDLE_MANIFEST_NAME, (None, progress)).map_err(|error| match error {
        BundleError::Corrupt(_) => BundleError::Foreign,
        other => other,
    })?;
    let text = read_whole(entry, (BUNDLE_MANIFEST_BYTES_MAX, progress))?;
    let expected = seal_of(&text);
    let entry = next(entries, BUNDLE_SEAL_NAME, (Some(expected.len() as u64), progress))?;
    if read_whole(entry, (BLOCK_BYTES, progress))? != expected.as_bytes() {
        return Err(BundleFault::new(BUNDLE_MANIFEST_NAME, "is not what its digest says").into());
    }
    let unreadable =
        |error: serde_json::Error| BundleFault::new(BUNDLE_MANIFEST_NAME, format!("can't be read: {error}"));
    let version: Version = serde_json::from_slice(&text).map_err(unreadable)?;
    if version.format > BUNDLE_FORMAT {
        return Err(BundleError::NewerFormat { found: version.format, supported: BUNDLE_FORMAT });
    }
    Ok(serde_json::from_slice(&text).map_err(unreadable)?)
}

/// Reads what a bundle says of itself, and nothing of what it carries.
///
/// # Errors
/// When it is none, or its manifest breaks a rule.
pub fn read_bundle_manifest(input: impl Read) -> Result<BundleManifest, BundleError> {
    let mut reader = Reader::new(input)?;
    let progress = Rc::clone(&reader.progress);
    let mut entries = reader.archive.entries().map_err(|error| failure(&progress, error))?.raw(true);
    let manifest = read_manifest(&mut entries, &progress)?;
    check::structure(&manifest)?;
    Ok(manifest)
}

/// Whether a file that begins with `start` (its first block, as far as there is one) may be a bundle.
#[must_use]
pub fn looks_like_bundle(start: &[u8]) -> bool {
    start.starts_with(&ZSTD_MAGIC) || start.get(257..262) == Some(b"ustar".as_slice())
}
