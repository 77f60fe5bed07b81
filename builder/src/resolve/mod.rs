//! Resolving build requirements: names and ranges in, pins with hashes out.
//!
//! Resolution is not this tool's trade. It is a `Resolver` that runs another program; today uv.

mod access;
mod build_requirements;
mod client_cert;
mod input;
pub mod project;
mod uv;

pub(crate) use uv::chosen_for;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin as Pinned;
use std::sync::Arc;

use pip_accel_schema::lock_file::LockSyntaxError;

use crate::build::{AsOf, LockedBuildRequirement};
use crate::python::requirement::RequirementError;
use crate::realize::engine::Engine;
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;

/// Why requirements could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver ran and found no solution.
    #[error("the resolver found no solution ({status}):\n{output}")]
    NoSolution {
        /// How it ended.
        status: String,
        /// Its last lines.
        output: String,
    },
    /// The sdist requires something that is no requirement.
    #[error("a build requirement can't be read")]
    Requirement(#[from] RequirementError),
    /// The sdist requires a file instead of a release.
    #[error("`{requirement}` is a file or URL, and build requirements are releases of an index")]
    Url {
        /// The requirement, without credentials.
        requirement: String,
    },
    /// There is no solution of wheels alone, and nothing may be run beside credentials.
    #[error(
        "no solution among wheels, and the resolver runs no sdist while it has the credentials of an index or proxy:\n\
         {output}"
    )]
    NotBuilt {
        /// Its last lines.
        output: String,
    },
    /// A file of the exchange with the resolver failed.
    #[error("cannot use `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The resolver's answer can't be read.
    #[error("the resolver's answer can't be read")]
    Answer(#[from] LockSyntaxError),
    /// The resolver's answer has a line that is no pin with hashes.
    #[error("the resolver's answer has no pin with hashes in line {line}")]
    Unpinned {
        /// The line, from 1.
        line: usize,
    },
}

/// What is to be resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResolveRequest<'a> {
    /// The package whose build needs it.
    pub pin: &'a Pin,
    /// PEP 508 requirements; a [`Resolver`] gets them checked, without markers and URLs.
    pub requirements: &'a [String],
    /// Only what was published until the end of this day may be used.
    pub as_of: Option<&'a AsOf>,
}

/// The future of a resolution.
pub(crate) type Resolving<'a> =
    Pinned<Box<dyn Future<Output = Result<Vec<LockedBuildRequirement>, ObtainError>> + Send + 'a>>;

/// Something that turns requirements into pins with hashes for the session's interpreter.
pub(crate) trait Resolver: Send + Sync {
    /// Resolves `request`.
    fn resolve<'a>(&'a self, engine: &'a Arc<Engine>, request: ResolveRequest<'a>) -> Resolving<'a>;
}

/// Resolves the build requirements of a package with the session's resolver.
pub(crate) async fn resolve_build_requirements(
    engine: &Arc<Engine>,
    request: ResolveRequest<'_>,
) -> Result<Vec<LockedBuildRequirement>, ObtainError> {
    let ResolveRequest { pin, as_of, .. } = request;
    let requirements = input::lines(request.requirements, &engine.session.python.interpreter.markers)
        .map_err(|source| ObtainError::Resolve { pin: pin.to_string(), source: Arc::new(source) })?;
    if requirements.is_empty() {
        return Ok(Vec::new());
    }
    if engine.session.options.offline {
        return Err(ObtainError::OfflineResolution { pin: pin.to_string(), requirements: requirements.join(", ") });
    }
    build_requirements::Uv.resolve(engine, ResolveRequest { pin, requirements: &requirements, as_of }).await
}
