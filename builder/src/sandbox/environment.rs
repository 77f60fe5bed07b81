//! The environment of a build: a constant list, so that nothing of the user's shell reaches a build.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZeroU32;

/// 1980-01-01T00:00:00Z: the oldest time a zip archive, and so a wheel, can hold.
pub const SOURCE_DATE_EPOCH: i64 = 315_532_800;

/// What differs between two build environments.
#[derive(Clone, Debug)]
pub struct BuildEnvironment<'a> {
    /// Folders in the sandbox that come before the system's in `PATH`: the `bin` of the build environment.
    pub programs: &'a [&'a str],
    /// How many processes the build may run at once (scenario E8).
    pub cores: NonZeroU32,
    /// Variables the user passes on purpose; they are in the recipe and win over everything here.
    pub passed: &'a [(String, String)],
}

/// The variables of a build, sorted by name.
///
/// What is not here is on purpose as well:
///
/// * No `CFLAGS`, `CXXFLAGS`, `FFLAGS`, `LDFLAGS`: configure scripts replace their `-g -O2` by them, and the distutils of
///   Python 2.7 to 3.8 replace the interpreter's own flags (`-fno-strict-aliasing`, `-fwrapv`). `CPPFLAGS` is added to the
///   others everywhere (distutils, autotools, Meson), so the prefix map goes there. CMake ignores it, which is
///   harmless: the build folder has the same name on every machine.
/// * No `CC`, `AR` …: the interpreter's sysconfig and `/etc/alternatives` know better.
/// * No `USER`, `LOGNAME`, `SHELL`, `XDG_*`, `SSH_*`, proxies: who runs the build is none of its business.
pub fn build_environment(wanted: &BuildEnvironment<'_>) -> Vec<(OsString, OsString)> {
    let cores = wanted.cores;
    let path = wanted.programs.iter().copied().chain(["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]);
    let mut variables = BTreeMap::from(
        [
            ("PATH", path.collect::<Vec<_>>().join(":")),
            // Does not exist: a build that writes to its home fails on every machine, not only on clean ones.
            ("HOME", "/homeless".to_owned()),
            ("TMPDIR", "/tmp".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("TERM", "dumb".to_owned()),
            ("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH.to_string()),
            ("PYTHONHASHSEED", "0".to_owned()),
            ("PYTHONNOUSERSITE", "1".to_owned()),
            // Bytecode of the sources would carry times and end up in wheels by `global-include *`.
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            // The log must show what happened in the order in which it happened.
            ("PYTHONUNBUFFERED", "1".to_owned()),
            ("PIP_NO_INDEX", "1".to_owned()),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
            ("CPPFLAGS", "-ffile-prefix-map=/build=.".to_owned()),
            ("MAKEFLAGS", format!("-j{cores}")),
            ("CMAKE_BUILD_PARALLEL_LEVEL", cores.to_string()),
            ("CARGO_BUILD_JOBS", cores.to_string()),
            ("NPY_NUM_BUILD_JOBS", cores.to_string()),
            ("MAX_JOBS", cores.to_string()),
            ("PIP_ACCEL_CORES", cores.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    variables.extend(wanted.passed.iter().cloned());
    variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_list() {
        let passed = [("TZ".to_owned(), "Asia/Tokyo".to_owned()), ("WITH_SSL".to_owned(), "1".to_owned())];
        let cores = NonZeroU32::new(3).expect("three");
        let wanted = BuildEnvironment { programs: &["/pip-accel/env/bin"], cores, passed: &passed };
        let lines: Vec<String> = build_environment(&wanted)
            .into_iter()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        let expected = "CARGO_BUILD_JOBS=3\n\
            CMAKE_BUILD_PARALLEL_LEVEL=3\n\
            CPPFLAGS=-ffile-prefix-map=/build=.\n\
            HOME=/homeless\n\
            LC_ALL=C.UTF-8\n\
            MAKEFLAGS=-j3\n\
            MAX_JOBS=3\n\
            NPY_NUM_BUILD_JOBS=3\n\
            PATH=/pip-accel/env/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n\
            PIP_ACCEL_CORES=3\n\
            PIP_DISABLE_PIP_VERSION_CHECK=1\n\
            PIP_NO_INDEX=1\n\
            PYTHONDONTWRITEBYTECODE=1\n\
            PYTHONHASHSEED=0\n\
            PYTHONNOUSERSITE=1\n\
            PYTHONUNBUFFERED=1\n\
            SOURCE_DATE_EPOCH=315532800\n\
            TERM=dumb\n\
            TMPDIR=/tmp\n\
            TZ=Asia/Tokyo\n\
            WITH_SSL=1";
        assert_eq!(lines.join("\n"), expected);
    }
}
