//! How the tree of a wheel becomes links of an environment; computed once, when the object is registered.
//!
//! An object's directory holds up to five folders, one for each destination of the wheel format:
//! `site` (purelib and platlib), `scripts`, `headers`, `data`, and nothing else but `manifest.json`.

use serde::{Deserialize, Serialize};

use crate::manifest::EntryPath;

/// Folder of an object that goes to `site-packages`.
pub const SITE_FOLDER: &str = "site";
/// Folder of an object whose files go to `bin/` (`.data/scripts`).
pub const SCRIPTS_FOLDER: &str = "scripts";
/// Folder of an object whose files go below `include/`.
pub const HEADERS_FOLDER: &str = "headers";
/// Folder of an object whose files go to the environment's root (`.data/data`).
pub const DATA_FOLDER: &str = "data";

/// One path that an environment links, relative to its folder in the object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkEntry {
    /// Where, relative to the folder.
    pub path: EntryPath,
    /// Whether it is a folder in the object (the link then covers all below it).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_directory: bool,
}

/// One console or GUI script of `entry_points.txt`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryPoint {
    /// The script's file name in `bin/`.
    pub name: String,
    /// The dotted module.
    pub module: String,
    /// The dotted attribute inside the module.
    pub attribute: String,
}

/// A file of `.data/scripts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataScript {
    /// The script's file name in `bin/`.
    pub name: String,
    /// Whether its first line is `#!python…`, which is rewritten for the environment; other scripts are linked.
    pub python: bool,
}

/// What the ELF files of an object need of the host to run: what resolved there when the object was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeNeeds {
    /// Libraries that the host's loader finds by name (`libxml2.so.2`), or by an absolute search path of the file
    /// (`/opt/x/lib/libx.so.1`); sorted. Those of the object itself are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<String>,
    /// Major and minor version of the GNU C library whose symbols they need; `None` if they need none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glibc: Option<(u16, u16)>,
}

/// The plan of one object.
///
/// `site_directories` and `data_directories` are made as real folders (parents included, sorted);
/// `site_links` and `data_links` are the links below them, sorted. A path is in one list only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Folders of `site` that must be real: namespace packages, folders above ELF files whose RPATH leaves
    /// the object, `.dist-info`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_directories: Vec<EntryPath>,
    /// Links in `site-packages`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site_links: Vec<LinkEntry>,
    /// Folders of `data` that are real: all of them, since other packages share them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_directories: Vec<EntryPath>,
    /// Links below the environment's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_links: Vec<LinkEntry>,
    /// Files below `include/site/pythonX.Y/<name>/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_links: Vec<LinkEntry>,
    /// The `.dist-info` folder of the object in `site`.
    pub dist_info: String,
    /// Scripts that are generated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<EntryPoint>,
    /// Scripts that come as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_scripts: Vec<DataScript>,
    /// Of an object that was built: what it needs of the host. `None` for other objects, and where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<RuntimeNeeds>,
}
