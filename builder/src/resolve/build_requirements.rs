//! Build requirements by uv: a few names in, pins with hashes out.
//!
//! uv reads metadata. For sdists it would run their build backends, with the network and beside the passwords it is
//! given: it first looks for a solution of wheels alone, and what an sdist says is asked only when there is none and
//! nothing is secret.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use pip_accel_schema::lock_file::{self, LockItem, RequirementTarget};

use super::access::Access;
use super::uv::{self, Cache, Code, EXCHANGE, Ended, NO_SOLUTION, Run, read_answer};
use super::{ResolveError, ResolveRequest, Resolver, Resolving};
use crate::build::LockedBuildRequirement;
use crate::realize::engine::{Engine, store_error};
use crate::realize::error::ObtainError;
use crate::sandbox::Network;

/// Lines of the resolver's output that an error shows.
const OUTPUT_LINES: usize = 20;

/// The file of constraints in the exchange with the resolver.
pub(super) const CONSTRAINTS: &str = "build-constraints.txt";

/// The resolver that runs uv.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uv;

impl Resolver for Uv {
    fn resolve<'a>(&'a self, engine: &'a Arc<Engine>, request: ResolveRequest<'a>) -> Resolving<'a> {
        Box::pin(resolve(engine, request))
    }
}

async fn resolve(
    engine: &Arc<Engine>,
    request: ResolveRequest<'_>,
) -> Result<Vec<LockedBuildRequirement>, ObtainError> {
    let program = uv::program(engine).await?;
    let access = Access::of(engine, request.pin).await?;
    let job = Job { engine, program, access, request };
    let ended = match job.attempt(Code::Never).await? {
        Answer::Solved(locked) => return Ok(locked),
        Answer::Failed(ended) if ended.status != NO_SOLUTION => ended,
        Answer::Failed(ended) if !uv::is_known_to_uv(&engine.session.python.interpreter) => ended,
        Answer::Failed(ended) if job.access.holds_credentials() => {
            return Err(job.failed(ResolveError::NotBuilt { output: ended.output }));
        }
        Answer::Failed(_) => match job.attempt(Code::Backends).await? {
            Answer::Solved(locked) => return Ok(locked),
            Answer::Failed(ended) => ended,
        },
    };
    Err(job.failed(ResolveError::NoSolution { status: ended.status_text(), output: ended.output }))
}

/// What one run of the resolver gave.
enum Answer {
    Solved(Vec<LockedBuildRequirement>),
    Failed(Ended),
}

/// One resolution.
struct Job<'a> {
    engine: &'a Arc<Engine>,
    program: PathBuf,
    access: Access,
    request: ResolveRequest<'a>,
}

impl Job<'_> {
    fn failed(&self, source: ResolveError) -> ObtainError {
        ObtainError::Resolve { pin: self.request.pin.to_string(), source: Arc::new(source) }
    }

    async fn attempt(&self, code: Code) -> Result<Answer, ObtainError> {
        let Self { engine, request, .. } = self;
        let scratch = engine.session.store.scratch("resolve").map_err(store_error(request.pin))?;
        let exchange = scratch.path().join(EXCHANGE);
        let (input, output) = (exchange.join("requirements.in"), exchange.join("requirements.lock"));
        let write = || {
            std::fs::create_dir(&exchange)?;
            std::fs::write(exchange.join(CONSTRAINTS), engine.session.options.build_constraints.join("\n"))?;
            std::fs::write(&input, request.requirements.join("\n"))
        };
        write().map_err(|source| self.failed(ResolveError::Io { path: input.clone(), source }))?;
        let run = Run {
            engine,
            pin: request.pin,
            program: &self.program,
            access: &self.access,
            scratch: scratch.path(),
            code,
            cache: Cache::Private,
            network: Network::Shared,
            visible: Vec::new(),
            copies: Vec::new(),
            variables: request.as_of.map(|day| ("UV_EXCLUDE_NEWER".into(), day.as_str().into())).into_iter().collect(),
            output_lines: OUTPUT_LINES,
        };
        let ended = run.run(self.words(&run, code)).await?;
        if !ended.is_good() {
            return Ok(Answer::Failed(ended));
        }
        let text = read_answer(&output).map_err(|source| self.failed(ResolveError::Io { path: output, source }))?;
        parse(&text).map(Answer::Solved).map_err(|error| self.failed(error))
    }

    fn words(&self, run: &Run<'_>, code: Code) -> Vec<OsString> {
        let exchange = run.paths().exchange;
        let word = |text: &str| OsString::from(text);
        let mut words = vec![
            word("pip"),
            word("compile"),
            exchange.join("requirements.in").into(),
            word("--output-file"),
            exchange.join("requirements.lock").into(),
            word("--generate-hashes"),
            word("--no-header"),
            word("--no-annotate"),
            word("--no-config"),
        ];
        words.extend(uv::target(&self.engine.session.python));
        if !self.engine.session.options.build_constraints.is_empty() {
            for word in ["--constraints", "--build-constraints"] {
                words.extend([word.into(), exchange.join(CONSTRAINTS).into()]);
            }
        }
        if code == Code::Never {
            words.push(word("--no-build"));
        }
        if self.access.index.index_url.is_none() {
            words.push(word("--no-index"));
        }
        words
    }
}

/// The pins of the resolver's answer.
fn parse(text: &str) -> Result<Vec<LockedBuildRequirement>, ResolveError> {
    let mut locked = Vec::new();
    for item in lock_file::parse(text)? {
        let LockItem::Requirement(requirement) = item else { continue };
        let line = requirement.line;
        match requirement.target {
            RequirementTarget::Pin { name, version } if !requirement.hashes.is_empty() => {
                locked.push(LockedBuildRequirement { name, version, hashes: requirement.hashes });
            }
            RequirementTarget::Pin { .. }
            | RequirementTarget::Direct { .. }
            | RequirementTarget::Unpinned { .. }
            | RequirementTarget::Editable { .. } => return Err(ResolveError::Unpinned { line }),
        }
    }
    Ok(locked)
}
