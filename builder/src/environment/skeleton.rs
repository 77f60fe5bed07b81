//! What a virtualenv has besides packages: interpreter links, `pyvenv.cfg`, activation scripts.

use std::borrow::Cow;
use std::path::Path;

use pip_accel_schema::interpreter::Implementation;

use super::activation::{self, Values};
use super::error::EnvironmentError;
use super::merge::Own;
use super::python2;
use super::request::EnvironmentPython;

/// Makes up for a mistake of some pips about links; see its first lines.
const LINKS_HOOK: &str = include_str!("links_hook.py");

/// Loads the hook when the interpreter is started for pip: as `pip`, `pip3.11` or `-m pip`. Where there is no
/// `sys.orig_argv` (before 3.10), always.
const LINKS_HOOK_PTH: &str = "import sys; any(word.rsplit('/', 1)[-1].startswith('pip') for word in \
     getattr(sys, 'orig_argv', ['', 'pip'])[1:3]) and __import__('_pip_accel_links')\n";

/// Own files and links by path, and own folders.
#[derive(Debug, Default)]
pub(super) struct Skeleton {
    pub(super) files: Vec<(String, Own<'static>)>,
    pub(super) directories: Vec<String>,
}

impl Skeleton {
    pub(super) fn text(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let content = Cow::Owned(text.into().into_bytes());
        self.files.push((path.into(), Own::File { content, executable: false }));
    }

    pub(super) fn link(&mut self, path: impl Into<String>, target: impl Into<String>) {
        self.files.push((path.into(), Own::Link(target.into())));
    }
}

/// Path as text, which everything that is written into files must be.
pub(super) fn utf8(path: &Path) -> Result<&str, EnvironmentError> {
    path.to_str().ok_or_else(|| EnvironmentError::NotUtf8(path.to_owned()))
}

/// `include/site/python3.11`: where headers of packages go, as pip has it.
pub(super) fn headers_folder(python: &EnvironmentPython) -> String {
    format!("include/site/python{}.{}", python.version.major, python.version.minor)
}

/// Everything that belongs to the environment itself.
pub(super) fn skeleton(python: &EnvironmentPython, values: Values<'_>) -> Result<Skeleton, EnvironmentError> {
    let mut skeleton = Skeleton::default();
    let executable = utf8(&python.executable)?;
    let home = python.executable.parent().and_then(Path::to_str).unwrap_or("/");
    for folder in ["bin", "include", python.site_packages.as_str()] {
        skeleton.directories.push(folder.to_owned());
    }
    skeleton.link("lib64", "lib");
    // Version control leaves the environment out, as in one made by `venv` of 3.13 or uv.
    skeleton.text(".gitignore", "*\n");
    skeleton.text(
        "pyvenv.cfg",
        format!(
            "home = {home}\ninclude-system-site-packages = false\nversion = {}\nexecutable = {executable}\nprompt = {}\n",
            python.full_version,
            python_literal(values.prompt),
        ),
    );
    let version = python.version;
    let (main, mut others) = match python.implementation {
        Implementation::CPython => ("python", vec![]),
        Implementation::PyPy if version.major == 2 => ("pypy", vec!["python".to_owned()]),
        Implementation::PyPy => ("pypy3", vec!["pypy".to_owned(), "python".to_owned()]),
    };
    others.push(format!("python{}", version.major));
    others.push(format!("python{}.{}", version.major, version.minor));
    if version.major == 2 {
        python2::add(&mut skeleton, python)?;
    } else {
        skeleton.link(format!("bin/{main}"), executable);
    }
    for other in others {
        skeleton.link(format!("bin/{other}"), main);
    }
    for (name, text) in activation::scripts(python, values) {
        skeleton.text(format!("bin/{name}"), text);
    }
    Ok(skeleton)
}

/// Adds what lets every pip remove links.
pub(super) fn add_links_hook(skeleton: &mut Skeleton, python: &EnvironmentPython) {
    skeleton.text(format!("{}/_pip_accel_links.py", python.site_packages), LINKS_HOOK);
    skeleton.text(format!("{}/_pip_accel_links.pth", python.site_packages), LINKS_HOOK_PTH);
}

/// A string literal of Python, which is how `venv` writes the prompt.
fn python_literal(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for character in text.chars() {
        if character == quote || character == '\\' {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal.push(quote);
    literal
}
