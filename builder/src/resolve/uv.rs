//! Resolution by uv's command line, in a sandbox that has the network but no home and nothing of the store.
//!
//! uv comes as a wheel through this store like any other package, at one version and by hash, unless the user names
//! a program. It reads metadata. For sdists it would run their build backends, with the network and beside the
//! passwords it is given: it first looks for a solution of wheels alone, and what an sdist says is asked only when there
//! is none and nothing is secret. Index URLs may hold passwords and therefore go through the environment, never through
//! arguments that other users can read.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::link_plan::SCRIPTS_FOLDER;
use pip_accel_schema::lock_file::{self, LockItem, RequirementTarget};

use super::access::Access;
use super::client_cert;
use super::{ResolveError, ResolveRequest, Resolver, Resolving};
use crate::build::{Confinement, LockedBuildRequirement, ending};
use crate::index::{FindLinks, IndexSettings};
use crate::lock::AllowedFormats;
use crate::realize::engine::{Engine, store_error};
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::realize::schedule::Place;
use crate::sandbox::{Bind, LastLines, Network, SandboxError, SandboxSpec, SandboxStatus};

/// The version that is fetched.
const UV_VERSION: &str = "0.13.9";

/// SHA-256 of its wheels for Linux: x86-64 with glibc, and arm64 with either libc.
const UV_WHEELS: [&str; 2] = [
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
];

/// Largest answer read; a hundred pins with all their hashes have 200 kB.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Longest run of the resolver, whatever a build may take: a hundred names take a second, and the backends of a few
/// sdists seconds more. For sdists that need each other to be built it waits for ever.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);

/// Lines of the resolver's output that an error shows.
const OUTPUT_LINES: usize = 20;

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
    let program = program(engine).await?;
    let access = Access::of(engine, request.pin).await?;
    let job = Job { engine, program, access, request };
    let (status, output) = match job.attempt(Sdists::Forbidden).await? {
        Answer::Solved(locked) => return Ok(locked),
        Answer::Failed { status: NO_SOLUTION, output } if job.access.holds_credentials() => {
            return Err(job.failed(ResolveError::NotBuilt { output }));
        }
        Answer::Failed { status: NO_SOLUTION, .. } => match job.attempt(Sdists::Run).await? {
            Answer::Solved(locked) => return Ok(locked),
            Answer::Failed { status, output } => (status, output),
        },
        Answer::Failed { status, output } => (status, output),
    };
    let status = match status {
        SandboxStatus::TimedOut { limit } | SandboxStatus::Silent { limit } => {
            format!(
                "it was ended after {} s; it does not end for sdists that need each other to be built",
                limit.as_secs()
            )
        }
        status => ending(&status, "it"),
    };
    Err(job.failed(ResolveError::NoSolution { status, output }))
}

/// How uv ends when it has seen all there is; other failures, of the network for one, end with 2.
const NO_SOLUTION: SandboxStatus = SandboxStatus::Exited { code: 1 };

/// Whether the resolver may run the backends of sdists to learn what they require.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sdists {
    Forbidden,
    Run,
}

/// What one run of the resolver gave.
enum Answer {
    Solved(Vec<LockedBuildRequirement>),
    Failed { status: SandboxStatus, output: String },
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

    async fn attempt(&self, sdists: Sdists) -> Result<Answer, ObtainError> {
        let Self { engine, request, .. } = self;
        let session = &engine.session;
        let scratch = session.store.scratch("resolve").map_err(store_error(request.pin))?;
        let paths = Paths::new(engine, scratch.path());
        let exchange = scratch.path().join("exchange");
        let (input, output) = (exchange.join("requirements.in"), exchange.join("requirements.lock"));
        let write = || {
            std::fs::create_dir(&exchange)?;
            std::fs::write(&input, request.requirements.join("\n"))
        };
        write().map_err(|source| self.failed(ResolveError::Io { path: input.clone(), source }))?;
        let mut spec = self.spec(&paths, &exchange, sdists);
        let lent = client_cert::lend(&self.access.index, &exchange, &paths.exchange);
        spec.environment.extend(lent.map_err(|source| {
            let path = self.access.index.client_cert.clone().unwrap_or_default();
            self.failed(ResolveError::Io { path, source })
        })?);
        let mut last_lines = LastLines::new(OUTPUT_LINES);
        let confinement = Confinement::of(session)
            .await
            .map_err(|source| ObtainError::NoSandbox { pin: request.pin.to_string(), source: Arc::new(source) })?;
        let _permit = engine.permits.acquire(Place::Sandbox).await;
        let outcome = confinement
            .run(&spec, &mut last_lines, engine.cancel().signal())
            .await
            .map_err(|source| Confinement::failure(session, request.pin, self.without_secrets(source)))?;
        match outcome.status {
            SandboxStatus::Exited { code: 0 } => {}
            SandboxStatus::Cancelled => return Err(ObtainError::Cancelled { pin: request.pin.to_string() }),
            status => {
                let output = self.access.redact(&last_lines.lines().collect::<Vec<_>>().join("\n"));
                return Ok(Answer::Failed { status, output });
            }
        }
        let text = read_answer(&output).map_err(|source| self.failed(ResolveError::Io { path: output, source }))?;
        parse(&text).map(Answer::Solved).map_err(|error| self.failed(error))
    }

    /// The one error of a sandbox that repeats what ran in it.
    fn without_secrets(&self, error: SandboxError) -> SandboxError {
        match error {
            SandboxError::Setup { message } => SandboxError::Setup { message: self.access.redact(&message) },
            error => error,
        }
    }

    fn spec(&self, paths: &Paths, exchange: &Path, sdists: Sdists) -> SandboxSpec {
        let session = &self.engine.session;
        let index = &self.access.index;
        let mut read_only: Vec<Bind> = session.runtime_paths().iter().map(Bind::same).collect();
        let places = index.find_links.iter().filter_map(local_directory);
        let visible = places.chain(session.options.resolver_paths.clone()).chain(index.ca_file.clone());
        read_only.extend(visible.filter(|path| path.exists() && !path.starts_with("/etc")).map(Bind::same));
        let inner_program = if paths.program.as_os_str().is_empty() {
            self.program.clone()
        } else {
            read_only.push(Bind::new(&self.program, &paths.program));
            paths.program.clone()
        };
        let mut limits = session.options.limits.clone();
        limits.wall_clock = limits.wall_clock.min(RUN_TIME_MAX);
        SandboxSpec {
            read_only,
            writable: vec![Bind::new(exchange, &paths.exchange)],
            tmpfs: Vec::new(),
            environment: self.environment(&paths.cache),
            working_directory: paths.exchange.clone(),
            argv: self.argv(inner_program, paths, sdists),
            stdin: None,
            network: Network::Shared,
            limits,
        }
    }

    fn environment(&self, cache: &Path) -> Vec<(OsString, OsString)> {
        let mut variables = environment(&self.access.index, &self.access.variables, cache);
        variables.extend(self.request.as_of.map(|day| ("UV_EXCLUDE_NEWER".into(), day.as_str().into())));
        variables
    }

    fn argv(&self, program: PathBuf, paths: &Paths, sdists: Sdists) -> Vec<OsString> {
        let word = |text: &str| OsString::from(text);
        let mut argv = vec![
            program.into(),
            word("pip"),
            word("compile"),
            paths.exchange.join("requirements.in").into(),
            word("--output-file"),
            paths.exchange.join("requirements.lock").into(),
            word("--generate-hashes"),
            word("--no-header"),
            word("--no-annotate"),
            word("--no-config"),
            word("--python"),
            self.engine.session.python.executable.clone().into(),
        ];
        if sdists == Sdists::Forbidden {
            argv.push(word("--no-build"));
        }
        if self.access.index.index_url.is_none() {
            argv.push(word("--no-index"));
        }
        argv
    }
}

/// Reads what the resolver wrote; whatever ran there may have put anything in its place.
fn read_answer(path: &Path) -> std::io::Result<String> {
    if !path.symlink_metadata()?.is_file() {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Where things are for the resolver: constant paths in the sandbox, the host's without one.
struct Paths {
    program: PathBuf,
    exchange: PathBuf,
    cache: PathBuf,
}

impl Paths {
    fn new(engine: &Engine, scratch: &Path) -> Self {
        if Confinement::is_off(&engine.session) {
            return Self { program: PathBuf::new(), exchange: scratch.join("exchange"), cache: scratch.join("cache") };
        }
        Self { program: "/pip-accel/uv".into(), exchange: "/build".into(), cache: "/tmp/uv-cache".into() }
    }
}

/// The user's uv, else the pinned one from the store.
async fn program(engine: &Arc<Engine>) -> Result<PathBuf, ObtainError> {
    if let Some(program) = &engine.session.options.uv {
        return Ok(program.clone());
    }
    let pin = Pin {
        name: "uv".parse().expect("a constant name is valid"),
        version: Some(UV_VERSION.parse().expect("a constant version is valid")),
        hashes: pinned_hashes(),
        direct: None,
        formats: AllowedFormats { wheels: true, sdists: false },
    };
    let obtained = engine.tree(&pin, None).await?;
    Ok(obtained.object.path.join(SCRIPTS_FOLDER).join("uv"))
}

fn pinned_hashes() -> Vec<Sha256Digest> {
    let mut hashes: Vec<Sha256Digest> =
        UV_WHEELS.iter().map(|hash| hash.parse().expect("a constant digest is valid")).collect();
    hashes.sort();
    hashes
}

/// A place of this machine as the sandbox can show it: without links and `..`.
fn local_directory(place: &FindLinks) -> Option<PathBuf> {
    let path = match place {
        FindLinks::Path(path) => path.clone(),
        FindLinks::Url(url) if url.scheme() == "file" => url.to_file_path().ok()?,
        FindLinks::Url(_) => return None,
    };
    path.canonicalize().ok()
}

fn environment(index: &IndexSettings, passed: &[(String, String)], cache: &Path) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(String, String)> = passed.to_vec();
    let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
    set("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned());
    set("HOME", "/homeless".to_owned());
    set("LC_ALL", "C.UTF-8".to_owned());
    set("UV_CACHE_DIR", cache.to_string_lossy().into_owned());
    set("UV_NO_PROGRESS", "1".to_owned());
    set("UV_PYTHON_DOWNLOADS", "never".to_owned());
    set("NO_COLOR", "1".to_owned());
    set("UV_HTTP_TIMEOUT", index.timeout.as_secs().max(1).to_string());
    set("UV_HTTP_RETRIES", index.retries.to_string());
    // The machine's certificates, as for every other download; the second name is that of older versions.
    set("UV_SYSTEM_CERTS", "1".to_owned());
    set("UV_NATIVE_TLS", "1".to_owned());
    if let Some(url) = &index.index_url {
        set("UV_DEFAULT_INDEX", url.to_string());
    }
    if !index.extra_index_urls.is_empty() {
        let urls: Vec<String> = index.extra_index_urls.iter().map(ToString::to_string).collect();
        set("UV_INDEX", urls.join(" "));
        // pip, whose settings these are, takes the best version of all indexes.
        set("UV_INDEX_STRATEGY", "unsafe-best-match".to_owned());
    }
    let find_links: Vec<String> = index
        .find_links
        .iter()
        .filter_map(|place| match (local_directory(place), place) {
            (Some(path), _) => Some(path.to_string_lossy().into_owned()),
            (None, FindLinks::Url(url)) if url.scheme() != "file" => Some(url.as_str().replace(',', "%2C")),
            (None, _) => None,
        })
        .collect();
    if !find_links.is_empty() {
        set("UV_FIND_LINKS", find_links.join(","));
    }
    if !index.trusted_hosts.is_empty() {
        set("UV_INSECURE_HOST", index.trusted_hosts.join(" "));
    }
    if let Some(proxy) = &index.proxy {
        set("ALL_PROXY", proxy.clone());
        set("HTTPS_PROXY", proxy.clone());
        set("HTTP_PROXY", proxy.clone());
    }
    if let Some(ca_file) = &index.ca_file {
        set("SSL_CERT_FILE", ca_file.to_string_lossy().into_owned());
    }
    variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
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
