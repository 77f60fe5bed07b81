//! The files of one package, each with its place: those of its object, scripts that name the interpreter, metadata.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use pip_accel_schema::link_plan::{DATA_FOLDER, HEADERS_FOLDER, LinkPlan, SCRIPTS_FOLDER, SITE_FOLDER};
use sha2::{Digest, Sha256};

use super::super::error::InstallError;
use crate::environment::{Recorded, entry_point_script, parse_record, script_shebang, with_shebang};
use crate::python::metadata::WheelMetadata;
use crate::realize::link::Part;

/// Longest metadata file read.
const METADATA_BYTES_MAX: u64 = 1 << 20;

/// Where the parts of this package go.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) purelib: PathBuf,
    pub(super) platlib: PathBuf,
    pub(super) scripts: PathBuf,
    pub(super) headers: PathBuf,
    pub(super) data: PathBuf,
    /// The interpreter of scripts.
    pub(super) python: PathBuf,
    /// Whether bytecode is left out.
    pub(super) without_bytecode: bool,
}

/// What a file is made of.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A file of the object.
    File(PathBuf),
    /// This text.
    Text(Vec<u8>),
}

/// One file to be written.
#[derive(Debug, Clone)]
pub(super) struct NewFile {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    pub(super) executable: bool,
}

/// Files of the metadata that an installer writes itself.
const INSTALLER_FILES: [&str; 6] = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s"];

/// The files of `part` for `places`.
pub(super) fn contents(part: &Part, places: &Places) -> Result<Vec<NewFile>, InstallError> {
    let object = &part.tree.object;
    let nothing = LinkPlan::default();
    let plan = object.link_plan.as_deref().unwrap_or(&nothing);
    let site = object.path.join(SITE_FOLDER);
    let wheel = read(&site.join(&plan.dist_info).join("WHEEL"));
    let is_pure = WheelMetadata::parse(wheel.as_bytes()).is_ok_and(|wheel| wheel.root_is_purelib);
    let library = if is_pure { &places.purelib } else { &places.platlib };
    let metadata = library.join(&plan.dist_info);
    let shebang = script_shebang(&places.python.to_string_lossy());
    let mut files = Vec::new();
    let own_metadata = Path::new(&plan.dist_info);
    for (relative, path) in walk(&site)? {
        let is_installers = relative.parent() == Some(own_metadata)
            && relative.file_name().is_some_and(|name| INSTALLER_FILES.iter().any(|known| name == *known));
        let is_bytecode = relative.extension().is_some_and(|ending| ending == "pyc");
        if !(is_installers || is_bytecode && places.without_bytecode) {
            files.push(file(library.join(relative), path));
        }
    }
    for (relative, path) in walk(&object.path.join(SCRIPTS_FOLDER))? {
        let is_python = plan.data_scripts.iter().any(|script| script.python && Path::new(&script.name) == relative);
        let to = places.scripts.join(&relative);
        let content = std::fs::read(&path).ok().filter(|_| is_python).and_then(|text| with_shebang(&text, &shebang));
        files.push(match content {
            Some(text) => NewFile { path: to, content: Content::Text(text), executable: true },
            None => NewFile { path: to, content: Content::File(path), executable: true },
        });
    }
    for (relative, path) in walk(&object.path.join(HEADERS_FOLDER))? {
        files.push(file(places.headers.join(object.name.as_str()).join(relative), path));
    }
    for (relative, path) in walk(&object.path.join(DATA_FOLDER))? {
        files.push(file(places.data.join(relative), path));
    }
    for entry in &plan.entry_points {
        let text = entry_point_script(&shebang, entry).into_bytes();
        files.push(NewFile { path: places.scripts.join(&entry.name), content: Content::Text(text), executable: true });
    }
    let mut text = |name: &str, text: &str| {
        let content = Content::Text(text.as_bytes().to_vec());
        files.push(NewFile { path: metadata.join(name), content, executable: false });
    };
    text("INSTALLER", "pip-accel\n");
    if part.requested {
        text("REQUESTED", "");
    }
    if let Some(url) = &part.direct_url {
        text("direct_url.json", url);
    }
    let original = parse_record(&read(&site.join(&plan.dist_info).join("RECORD")));
    let record = record(&files, (library, &site), (&original, &metadata));
    files.push(NewFile {
        path: metadata.join("RECORD"),
        content: Content::Text(record.into_bytes()),
        executable: false,
    });
    Ok(files)
}

fn file(to: PathBuf, from: PathBuf) -> NewFile {
    let executable = std::fs::metadata(&from).is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0);
    NewFile { path: to, content: Content::File(from), executable }
}

/// The text of the `RECORD`: paths relative to the folder of modules, hashes as the wheel has them, or computed.
fn record(
    files: &[NewFile],
    (library, site): (&Path, &Path),
    (original, metadata): (&HashMap<String, Recorded>, &Path),
) -> String {
    let mut lines: Vec<String> = Vec::with_capacity(files.len() + 1);
    for file in files {
        let path = relative(&file.path, library);
        let known = match &file.content {
            Content::File(from) => {
                let inside = from.strip_prefix(site).ok().and_then(Path::to_str);
                inside.and_then(|inside| original.get(&format!("{SITE_FOLDER}/{inside}")))
            }
            Content::Text(_) => None,
        };
        let is_bytecode = file.path.extension().is_some_and(|ending| ending == "pyc");
        let end = match (known, &file.content) {
            _ if is_bytecode => ",,".to_owned(),
            (Some(recorded), _) => format!(",{},{}", recorded.hash, recorded.size),
            (None, Content::Text(text)) => hashed(text),
            (None, Content::File(from)) => std::fs::read(from).map_or(",,".to_owned(), |bytes| hashed(&bytes)),
        };
        lines.push(format!("{}{end}", quoted(&path)));
    }
    lines.push(format!("{},,", quoted(&relative(&metadata.join("RECORD"), library))));
    lines.sort();
    lines.join("\n") + "\n"
}

fn hashed(bytes: &[u8]) -> String {
    format!(",sha256={},{}", BASE64URL_NOPAD.encode(&Sha256::digest(bytes)), bytes.len())
}

fn quoted(path: &str) -> String {
    if path.contains([',', '"', '\n', '\r']) { format!("\"{}\"", path.replace('"', "\"\"")) } else { path.to_owned() }
}

/// `path` as seen from the folder `base`, with `..` as far as needed.
fn relative(path: &Path, base: &Path) -> String {
    let (path_parts, base_parts): (Vec<_>, Vec<_>) = (path.components().collect(), base.components().collect());
    let common = path_parts.iter().zip(&base_parts).take_while(|(left, right)| left == right).count();
    let mut text = String::new();
    for _ in common..base_parts.len() {
        text.push_str("../");
    }
    let rest: PathBuf = path_parts[common..].iter().collect();
    let _ = write!(text, "{}", rest.display());
    text
}

/// All files below `folder` with their relative paths; nothing where it is not there. Links of objects are files to an
/// installer.
fn walk(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, InstallError> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let path = folder.join(&relative);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && relative.as_os_str().is_empty() => break,
            Err(error) => return Err(InstallError::io("read", path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(InstallError::io("read", &path))?;
            let kind = entry.file_type().map_err(InstallError::io("read", entry.path()))?;
            let below = relative.join(entry.file_name());
            if kind.is_dir() {
                open.push(below);
            } else {
                files.push((below, entry.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> String {
    let mut text = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(METADATA_BYTES_MAX << 6).read_to_end(&mut text));
    read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_folder_of_modules() {
        let library = Path::new("/p/lib/python3.11/site-packages");
        for (path, expected) in [
            ("/p/lib/python3.11/site-packages/a/b.py", "a/b.py"),
            ("/p/bin/x", "../../../bin/x"),
            ("/elsewhere/y", "../../../../elsewhere/y"),
        ] {
            assert_eq!(relative(Path::new(path), library), expected);
        }
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
