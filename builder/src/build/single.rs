//! Building one package that is named on the command line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::name::{PackageName, PackageVersion};

use crate::index::SafeUrl;
use crate::lock::AllowedFormats;
use crate::realize::engine::{Engine, Obtained, Purpose};
use crate::realize::error::{DiskNeed, RealizeError};
use crate::realize::pin::{DirectFile, Pin};
use crate::realize::run;
use crate::session::Session;

/// What is to be built.
#[derive(Debug, Clone)]
pub enum BuildTarget {
    /// A release of an index.
    Release {
        /// The project.
        name: PackageName,
        /// The version.
        version: PackageVersion,
    },
    /// An sdist on this machine.
    File(PathBuf),
}

/// Why a target can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildTargetError {
    /// The file can't be read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file's name does not begin with a project's name.
    #[error("`{0}` is not named like an sdist (`name-version.tar.gz`)")]
    Name(PathBuf),
    /// The build, or what it needs, failed.
    #[error(transparent)]
    Realize(#[from] RealizeError),
}

/// Builds `target` with a backend that is told `config_settings`, or finds it so built in the store.
///
/// # Errors
/// See [`BuildTargetError`].
pub fn build_one(
    session: &Arc<Session>,
    (target, config_settings): (&BuildTarget, &ConfigSettings),
) -> Result<Obtained, BuildTargetError> {
    let formats = AllowedFormats { wheels: false, sdists: true };
    let mut pin = match target {
        BuildTarget::Release { name, version } => Pin::of_release(name, version, formats),
        BuildTarget::File(path) => file_pin(path, formats)?,
    };
    pin.config_settings.clone_from(config_settings);
    let engine = Engine::new(session, Vec::new(), Purpose::Build);
    let result = run(session, async { engine.tree(&pin, None).await })?;
    if session.cancel.is_interrupted() {
        return Err(RealizeError::Interrupted.into());
    }
    Ok(result.map_err(|error| RealizeError::Packages {
        packages: 1,
        failures: vec![error],
        disk: DiskNeed::of(&engine),
    })?)
}

fn file_pin(path: &Path, formats: AllowedFormats) -> Result<Pin, BuildTargetError> {
    let hash =
        crate::index::sha256_of_file(path).map_err(|source| BuildTargetError::Io { path: path.to_owned(), source })?;
    let bad_name = || BuildTargetError::Name(path.to_owned());
    let file_name = path.file_name().and_then(|name| name.to_str()).ok_or_else(bad_name)?.to_owned();
    let (name, version) = crate::index::parse_sdist_file_name(&file_name).ok_or_else(bad_name)?;
    let url = url::Url::from_file_path(path).map_err(|()| bad_name())?;
    Ok(Pin {
        name,
        version: Some(version),
        hashes: vec![hash],
        direct: Some(DirectFile { url: SafeUrl::from(url), file_name }),
        files: Arc::default(),
        checkout: None,
        formats,
        config_settings: ConfigSettings::new(),
    })
}
