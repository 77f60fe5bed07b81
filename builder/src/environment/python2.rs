//! Python 2.7, whose interpreter knows no `pyvenv.cfg`.
//!
//! It looks for its library beside its own executable, after following links, and takes the environment for its own
//! prefix when it finds one there. So the environment gets a copy of the executable and a link for each entry of the
//! standard library: what `virtualenv` did. A line in a `.pth` file tells pip that this is a virtualenv
//! (`sys.real_prefix`) and keeps the user's own site-packages out.
//!
//! Limits: CPython only; an interpreter that finds its shared library relative to itself (`$ORIGIN`) does not start;
//! and `.pth` files of the user's site-packages are read before they are taken off the path.

use std::fmt::Write as _;
use std::path::Path;

use pip_accel_schema::interpreter::Implementation;

use super::error::EnvironmentError;
use super::merge::Own;
use super::request::EnvironmentPython;
use super::skeleton::{Skeleton, utf8};

/// Adds the interpreter and its library.
pub(super) fn add(skeleton: &mut Skeleton, python: &EnvironmentPython) -> Result<(), EnvironmentError> {
    let refuse = |reason: String| EnvironmentError::Interpreter { path: python.executable.clone(), reason };
    if python.implementation != Implementation::CPython {
        return Err(refuse("of the interpreters of Python 2.7 only CPython is supported".to_owned()));
    }
    let executable = python.executable.canonicalize().map_err(EnvironmentError::io("read", &python.executable))?;
    let prefix = executable.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let library = prefix.join("lib/python2.7");
    if !library.join("os.py").is_file() {
        return Err(refuse(format!("its standard library is not in `{}`", library.display())));
    }
    skeleton.files.push(("bin/python".to_owned(), Own::CopyOf(utf8(&executable)?.to_owned())));
    let entries = std::fs::read_dir(&library).map_err(EnvironmentError::io("read the folder", &library))?;
    for entry in entries {
        let entry = entry.map_err(EnvironmentError::io("read the folder", &library))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name != "site-packages" && name != "dist-packages" && name != "no-global-site-packages.txt" {
            skeleton.link(format!("lib/python2.7/{name}"), utf8(&entry.path())?);
        }
    }
    // Debian's interpreter looks into `dist-packages` alone.
    skeleton.link("lib/python2.7/dist-packages", "site-packages");
    skeleton.text("lib/python2.7/no-global-site-packages.txt", "");
    skeleton.link("include/python2.7", utf8(&prefix.join("include/python2.7"))?);
    skeleton.text(
        format!("{}/_pip_accel_virtualenv.pth", python.site_packages),
        format!(
            "import sys, site; sys.real_prefix = {}; site.ENABLE_USER_SITE = False; \
             sys.path[:] = [p for p in sys.path if p != getattr(site, 'USER_SITE', None)]\n",
            byte_literal(utf8(prefix)?)
        ),
    );
    Ok(())
}

/// A byte string literal of ASCII characters alone.
fn byte_literal(text: &str) -> String {
    let mut literal = String::from("'");
    for byte in text.bytes() {
        match byte {
            b'\'' | b'\\' | 0..=31 | 127.. => {
                let _ = write!(literal, "\\x{byte:02x}");
            }
            byte => literal.push(char::from(byte)),
        }
    }
    literal.push('\'');
    literal
}
