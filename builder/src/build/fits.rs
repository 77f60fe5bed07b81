//! Whether what was built fits this host: the choice among the realisations of a recipe.

use std::fmt;
use std::sync::Arc;

use pip_accel_schema::interpreter::Libc;
use pip_accel_schema::manifest::Provenance;
use pip_accel_schema::recipe::Recipe;
use pip_accel_schema::system_inputs::SystemInputs;
use pip_accel_store::{Object, StoreError};

use super::host_lists::HostLists;
use super::system::SystemNow;
use crate::python::loader::HostLibraries;
use crate::session::{Session, SystemInputsPolicy};

/// Why an object that was built does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// A library that it is linked with is gone.
    Library(String),
    /// The C library is older than what it needs.
    Glibc { needs: (u16, u16), has: (u16, u16) },
    /// A package that its build read has another version, or is gone.
    Package { name: String, was: String, is: Option<String> },
    /// A file that its build read has another content, or is gone.
    File(String),
    /// Something that its build did without is there now.
    Appeared(String),
    /// Nobody knows what its build read.
    Untraced,
}

/// The end of a sentence that begins with what is built anew, and why.
impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(library) => {
                write!(formatter, "the library {library}, which the build in the store is linked with, is gone")
            }
            Self::Glibc { needs, has } => write!(
                formatter,
                "the build in the store needs the C library {}.{}, this host has {}.{}",
                needs.0, needs.1, has.0, has.1
            ),
            Self::Package { name, was, is: Some(is) } => {
                write!(formatter, "it was built on {name} {was}, this host has {is}")
            }
            Self::Package { name, was, is: None } => {
                write!(formatter, "it was built on {name} {was}, which this host does not have")
            }
            Self::File(path) => write!(formatter, "`{path}`, which its build read, is another one now"),
            Self::Appeared(path) => write!(formatter, "`{path}`, which its build did without, is there now"),
            Self::Untraced => formatter.write_str("what the build in the store read of the system is not known"),
        }
    }
}

/// What is known of this host; each part is read when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct HostNow {
    libraries: std::sync::OnceLock<HostLibraries>,
    system: std::sync::OnceLock<SystemNow>,
    lists: Arc<HostLists>,
}

impl HostNow {
    fn libraries(&self) -> &HostLibraries {
        self.libraries.get_or_init(HostLibraries::of_this_host)
    }

    fn system(&self) -> &SystemNow {
        self.system.get_or_init(SystemNow::read)
    }

    /// Which file is whose.
    pub(super) fn lists(&self) -> Arc<HostLists> {
        Arc::clone(&self.lists)
    }
}

/// Why `object` does not fit by the session's policy; `None` if it does. Only what was built can be a misfit.
pub(crate) fn misfit(session: &Session, object: &Object) -> Option<Misfit> {
    let needs = object.link_plan.as_deref().and_then(|plan| plan.needs.as_ref());
    if let Some(needs) = needs {
        if let (Some(needs), Some(has)) = (needs.glibc, glibc(session))
            && needs > has
        {
            return Some(Misfit::Glibc { needs, has });
        }
        let libraries = session.host_now().libraries();
        if let Some(gone) = needs.libraries.iter().find(|library| !libraries.has(library)) {
            return Some(Misfit::Library(gone.clone()));
        }
    }
    if session.options.system_inputs == SystemInputsPolicy::Compatible {
        return None;
    }
    match &object.provenance {
        Provenance::Build { read: Some(read), .. } => differs(session.host_now().system(), read),
        Provenance::Build { read: None, .. } => Some(Misfit::Untraced),
        Provenance::Source { .. } | Provenance::Wheel { .. } | Provenance::Layer { .. } => None,
    }
}

fn glibc(session: &Session) -> Option<(u16, u16)> {
    match session.python.interpreter.libc {
        Libc::Glibc { major, minor } => Some((major, minor)),
        _ => None,
    }
}

/// The first of the system inputs that is not as it was.
fn differs(now: &SystemNow, read: &SystemInputs) -> Option<Misfit> {
    let package = read.packages.iter().find_map(|package| {
        let is = now.version_of(package);
        (is != Some(package.version.as_str())).then(|| Misfit::Package {
            name: package.name.clone(),
            was: package.version.clone(),
            is: is.map(str::to_owned),
        })
    });
    let file = || read.files.iter().find(|file| !SystemNow::has(file)).map(|file| Misfit::File(file.path.clone()));
    let appeared = || {
        let found = read.without.iter().find(|without| std::path::Path::new(&without.path).exists());
        found.map(|without| Misfit::Appeared(without.path.clone()))
    };
    package.or_else(file).or_else(appeared)
}

/// The best of the objects that were built from `recipe`: the newest that fits, and among several one that was built on
/// what this host has. If there are some and none fits: why the newest does not.
pub(crate) fn fitting(session: &Session, recipe: &Recipe) -> Result<Result<Object, Option<Misfit>>, StoreError> {
    let mut why = None;
    let mut fitting = Vec::new();
    for object in session.lease.take_realisations(&recipe.id())? {
        match misfit(session, &object) {
            None => fitting.push(object),
            Some(misfit) => {
                why.get_or_insert(misfit);
            }
        }
    }
    if fitting.len() > 1 {
        let is_same = |object: &Object| match &object.provenance {
            Provenance::Build { read: Some(read), .. } => differs(session.host_now().system(), read).is_none(),
            _ => false,
        };
        if let Some(position) = fitting.iter().position(is_same) {
            return Ok(Ok(fitting.swap_remove(position)));
        }
    }
    Ok(fitting.into_iter().next().ok_or(why))
}
