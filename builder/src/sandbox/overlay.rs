//! Laying folders over the `/usr` of a sandbox, by the kernel's overlayfs, in namespaces of its own before bwrap runs.
//!
//! bwrap can do it itself from 0.11 on; no stable Debian has that yet. So the process that becomes bwrap enters a mount namespace (as an
//! ordinary user below a user namespace, which Linux 5.11 lets mount overlays), mounts the stack beside the host's `/usr`, where
//! it changes nothing for bwrap itself, and bwrap binds it in place of `/usr`.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, getgid, getuid, write};

use super::host::Identity;

/// Folders that are laid over `/usr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// The folders, absolute; what is in one hides the same of those after it and of the host's `/usr`.
    pub layers: Vec<PathBuf>,
    /// A private folder of the run, in which the stack is put together. Nothing is left in it that shows outside.
    pub work: PathBuf,
}

impl Overlay {
    /// Where the stack is while a sandbox runs.
    pub(super) fn mounted(&self) -> PathBuf {
        self.work.join("usr")
    }
}

/// An overlay ready to be mounted between fork and exec: nothing is allocated from here on.
#[derive(Debug)]
pub(super) struct OverlayMount {
    work: CString,
    target: CString,
    options: CString,
    /// What is written to `uid_map` and `gid_map`; `None` for root, who needs no user namespace.
    maps: Option<(Vec<u8>, Vec<u8>)>,
}

impl OverlayMount {
    /// Prepares the folder of work.
    pub(super) fn prepare(overlay: &Overlay, identity: Identity) -> io::Result<Self> {
        // Names of one figure: the kernel takes one page of options, and paths in a store are long and may have colons.
        let mut folders = Vec::with_capacity(overlay.layers.len() + 1);
        for (number, layer) in overlay.layers.iter().enumerate() {
            let name = number.to_string();
            let link = overlay.work.join(&name);
            if link.read_link().ok().as_ref() != Some(layer) {
                drop(fs::remove_file(&link));
                symlink(layer, &link)?;
            }
            folders.push(name);
        }
        folders.push("/usr".to_owned());
        fs::create_dir_all(overlay.mounted())?;
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
        let maps = match identity {
            Identity::Caller => {
                let (user, group) = (getuid(), getgid());
                Some((format!("{user} {user} 1\n").into_bytes(), format!("{group} {group} 1\n").into_bytes()))
            }
            Identity::Delegated { .. } => None,
        };
        Ok(Self {
            work: text(&overlay.work)?,
            target: c"usr".to_owned(),
            options: CString::new(format!("lowerdir={}", folders.join(":")))?,
            maps,
        })
    }

    /// Mounts it for this process and those that it starts. To be called between fork and exec: only system calls.
    pub(super) fn mount(&self) -> io::Result<()> {
        chdir(self.work.as_c_str())?;
        match &self.maps {
            Some((user, group)) => {
                unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
                put(c"/proc/self/setgroups", b"deny")?;
                put(c"/proc/self/uid_map", user)?;
                put(c"/proc/self/gid_map", group)?;
            }
            None => unshare(CloneFlags::CLONE_NEWNS)?,
        }
        let nothing: Option<&std::ffi::CStr> = None;
        // Or the machine would see it.
        mount(nothing, c"/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing)?;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(c"overlay"), self.target.as_c_str(), Some(c"overlay"), flags, Some(self.options.as_c_str()))?;
        chdir(c"/")?;
        Ok(())
    }
}

fn put(path: &std::ffi::CStr, content: &[u8]) -> io::Result<()> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, content)?;
    Ok(())
}
