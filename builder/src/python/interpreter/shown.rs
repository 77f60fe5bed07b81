//! Which files of the machine a sandbox shows of an interpreter: never somebody's home, wherever that is.

use std::path::{Path, PathBuf};

use super::PythonInstallation;

/// What only a home directory has. A prefix that holds one of these is shown in parts, whoever lives there.
const IN_HOMES: [&str; 6] = [".ssh", ".gnupg", ".netrc", ".aws", ".config", ".bashrc"];

impl PythonInstallation {
    /// Files and folders that a sandbox must show for it to run and to compile for it: sorted, none inside another.
    ///
    /// The whole prefix, as conda, pyenv and uv have one for each interpreter; of a prefix that other programs or files
    /// share, or that is a home directory (`home`, or of any user that `/etc/passwd` names) or holds one, only the
    /// interpreter's own files.
    #[must_use]
    pub fn runtime_paths(&self, home: Option<&Path>) -> Vec<PathBuf> {
        let homes = homes(&std::fs::read_to_string("/etc/passwd").unwrap_or_default(), home);
        let mut paths = self.own_paths.clone();
        paths.extend(self.prefixes.iter().filter(|prefix| !is_shared(prefix, &homes)).cloned());
        paths.push(self.executable.clone());
        paths.retain(|path| path.is_absolute() && path.exists());
        // Every sandbox has the links of `/usr`, and bwrap refuses to mount on one (`libpython3.14.a` of Debian is one).
        for path in paths.iter_mut().filter(|path| path.starts_with("/usr") && path.is_symlink()) {
            *path = path.canonicalize().unwrap_or_else(|_| path.clone());
        }
        paths.sort();
        paths.dedup();
        let mut outermost: Vec<PathBuf> = Vec::new();
        for path in paths {
            if !outermost.iter().any(|outer| path.starts_with(outer)) {
                outermost.push(path);
            }
        }
        outermost
    }
}

/// The home directories of this machine, links resolved as well.
fn homes(passwd: &str, own: Option<&Path>) -> Vec<PathBuf> {
    let named = passwd.lines().filter_map(|line| line.split(':').nth(5)).map(PathBuf::from);
    let mut homes: Vec<PathBuf> = named.chain(own.map(Path::to_owned)).filter(|path| path.is_absolute()).collect();
    let resolved: Vec<PathBuf> = homes.iter().filter_map(|path| path.canonicalize().ok()).collect();
    homes.extend(resolved);
    homes
}

/// Prefixes that hold more than one program: of these only the interpreter's own files are shown.
pub(super) fn is_shared(prefix: &Path, homes: &[PathBuf]) -> bool {
    let known = ["/", "/usr", "/usr/local", "/opt", "/root", "/home"].map(Path::new);
    let is_home = prefix.parent() == Some(Path::new("/home"));
    let resolved = prefix.canonicalize().unwrap_or_else(|_| prefix.to_owned());
    let holds_home = homes.iter().any(|home| home.starts_with(prefix) || home.starts_with(&resolved));
    known.contains(&prefix)
        || is_home
        || holds_home
        || prefix.file_name().is_some_and(|name| name == ".local")
        || IN_HOMES.iter().any(|name| prefix.join(name).symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_shared_prefixes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/srv/people/me:/bin/sh\nbad line\n";
        let homes = homes(passwd, Some(Path::new("/data/mine")));
        for shared in ["/usr", "/home/me/.local", "/home/me", "/srv/people", "/srv/people/me", "/data/mine", "/data"] {
            assert!(is_shared(Path::new(shared), &homes), "{shared}");
        }
        for own in ["/home/me/.pyenv/versions/3.11.7", "/srv/people/me/conda", "/data/mine/python", "/opt/python3.12"] {
            assert!(!is_shared(Path::new(own), &homes), "{own}");
        }
    }
}
