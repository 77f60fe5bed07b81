//! What Debian's lists of files do not know: names that maintainer scripts make (`update-alternatives`), and things
//! that go by a name which no file has.

use super::evidence::Kind;

/// Kind, name, packages; the first package is the usual one.
const ALTERNATIVES: &[(Kind, &str, &[&str])] = &[
    (Kind::Program, "aclocal", &["automake"]),
    (Kind::Program, "automake", &["automake"]),
    (Kind::Program, "libtool", &["libtool-bin"]),
    (Kind::Program, "libtoolize", &["libtool"]),
    (Kind::Program, "glibtoolize", &["libtool"]),
    (Kind::Program, "cc", &["gcc"]),
    (Kind::Program, "c99", &["gcc"]),
    (Kind::Program, "c89", &["gcc"]),
    (Kind::Program, "c++", &["g++"]),
    (Kind::Program, "f77", &["gfortran"]),
    (Kind::Program, "f95", &["gfortran"]),
    (Kind::Program, "fortran", &["gfortran"]),
    (Kind::Program, "mpicc", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Program, "mpicxx", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Program, "mpic++", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Program, "mpifort", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Program, "mpif90", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Program, "mpirun", &["openmpi-bin", "mpich"]),
    (Kind::Program, "mpiexec", &["openmpi-bin", "mpich"]),
    (Kind::Program, "java", &["default-jre-headless"]),
    (Kind::Program, "javac", &["default-jdk-headless"]),
    (Kind::Program, "javah", &["default-jdk-headless"]),
    (Kind::Program, "jar", &["default-jdk-headless"]),
    (Kind::Program, "lex", &["flex"]),
    (Kind::Program, "yacc", &["bison"]),
    (Kind::Program, "qmake", &["qtbase5-dev", "qt5-qmake"]),
    (Kind::Header, "mpi.h", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Header, "jni.h", &["default-jdk-headless"]),
    (Kind::Header, "Python.h", &["python3-dev"]),
    (Kind::Cmake, "JNI", &["default-jdk-headless"]),
    (Kind::Cmake, "Java", &["default-jdk-headless"]),
    (Kind::Cmake, "MPI", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Library, "mpi", &["libopenmpi-dev", "libmpich-dev"]),
    (Kind::Library, "blas", &["libblas-dev", "libopenblas-dev"]),
    (Kind::Library, "lapack", &["liblapack-dev", "libopenblas-dev"]),
    (Kind::Library, "cblas", &["libblas-dev", "libopenblas-dev"]),
    (Kind::Library, "jvm", &["default-jdk-headless"]),
];

/// Beginnings of macros, and the package that has them.
const MACROS: &[(&str, &str)] = &[
    ("AC_PROG_LIBTOOL", "libtool"),
    ("AM_PROG_LIBTOOL", "libtool"),
    ("LT_", "libtool"),
    ("LIBTOOL", "libtool"),
    ("AX_", "autoconf-archive"),
    ("PKG_", "pkgconf"),
    ("AM_GNU_GETTEXT", "autopoint"),
    ("AM_ICONV", "gettext"),
    ("AM_NLS", "gettext"),
    ("IT_PROG_INTLTOOL", "intltool"),
    ("GTK_DOC_CHECK", "gtk-doc-tools"),
    ("GOBJECT_INTROSPECTION", "libgirepository1.0-dev"),
    ("AM_", "automake"),
];

/// Parts of the standard library that Debian keeps in packages of their own.
const PYTHON_PARTS: &[(&str, &str)] = &[
    ("distutils", "python3-distutils"),
    ("lib2to3", "python3-lib2to3"),
    ("tkinter", "python3-tk"),
    ("_tkinter", "python3-tk"),
    ("ensurepip", "python3-venv"),
    ("_gdbm", "python3-gdbm"),
    ("idlelib", "idle3"),
];

/// Words that people use, and the name that Debian has for the same.
const WORDS: &[(&str, &str)] = &[
    ("berkeley db", "db"),
    ("berkeley database", "db"),
    ("berkeleydb", "db"),
    ("bdb", "db"),
    ("bzip2", "bz2"),
    ("libbzip2", "bz2"),
    ("xz", "lzma"),
    ("zlib", "zlib1g"),
    ("proto buffer", "protobuf"),
    ("proto buffers", "protobuf"),
    ("protocol buffer", "protobuf"),
    ("protocol buffers", "protobuf"),
    ("tss2-esapi", "tss2-esys"),
    ("subversion", "svn"),
    ("mp", "gmp"),
    ("scientific", "gsl"),
    ("postgresql", "libpq"),
    ("postgres", "libpq"),
    ("mysql", "libmariadb"),
    ("mysql client", "libmariadb"),
    ("mariadb", "libmariadb"),
    ("imagemagick", "magickwand"),
    ("kerberos", "krb5"),
    ("open ldap", "ldap"),
    ("openldap", "ldap"),
    ("cyrus sasl", "sasl2"),
    ("sasl", "sasl2"),
    ("apache", "apache2"),
    ("unixodbc", "unixodbc"),
    ("odbc", "unixodbc"),
    ("freetype2", "freetype"),
    ("gtk", "gtk-3"),
    ("gtk+", "gtk-3"),
    ("gtk3", "gtk-3"),
    ("gtk2", "gtk2.0"),
    ("tcl/tk", "tk"),
];

/// The packages of the table for this name.
pub(super) fn alternatives(kind: Kind, name: &str) -> Vec<String> {
    let rows = ALTERNATIVES.iter().filter(|(of, known, _)| *of == kind && *known == name);
    let mut packages: Vec<String> =
        rows.flat_map(|(_, _, packages)| packages.iter()).map(|package| (*package).to_owned()).collect();
    if kind == Kind::Autotools
        && let Some((_, package)) = MACROS.iter().find(|(beginning, _)| name.starts_with(beginning))
    {
        packages.push((*package).to_owned());
    }
    packages
}

/// The package of a part of Python's standard library that Debian splits off.
pub(super) fn python_part(module: &str) -> Option<&'static str> {
    let top = module.split('.').next().unwrap_or(module);
    PYTHON_PARTS.iter().find(|(part, _)| *part == top).map(|(_, package)| *package)
}

/// Debian's word for the lower-case `word`, if the table has one.
pub(super) fn debian_word(word: &str) -> Option<&'static str> {
    WORDS.iter().find(|(said, _)| *said == word).map(|(_, meant)| *meant)
}

/// Packages without which no compiler runs, and the tools that every build root has: no answer to anything that a
/// compiler misses.
pub(super) fn is_basic(package: &str) -> bool {
    const BASIC: &[&str] = &[
        "build-essential",
        "libc6-dev",
        "libc-dev-bin",
        "linux-libc-dev",
        "libcrypt-dev",
        "libc6-dev-i386",
        "libc6-dev-x32",
        "musl-dev",
        "dietlibc-dev",
    ];
    BASIC.contains(&package)
}
