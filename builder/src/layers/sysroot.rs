//! The second best, where nothing can be laid over `/usr`: the layers as one folder, and variables that lead compilers there.
//!
//! Four of six builds that were tried are content with it. What is not: programs that look for absolute paths of their own.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use pip_accel_schema::manifest::EntryKind;
use pip_accel_store::Store;

use super::{LayerError, Layers};

/// Largest text in which paths are written anew: `.pc` files and scripts such as `mysql_config`.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// The layers of a build as a folder.
#[derive(Debug)]
pub(crate) struct Sysroot {
    /// The folder on this machine, without `usr`.
    pub(crate) folder: PathBuf,
    /// The folder as the build sees it.
    pub(crate) seen: PathBuf,
    /// The folder that libraries of this machine lie in, below `usr/lib`; empty where there is none.
    triplet: String,
}

impl Sysroot {
    /// Copies `layers` into `folder`, which is made. What builds see as `seen`.
    pub(crate) fn make(store: &Store, layers: &Layers, folder: &Path, seen: &Path) -> Result<Self, LayerError> {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let sysroot = Self { folder: folder.to_owned(), seen: seen.to_owned(), triplet };
        for layer in layers.objects() {
            for entry in store.read_manifest(layer)?.entries() {
                if !entry.path.as_str().starts_with("usr") {
                    continue;
                }
                let (from, to) = (layer.path.join(entry.path.as_str()), folder.join(entry.path.as_str()));
                let placed = sysroot.place(&entry.kind, (&from, &to));
                placed.map_err(|source| LayerError::File { path: to, source })?;
            }
        }
        Ok(sysroot)
    }

    fn place(&self, kind: &EntryKind, (from, to): (&Path, &Path)) -> io::Result<()> {
        match kind {
            EntryKind::Directory => fs::create_dir_all(to),
            // The first layer counts, as in an overlay.
            _ if to.symlink_metadata().is_ok() => Ok(()),
            EntryKind::Symlink { target } => {
                let on_host = Path::new("/").join(to.strip_prefix(&self.folder).unwrap_or(to));
                let is_here = from.metadata().is_ok();
                let wanted = on_host.parent().map(|folder| folder.join(target)).filter(|path| path.exists());
                // A link to what the machine has (`libffi.so -> libffi.so.8`) leads nowhere from here.
                match wanted {
                    Some(wanted) if !is_here => symlink(wanted, to),
                    _ => symlink(target, to),
                }
            }
            EntryKind::File { size, executable, .. } => {
                if *size <= TEXT_BYTES_MAX && (to.extension().is_some_and(|ending| ending == "pc") || *executable) {
                    let content = fs::read(from)?;
                    let is_script = !*executable || content.starts_with(b"#!");
                    if let Ok(text) = String::from_utf8(content)
                        && is_script
                    {
                        fs::write(to, self.rewritten(&text))?;
                        let mode = if *executable { 0o755 } else { 0o644 };
                        return fs::set_permissions(to, fs::Permissions::from_mode(mode));
                    }
                }
                fs::copy(from, to).map(drop)
            }
        }
    }

    /// A text with this folder before the folders of headers and libraries that it names.
    fn rewritten(&self, text: &str) -> String {
        let seen = self.seen.to_string_lossy();
        let mut text = text.replace("prefix=/usr\n", &format!("prefix={seen}/usr\n"));
        for folder in ["/usr/include", "/usr/lib"] {
            for before in ["=", "-I", "-L", "'", "\"", " "] {
                text = text.replace(&format!("{before}{folder}"), &format!("{before}{seen}{folder}"));
            }
        }
        text
    }

    /// The folder of programs, for a `PATH`.
    pub(crate) fn programs(&self) -> String {
        format!("{}/usr/bin", self.seen.display())
    }

    /// The variables of a build that has this folder, but for its `PATH`.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let joined = |folders: &[String]| {
            let seen = self.seen.to_string_lossy();
            folders.iter().map(|folder| format!("{seen}/usr/{folder}")).collect::<Vec<_>>().join(":")
        };
        let triplet = &self.triplet;
        let libraries = joined(&[format!("lib/{triplet}"), "lib".to_owned()]);
        let variables = [
            ("CPATH", joined(&["include".to_owned(), format!("include/{triplet}")])),
            ("LIBRARY_PATH", libraries.clone()),
            ("LD_LIBRARY_PATH", libraries),
            (
                "PKG_CONFIG_PATH",
                joined(&[format!("lib/{triplet}/pkgconfig"), "lib/pkgconfig".to_owned(), "share/pkgconfig".to_owned()]),
            ),
            ("CMAKE_PREFIX_PATH", format!("{}/usr", self.seen.display())),
            ("ACLOCAL_PATH", joined(&["share/aclocal".to_owned()])),
        ];
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
