//! `[external]` of a project's `pyproject.toml` (PEP 725): what it says that it needs besides Python packages.
//!
//! The names are of no distribution (`dep:generic/libxml2`, `dep:virtual/compiler/c`). A table has those that Debian calls
//! otherwise; the index knows the rest. What neither knows is no package: it is left out, never guessed.

use super::candidates::candidates;
use super::evidence::{Evidence, Kind};
use super::index::SystemIndex;
use super::surroundings::Surroundings;

/// Most entries that are read of one project.
const ENTRIES_MAX: usize = 200;

/// Names as the drafts have them, without `dep:`, and Debian's packages.
const KNOWN: &[(&str, &[&str])] = &[
    ("virtual/compiler/c", &["build-essential"]),
    ("virtual/compiler/c++", &["build-essential"]),
    ("virtual/compiler/cxx", &["build-essential"]),
    ("virtual/compiler/cpp", &["build-essential"]),
    ("virtual/compiler/fortran", &["gfortran"]),
    ("virtual/compiler/rust", &["rustc", "cargo"]),
    ("virtual/compiler/go", &["golang-go"]),
    ("virtual/compiler/cuda", &[]),
    ("virtual/interface/blas", &["libblas-dev"]),
    ("virtual/interface/cblas", &["libblas-dev"]),
    ("virtual/interface/lapack", &["liblapack-dev"]),
    ("virtual/interface/lapacke", &["liblapacke-dev"]),
    ("virtual/interface/mpi", &["libopenmpi-dev"]),
    ("virtual/interface/opengl", &["libgl-dev"]),
    ("generic/make", &["build-essential"]),
    ("generic/gcc", &["build-essential"]),
    ("generic/python", &["python3-dev"]),
    ("generic/pkg-config", &["pkg-config"]),
    ("generic/pkgconf", &["pkg-config"]),
    ("generic/ninja", &["ninja-build"]),
    ("generic/zlib", &["zlib1g-dev"]),
    ("generic/openssl", &["libssl-dev"]),
    ("generic/libjpeg", &["libjpeg-dev"]),
    ("generic/libjpeg-turbo", &["libjpeg-dev"]),
    ("generic/freetype", &["libfreetype-dev"]),
    ("generic/libtiff", &["libtiff-dev"]),
    ("generic/lcms2", &["liblcms2-dev"]),
    ("generic/libxcb", &["libxcb1-dev"]),
    ("generic/libwebp", &["libwebp-dev"]),
    ("generic/openjpeg", &["libopenjp2-7-dev"]),
    ("generic/libxml2", &["libxml2-dev"]),
    ("generic/libxslt", &["libxslt1-dev"]),
    ("generic/libffi", &["libffi-dev"]),
    ("generic/libyaml", &["libyaml-dev"]),
    ("generic/postgresql", &["libpq-dev"]),
    ("generic/libpq", &["libpq-dev"]),
    ("generic/mysql", &["default-libmysqlclient-dev"]),
    ("generic/mariadb-connector-c", &["libmariadb-dev"]),
    ("generic/sqlite", &["libsqlite3-dev"]),
    ("generic/sqlite3", &["libsqlite3-dev"]),
    ("generic/hdf5", &["libhdf5-dev"]),
    ("generic/netcdf", &["libnetcdf-dev"]),
    ("generic/gdal", &["libgdal-dev"]),
    ("generic/geos", &["libgeos-dev"]),
    ("generic/proj", &["libproj-dev"]),
    ("generic/openblas", &["libopenblas-dev"]),
    ("generic/fftw", &["libfftw3-dev"]),
    ("generic/gmp", &["libgmp-dev"]),
    ("generic/mpfr", &["libmpfr-dev"]),
    ("generic/mpc", &["libmpc-dev"]),
    ("generic/suitesparse", &["libsuitesparse-dev"]),
    ("generic/arrow", &[]),
    ("generic/protobuf", &["libprotobuf-dev", "protobuf-compiler"]),
    ("generic/boost", &["libboost-dev"]),
    ("generic/ffmpeg", &["libavformat-dev", "libavcodec-dev", "libavdevice-dev", "libavfilter-dev"]),
    ("generic/cairo", &["libcairo2-dev"]),
    ("generic/glib", &["libglib2.0-dev"]),
    ("generic/gobject-introspection", &["libgirepository1.0-dev"]),
    ("generic/krb5", &["libkrb5-dev"]),
    ("generic/curl", &["libcurl4-openssl-dev"]),
    ("generic/libcurl", &["libcurl4-openssl-dev"]),
    ("generic/bzip2", &["libbz2-dev"]),
    ("generic/xz", &["liblzma-dev"]),
    ("generic/lz4", &["liblz4-dev"]),
    ("generic/zstd", &["libzstd-dev"]),
    ("generic/snappy", &["libsnappy-dev"]),
    ("generic/unixodbc", &["unixodbc-dev"]),
    ("generic/jdk", &["default-jdk-headless"]),
];

/// What a project says that it needs, as it writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct External {
    /// Programs that run while it is built: `build-requires`.
    pub build: Vec<String>,
    /// What it is compiled against: `host-requires`.
    pub host: Vec<String>,
    /// What it needs when it runs: `dependencies`.
    pub run: Vec<String>,
    /// What it can do without: the tables `optional-build-requires`, `optional-host-requires` and `optional-dependencies`.
    pub optional: Vec<Optional>,
}

/// Something that a project can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optional {
    /// The extra that it is for.
    pub extra: String,
    /// As the project writes it.
    pub entry: String,
    /// Whether it is a program that runs while the project is built.
    pub is_program: bool,
}

impl External {
    /// Reads the value of `external`. One that can't be read says nothing: it is no reason to stop.
    #[must_use]
    pub fn of_value(value: Option<&toml::Value>) -> Self {
        let table = value.and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let list = |key: &str| -> Vec<String> {
            let entries = table.get(key).and_then(toml::Value::as_array).into_iter().flatten();
            entries.filter_map(|entry| entry.as_str().map(str::to_owned)).take(ENTRIES_MAX).collect()
        };
        let mut optional = Vec::new();
        for key in ["optional-build-requires", "optional-host-requires", "optional-dependencies"] {
            for (extra, entries) in table.get(key).and_then(toml::Value::as_table).into_iter().flatten() {
                let entries = entries.as_array().into_iter().flatten().filter_map(toml::Value::as_str);
                optional.extend(entries.map(|entry| Optional {
                    extra: extra.clone(),
                    entry: entry.to_owned(),
                    is_program: key == "optional-build-requires",
                }));
            }
        }
        optional.truncate(ENTRIES_MAX);
        Self { build: list("build-requires"), host: list("host-requires"), run: list("dependencies"), optional }
    }

    /// Debian's packages for what the project can do without, each with what names it; what nobody knows is left out.
    pub(crate) fn optional_packages<'a>(&'a self, index: &SystemIndex) -> Vec<(String, &'a Optional)> {
        let mut found: Vec<(String, &Optional)> = Vec::new();
        for optional in &self.optional {
            for package in packages_of(&optional.entry, optional.is_program, index).unwrap_or_default() {
                if !found.iter().any(|(known, _)| *known == package) {
                    found.push((package, optional));
                }
            }
        }
        found
    }

    /// Whether it says anything of what is needed in any case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.build.is_empty() && self.host.is_empty() && self.run.is_empty()
    }

    /// Debian's packages for what a build needs, each with the entry that names it; the entries that nobody knows.
    pub(crate) fn packages(&self, index: &SystemIndex) -> (Vec<(String, String)>, Vec<String>) {
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        let programs = self.build.iter().map(|entry| (entry, true));
        let libraries = self.host.iter().chain(&self.run).map(|entry| (entry, false));
        for (entry, is_program) in programs.chain(libraries) {
            match packages_of(entry, is_program, index) {
                Some(packages) if !packages.is_empty() => {
                    for package in packages {
                        if !found.iter().any(|(known, _)| *known == package) {
                            found.push((package, entry.clone()));
                        }
                    }
                }
                Some(_) => {}
                None => unknown.push(entry.clone()),
            }
        }
        (found, unknown)
    }
}

/// The packages for one entry; empty for what is not needed here, `None` for what nobody knows.
fn packages_of(entry: &str, is_program: bool, index: &SystemIndex) -> Option<Vec<String>> {
    let (url, marker) = entry.split_once(';').unwrap_or((entry, ""));
    if ["Windows", "win32", "Darwin", "darwin"].iter().any(|system| marker.contains(system)) && !marker.contains("!=") {
        return Some(Vec::new());
    }
    let name = name_of(url)?;
    if let Some((_, packages)) = KNOWN.iter().find(|(known, _)| *known == name) {
        return Some(packages.iter().map(|package| (*package).to_owned()).collect());
    }
    if let Some(package) = name.strip_prefix("deb/") {
        let package = package.rsplit('/').next().unwrap_or(package);
        return index.package(package).map(|package| vec![package.name]);
    }
    let plain = name.strip_prefix("generic/").or_else(|| name.strip_prefix("github/"))?;
    let plain = plain.rsplit('/').next().unwrap_or(plain);
    let evidence = Evidence {
        kind: Kind::Custom,
        name: plain.to_owned(),
        line: 0,
        text: String::new(),
        weight: 0,
        is_program,
        reason: None,
    };
    let found = candidates(&evidence, &Surroundings::default(), index).ranked;
    found.into_iter().next().map(|best| vec![best.package])
}

/// `dep:generic/libxml2@>=2.9?x#y` → `generic/libxml2`; `virtual:compiler/c` of the first draft → `virtual/compiler/c`.
fn name_of(url: &str) -> Option<String> {
    let url = url.trim();
    let (scheme, rest) = url.split_once(':')?;
    let rest = rest.trim_start_matches('/');
    let end = rest.find(['@', '?', '#', ' ', '<', '>', '=']).unwrap_or(rest.len());
    let name = rest[..end].trim_end_matches('/').replace("%2B", "+").to_lowercase();
    match scheme {
        "dep" | "pkg" => Some(name),
        "virtual" => Some(format!("virtual/{name}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::{Collector, IndexOrigin};
    use super::*;

    fn read(text: &str) -> External {
        let value = toml::from_str::<toml::Table>(text).ok();
        External::of_value(value.as_ref().and_then(|table| table.get("external")))
    }

    #[test]
    fn the_table_is_read() {
        let text = "[build-system]\nrequires = []\n[external]\nbuild-requires = [\"dep:virtual/compiler/c\", 3]\n\
                    host-requires = [\"dep:generic/libfoo@>=1.2\", \"pkg:generic/openssl\", \"dep:generic/none-such\"]\n\
                    dependencies = [\"dep:generic/zlib; platform_system=='Windows'\"]\n\
                    [external.optional-host-requires]\nimages = [\"dep:generic/libwebp\", \"dep:generic/no-such\", 1]\nbad = 3\n\
                    [external.optional-build-requires]\nfast = [\"dep:virtual/compiler/rust\"]\n";
        let external = read(text);
        let mut collector = Collector::default();
        let contents = "usr/lib/x86_64-linux-gnu/pkgconfig/libfoo.pc libdevel/libfoo-dev\n";
        collector.contents(&mut contents.as_bytes()).expect("memory");
        let index = collector.into_index(&IndexOrigin::default()).expect("an index");
        let (found, unknown) = external.packages(&index);
        let packages: Vec<&str> = found.iter().map(|(package, _)| package.as_str()).collect();
        assert_eq!(packages, ["build-essential", "libfoo-dev", "libssl-dev"]);
        assert_eq!(unknown, ["dep:generic/none-such"]);
        let optional = external.optional_packages(&index);
        let optional: Vec<(&str, &str)> =
            optional.iter().map(|(package, optional)| (package.as_str(), optional.extra.as_str())).collect();
        assert_eq!(optional, [("rustc", "fast"), ("cargo", "fast"), ("libwebp-dev", "images")]);
        for text in
            ["", "[external]\nbuild-requires = 1", "not toml", "[external]\nhost-requires = [\"x\", \":\", \"dep:\"]"]
        {
            let external = read(text);
            assert!(external.packages(&index).0.is_empty());
        }
        assert_eq!(name_of("virtual:compiler/c++").as_deref(), Some("virtual/compiler/c++"));
    }
}
