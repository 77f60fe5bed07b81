//! Soft misses: what a build that went well looked for, did not find, and could have used.
//!
//! Only the file trace sees them. Of the thousands of paths that any build misses, few are worth a word: those of a table
//! of projects that are known to go on with less, and headers, programs and `.pc` files that exactly one development package has
//! and that are known to be about this project, by its own log or by what Debian's source of it needs.

use std::collections::BTreeSet;

use pip_accel_schema::system_inputs::Without;

use super::evidence::Kind;
use super::index::SystemIndex;
use super::installed::Installed;
use super::trace::{in_index, thing};
use crate::sandbox::MissedPath;

/// Most of them that are said of one build.
const WITHOUT_MAX: usize = 5;

/// Project, end of the path that it looks for, package, and what that would be for.
const KNOWN: &[(&str, &str, &str, &str)] = &[
    ("pyyaml", "include/yaml.h", "libyaml-dev", "the C loader"),
    ("maxminddb", "include/maxminddb.h", "libmaxminddb-dev", "the C reader"),
    ("pybigwig", "bin/curl-config", "libcurl4-openssl-dev", "remote files"),
    ("pillow", "include/webp/decode.h", "libwebp-dev", "WebP images"),
    ("pillow", "include/webp/encode.h", "libwebp-dev", "WebP images"),
    // It looks for the library before it looks for the header.
    ("pillow", "libfreetype.so", "libfreetype-dev", "fonts"),
    ("pillow", "pkgconfig/freetype2.pc", "libfreetype-dev", "fonts"),
    ("pillow", "include/ft2build.h", "libfreetype-dev", "fonts"),
    ("pillow", "include/freetype2/ft2build.h", "libfreetype-dev", "fonts"),
    ("pillow", "include/lcms2.h", "liblcms2-dev", "colour management"),
    ("pillow", "include/tiff.h", "libtiff-dev", "TIFF images"),
    ("pillow", "include/openjpeg.h", "libopenjp2-7-dev", "JPEG 2000 images"),
    ("pillow", "pkgconfig/libopenjp2.pc", "libopenjp2-7-dev", "JPEG 2000 images"),
    ("pillow", "include/xcb/xcb.h", "libxcb1-dev", "screenshots under X"),
    ("pillow", "include/libimagequant.h", "libimagequant-dev", "better palettes"),
    ("uwsgi", "include/pcre2.h", "libpcre2-dev", "routing by regular expressions"),
    ("uwsgi", "include/openssl/ssl.h", "libssl-dev", "HTTPS"),
    ("uwsgi", "include/sys/capability.h", "libcap-dev", "Linux capabilities"),
    ("tables", "include/bzlib.h", "libbz2-dev", "bzip2 compression"),
    ("tables", "include/lzo/lzo1x.h", "liblzo2-dev", "LZO compression"),
    ("tables", "include/blosc.h", "libblosc-dev", "the system's Blosc"),
    ("pysam", "include/lzma.h", "liblzma-dev", "LZMA in CRAM files"),
    ("pysam", "include/bzlib.h", "libbz2-dev", "bzip2 in CRAM files"),
    ("pysam", "include/curl/curl.h", "libcurl4-openssl-dev", "remote files"),
    ("numpy", "pkgconfig/openblas.pc", "libopenblas-dev", "fast linear algebra"),
    ("python-rtmidi", "pkgconfig/jack.pc", "libjack-jackd2-dev", "JACK"),
    ("python-ldap", "include/sasl/sasl.h", "libsasl2-dev", "SASL binds"),
    ("psycopg2", "include/openssl/ssl.h", "libssl-dev", "TLS"),
    ("pyzmq", "pkgconfig/libzmq.pc", "libzmq3-dev", "the system's ZeroMQ"),
    ("gevent", "include/ev.h", "libev-dev", "the system's libev"),
    ("rasterio", "include/webp/decode.h", "libwebp-dev", "WebP images"),
    ("apsw", "include/unicode/uversion.h", "libicu-dev", "ICU tokenizers"),
    ("lxml", "include/zlib.h", "zlib1g-dev", "compressed files"),
    ("coincurve", "pkgconfig/libsecp256k1.pc", "libsecp256k1-dev", "the system's secp256k1"),
];

/// A build that went well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Built<'a> {
    /// The project, as its normalised name.
    pub(crate) project: &'a str,
    /// What it printed.
    pub(crate) log: &'a [u8],
    /// Paths that it looked for in vain, without those found in another folder.
    pub(crate) missed: &'a [MissedPath],
}

/// Whether anything of it could be worth a word, as far as that can be told without an index.
pub(crate) fn may_lack(missed: &[MissedPath]) -> bool {
    missed.iter().filter_map(in_index).any(|path| thing(&path).is_some_and(|(kind, _)| kind != Kind::Library))
}

/// What the build did without, the most important first.
pub(super) fn without(built: &Built<'_>, index: &SystemIndex, installed: &Installed) -> Vec<Without> {
    let mut all: Vec<Without> = Vec::new();
    let mut add = |path: String, package: &str, purpose: Option<&str>| {
        let is_new = all.len() < WITHOUT_MAX && all.iter().all(|known| known.package != package);
        if is_new && installed.name_of(package).is_none() {
            all.push(Without { path, package: package.to_owned(), purpose: purpose.map(str::to_owned) });
        }
    };
    let missed: Vec<String> = built.missed.iter().filter_map(in_index).collect();
    for (_, ending, package, purpose) in KNOWN.iter().filter(|(project, ..)| *project == built.project) {
        let is_it = |path: &&String| path.strip_suffix(ending).is_some_and(|folder| folder.ends_with('/'));
        if let Some(path) = missed.iter().filter(|path| path.starts_with("usr/")).find(is_it) {
            add(format!("/{path}"), package, Some(purpose));
        }
    }
    let log = String::from_utf8_lossy(built.log);
    let compiled = asked_by_compiler(&missed);
    let prior = index.python_source(built.project);
    for path in &missed {
        let Some((kind, name)) = thing(path) else { continue };
        let Some(package) = index.at(path).and_then(only_development) else { continue };
        let is_about_it = match kind {
            Kind::Header => {
                compiled.contains(name.as_str()) && (is_said(&log, &name) || prior.contains(&package.as_str()))
            }
            Kind::PkgConfig => is_said(&log, &name) || prior.contains(&package.as_str()),
            Kind::Program => prior.contains(&package.as_str()),
            _ => false,
        };
        if is_about_it {
            add(format!("/{path}"), &package, None);
        }
    }
    all
}

/// The names that a compiler asked for: it begins its search in a folder of its own, where nobody else looks.
fn asked_by_compiler(missed: &[String]) -> BTreeSet<&str> {
    let of = |path: &'_ String| -> Option<usize> {
        let is_its_own = path.starts_with("usr/lib/gcc/") || path.starts_with("usr/lib/llvm-");
        is_its_own.then(|| path.find("/include/").map(|at| at + "/include/".len()))?
    };
    missed.iter().filter_map(|path| Some(&path[of(path)?..])).collect()
}

/// Whether a line of the log says that `name` is not there.
fn is_said(log: &str, name: &str) -> bool {
    let says = ["No such file", "file not found", "not found", "... no", "found: NO", "missing"];
    log.lines().any(|line| line.contains(name) && says.iter().any(|words| line.contains(words)))
}

fn only_development(entry: super::index::Entry) -> Option<String> {
    let mut packages = entry.packages.into_iter();
    let package = packages.next().filter(|package| package.ends_with("-dev"))?;
    packages.next().is_none().then_some(package)
}

#[cfg(test)]
mod tests {
    use super::super::index::{Collector, IndexOrigin};
    use super::*;

    fn found(project: &str, log: &str, missed: &[&str]) -> Vec<String> {
        let mut collector = Collector::default();
        let contents = "usr/include/foo.h libdevel/libfoo-dev\nusr/include/two.h libdevel/liba-dev,libdevel/libb-dev\n";
        collector.contents(&mut contents.as_bytes()).expect("memory");
        let index = collector.into_index(&IndexOrigin::default()).expect("an index");
        let missed: Vec<MissedPath> = missed.iter().map(|path| MissedPath { path: path.into(), count: 1 }).collect();
        let built = Built { project, log: log.as_bytes(), missed: &missed };
        without(&built, &index, &Installed::unknown()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_about_the_project_is_said() {
        let asked =
            ["/usr/lib/gcc/x86_64-linux-gnu/12/include/foo.h", "/usr/local/include/foo.h", "/usr/include/foo.h"];
        let said = "check.c:1:10: fatal error: foo.h: No such file or directory\n";
        assert_eq!(found("x", said, &asked), ["built without libfoo: install libfoo-dev and rebuild"]);
        assert!(found("x", "", &asked).is_empty(), "nobody said a word of it");
        assert!(found("x", said, &asked[1..]).is_empty(), "no compiler asked for it");
        let two = ["/usr/lib/gcc/x86_64-linux-gnu/12/include/two.h", "/usr/include/two.h"];
        assert!(found("x", "two.h: No such file", &two).is_empty(), "two packages have it");
        let known = found("pyyaml", "", &["/usr/local/include/yaml.h", "/usr/include/yaml.h"]);
        assert_eq!(known, ["built without libyaml: install libyaml-dev and rebuild for the C loader"]);
        assert!(found("other", "", &["/usr/include/yaml.h"]).is_empty());
    }
}
