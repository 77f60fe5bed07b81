//! uv's command line, run in a sandbox that has the network but no home and nothing of the store.
//!
//! uv comes as a wheel through this store like any other package, at one version and by hash, unless the user names
//! a program. Index URLs may hold passwords and therefore go through the environment, never through arguments that
//! other users can read. Who runs it says what it may run itself: [`Code`].

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::digest::Sha256Digest;
use pip_accel_schema::interpreter::{Implementation, Interpreter, PythonVersion};
use pip_accel_schema::link_plan::SCRIPTS_FOLDER;
use pip_accel_schema::name::{PackageName, PackageVersion};

use super::access::Access;
use super::client_cert;
use crate::build::{Confinement, ending};
use crate::index::{FindLinks, IndexSettings};
use crate::lock::AllowedFormats;
use crate::python::interpreter::PythonInstallation;
use crate::realize::engine::Engine;
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::realize::schedule::Place;
use crate::sandbox::{Bind, LastLines, Network, OutputSink, SandboxError, SandboxSpec, SandboxStatus};

/// The version that is fetched.
pub(super) const UV_VERSION: &str = "0.13.9";

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

/// Most warnings of one run that are kept.
const WARNINGS_MAX: usize = 50;

/// Variables for the machine's certificates, as for every other download; the second name is that of older versions.
const SYSTEM_CERTIFICATES: [&str; 2] = ["UV_SYSTEM_CERTS", "UV_NATIVE_TLS"];

/// Variables that name files of certificates, which a sandbox without a network does not show.
const CERTIFICATE_FILES: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"];

/// What the lines of [`CHOICES_LOG`] begin with.
const LOGGED: &str = "DEBUG ";

/// What uv's warnings begin with.
const WARNING: &str = "warning: ";

/// How uv ends when it has seen all there is; other failures, of the network for one, end with 2.
pub(super) const NO_SOLUTION: SandboxStatus = SandboxStatus::Exited { code: 1 };

/// What a run may execute besides uv itself and the interpreter's answer about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// Nothing: no backend of an sdist starts. What the run leaves in its cache comes from uv alone.
    Never,
    /// The backends of sdists, to learn what they require.
    Backends,
}

/// Where uv keeps what it learns.
#[derive(Debug, Clone)]
pub(super) enum Cache {
    /// Nowhere: it goes with the run.
    Private,
    /// In this folder of the host. One that is kept is only for runs with [`Code::Never`]: what a backend could write there
    /// would be believed by the next run.
    Folder(PathBuf),
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) engine: &'a Arc<Engine>,
    /// For whom, in errors.
    pub(super) pin: &'a Pin,
    pub(super) program: &'a Path,
    pub(super) access: &'a Access,
    /// The scratch folder; what is exchanged with uv is in its folder [`EXCHANGE`].
    pub(super) scratch: &'a Path,
    pub(super) code: Code,
    pub(super) cache: Cache,
    pub(super) network: Network,
    /// Further files and folders that are visible at their own paths.
    pub(super) visible: Vec<PathBuf>,
    /// Private copies of folders, by the paths at which they are seen and may be written.
    pub(super) copies: Vec<Bind>,
    /// Further variables.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Lines of output that an error shows.
    pub(super) output_lines: usize,
}

/// The folder of a scratch folder that uv may write.
pub(super) const EXCHANGE: &str = "exchange";

/// How a run ended.
pub(super) struct Ended {
    pub(super) status: SandboxStatus,
    /// Its last lines, without secrets.
    pub(super) output: String,
    /// What it warned of, without secrets.
    pub(super) warnings: Vec<String>,
    /// Which files it read the metadata of, where [`CHOICES_LOG`] was asked for.
    pub(super) choices: Vec<Choice>,
}

/// The value of `RUST_LOG` with which uv tells which file of each release it looks at.
pub(super) const CHOICES_LOG: &str = "uv_resolver::resolver=debug";

/// Most choices of one run that are kept; the largest solutions have some thousand packages, with few attempts each.
const CHOICES_MAX: usize = 100_000;

/// A file that a run looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) name: PackageName,
    pub(super) version: PackageVersion,
    pub(super) file_name: String,
}

impl Choice {
    /// `Selecting: flask==3.0.0 [compatible] (flask-3.0.0-py3-none-any.whl)`
    fn parse(line: &str) -> Option<Self> {
        let rest = line.split_once("Selecting: ")?.1;
        let (release, rest) = rest.split_once(' ')?;
        let (name, version) = release.split_once("==")?;
        let name = name.split('[').next().unwrap_or(name);
        let file_name = rest.rsplit_once('(')?.1.trim_end().strip_suffix(')')?;
        Some(Self { name: name.parse().ok()?, version: version.parse().ok()?, file_name: file_name.to_owned() })
    }
}

/// Whether a run with [`Code::Never`] ended because it wanted to run something.
pub(super) fn wanted_code(output: &str) -> bool {
    output.contains(NO_PYTHON.1) || output.contains(BUILDS_FOLDER)
}

impl Ended {
    pub(super) fn is_good(&self) -> bool {
        self.status == SandboxStatus::Exited { code: 0 }
    }

    /// How it ended, for an error.
    pub(super) fn status_text(&self) -> String {
        match &self.status {
            SandboxStatus::TimedOut { limit } | SandboxStatus::Silent { limit } => {
                format!(
                    "it was ended after {} s; it does not end for sdists that need each other to be built",
                    limit.as_secs()
                )
            }
            status => ending(status, "it"),
        }
    }
}

/// What a run says: its last lines and its warnings.
struct Said {
    last: LastLines,
    warnings: Vec<String>,
    choices: Vec<Choice>,
}

impl OutputSink for Said {
    fn write_lines(&mut self, lines: &[u8]) -> std::io::Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(LOGGED.as_bytes()) {
                let choice = Some(line)
                    .filter(|_| self.choices.len() < CHOICES_MAX)
                    .and_then(|line| Choice::parse(&String::from_utf8_lossy(line)));
                self.choices.extend(choice);
                continue;
            }
            if let Some(warning) = line.strip_prefix(WARNING.as_bytes())
                && self.warnings.len() < WARNINGS_MAX
            {
                self.warnings.push(crate::sandbox::printable(warning));
            }
            self.last.write_lines(line)?;
        }
        Ok(())
    }
}

/// Where things are for the resolver: constant paths in the sandbox, the host's without one.
pub(super) struct Paths {
    program: PathBuf,
    pub(super) exchange: PathBuf,
    cache: PathBuf,
}

/// Where a kept cache is in the sandbox.
const KEPT_CACHE: &str = "/pip-accel/cache";

/// The folder of uv's cache in which it makes the environments of builds. A run that may not run code finds it
/// read-only; [`NO_PYTHON`] does the same for a uv that has another name for it.
const BUILDS_FOLDER: &str = "builds-v0";

/// With this no Python starts, except with `-I`, with which uv asks the interpreter about itself: the hooks of backends
/// are run without.
const NO_PYTHON: (&str, &str) = ("PYTHONHOME", "/no-code-runs-here");

impl Run<'_> {
    /// Where uv finds what is in the exchange.
    pub(super) fn paths(&self) -> Paths {
        let session = &self.engine.session;
        if Confinement::is_off(session) {
            return Paths {
                program: PathBuf::new(),
                exchange: self.scratch.join(EXCHANGE),
                cache: self.scratch.join("cache"),
            };
        }
        let cache = match &self.cache {
            Cache::Private => "/tmp/uv-cache",
            Cache::Folder(_) => KEPT_CACHE,
        };
        Paths { program: "/pip-accel/uv".into(), exchange: "/build".into(), cache: cache.into() }
    }

    /// Runs uv with `words`.
    ///
    /// # Errors
    /// When there is no sandbox, or the run is cancelled. Whatever uv says is no error here.
    pub(super) async fn run(&self, words: Vec<OsString>) -> Result<Ended, ObtainError> {
        let Self { engine, pin, .. } = self;
        let session = &engine.session;
        let mut spec = self.spec(words)?;
        if self.network == Network::Shared {
            spec.environment.extend(self.lend_client_cert()?);
        }
        let mut said = Said { last: LastLines::new(self.output_lines), warnings: Vec::new(), choices: Vec::new() };
        let confinement = Confinement::of(session)
            .await
            .map_err(|source| ObtainError::NoSandbox { pin: pin.to_string(), source: Arc::new(source) })?;
        let _permit = engine.permits.acquire(Place::Sandbox).await;
        let outcome = confinement
            .run(&spec, &mut said, engine.cancel().signal())
            .await
            .map_err(|source| Confinement::failure(session, pin, self.without_secrets(source)))?;
        if outcome.status == SandboxStatus::Cancelled {
            return Err(ObtainError::Cancelled { pin: pin.to_string() });
        }
        Ok(Ended {
            status: outcome.status,
            output: self.access.redact(&said.last.lines().collect::<Vec<_>>().join("\n")),
            warnings: said.warnings.iter().map(|warning| self.access.redact(warning)).collect(),
            choices: said.choices,
        })
    }

    fn lend_client_cert(&self) -> Result<Option<(OsString, OsString)>, ObtainError> {
        let index = &self.access.index;
        client_cert::lend(index, &self.scratch.join(EXCHANGE), &self.paths().exchange).map_err(|source| {
            let path = index.client_cert.clone().unwrap_or_default();
            ObtainError::Scratch { pin: self.pin.to_string(), path, source: Arc::new(source) }
        })
    }

    /// The one error of a sandbox that repeats what ran in it.
    fn without_secrets(&self, error: SandboxError) -> SandboxError {
        match error {
            SandboxError::Setup { message } => SandboxError::Setup { message: self.access.redact(&message) },
            error => error,
        }
    }

    fn spec(&self, words: Vec<OsString>) -> Result<SandboxSpec, ObtainError> {
        let session = &self.engine.session;
        let index = &self.access.index;
        let paths = self.paths();
        let mut read_only: Vec<Bind> = session.runtime_paths().iter().map(Bind::same).collect();
        let places = index.find_links.iter().filter_map(local_directory);
        let visible = places.chain(session.options.resolver_paths.clone()).chain(index.ca_file.clone());
        let visible = visible.chain(self.visible.iter().cloned());
        read_only.extend(visible.filter(|path| path.exists() && !path.starts_with("/etc")).map(Bind::same));
        let mut argv: Vec<OsString> = if paths.program.as_os_str().is_empty() {
            vec![self.program.into()]
        } else {
            read_only.push(Bind::new(self.program, &paths.program));
            vec![paths.program.clone().into()]
        };
        argv.extend(words);
        let mut writable = vec![Bind::new(self.scratch.join(EXCHANGE), &paths.exchange)];
        writable.extend(self.copies.iter().cloned());
        let is_confined = !Confinement::is_off(session);
        if let Cache::Folder(folder) = self.cache.clone()
            && is_confined
        {
            writable.push(Bind::new(folder, KEPT_CACHE));
            if self.code == Code::Never {
                read_only.push(Bind::new(self.no_builds()?, paths.cache.join(BUILDS_FOLDER)));
            }
        }
        let mut limits = session.options.limits.clone();
        limits.wall_clock = limits.wall_clock.min(RUN_TIME_MAX);
        Ok(SandboxSpec {
            read_only,
            writable,
            overlay: None,
            tmpfs: Vec::new(),
            environment: self.environment(&paths.cache),
            working_directory: paths.exchange,
            argv,
            stdin: None,
            network: self.network,
            limits,
        })
    }

    /// An empty folder that stands, read-only, where builds would begin.
    fn no_builds(&self) -> Result<PathBuf, ObtainError> {
        let folder = self.scratch.join("no-builds");
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)));
        made.map_err(|source| ObtainError::Scratch {
            pin: self.pin.to_string(),
            path: folder.clone(),
            source: Arc::new(source),
        })?;
        Ok(folder)
    }

    fn environment(&self, cache: &Path) -> Vec<(OsString, OsString)> {
        let mut variables = environment(&self.access.index, &self.access.variables, cache);
        if self.network == Network::None {
            // There are no certificates to be read, and nobody to show one.
            let known = || SYSTEM_CERTIFICATES.iter().chain(&CERTIFICATE_FILES);
            variables.retain(|(name, _)| !known().any(|known| name == known));
        }
        if self.code == Code::Never {
            variables.push((NO_PYTHON.0.into(), NO_PYTHON.1.into()));
        }
        variables.extend(self.variables.iter().cloned());
        variables
    }
}

/// The interpreter that uv asks for the platform where it can't ask the one that is meant; one of the system's.
const ANY_PYTHON: &str = "python3";

/// Whether uv can run an interpreter: it asks for Python 3.6 at least.
pub(super) fn is_known_to_uv(interpreter: &Interpreter) -> bool {
    interpreter.version.major >= 3
}

/// Words that say for whom to resolve. An interpreter that uv can't run is named by its version; any other of the machine
/// then tells the platform, and sdists, which that one would run, are out of the question.
pub(super) fn target(python: &PythonInstallation) -> Vec<OsString> {
    if is_known_to_uv(&python.interpreter) {
        return vec!["--python".into(), python.executable.clone().into()];
    }
    let version = python.interpreter.version;
    let version = format!("{}.{}", version.major, version.minor);
    vec!["--python".into(), ANY_PYTHON.into(), "--python-version".into(), version.into()]
}

/// Reads what the resolver wrote; whatever ran there may have put anything in its place.
pub(super) fn read_answer(path: &Path) -> std::io::Result<String> {
    if !path.symlink_metadata()?.is_file() {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The user's uv, else the pinned one from the store.
pub(super) async fn program(engine: &Arc<Engine>) -> Result<PathBuf, ObtainError> {
    if let Some(program) = &engine.session.options.uv {
        return Ok(program.clone());
    }
    let obtained = engine.tree(&pin(), None).await?;
    Ok(obtained.object.path.join(SCRIPTS_FOLDER).join("uv"))
}

/// The resolver as a package.
pub(super) fn pin() -> Pin {
    Pin {
        name: "uv".parse().expect("a constant name is valid"),
        version: Some(UV_VERSION.parse().expect("a constant version is valid")),
        hashes: pinned_hashes(),
        direct: None,
        files: Arc::default(),
        checkout: None,
        formats: AllowedFormats { wheels: true, sdists: false },
        config_settings: ConfigSettings::new(),
    }
}

/// The interpreter for which the resolver's file is chosen: it is a program of its own, and runs beside Pythons that its
/// wheel, made for scripts of Python to start it, does not know.
pub(crate) fn chosen_for(pin: &Pin, interpreter: &Interpreter) -> Option<Interpreter> {
    let is_resolver = pin.name.as_str() == "uv" && pin.hashes == pinned_hashes();
    let oldest = PythonVersion { major: 3, minor: 8, micro: 0 };
    (is_resolver && interpreter.version < oldest).then(|| Interpreter {
        version: oldest,
        implementation: Implementation::CPython,
        ..interpreter.clone()
    })
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
    for name in SYSTEM_CERTIFICATES {
        set(name, "1".to_owned());
    }
    set("UV_HTTP_TIMEOUT", index.timeout.as_secs().max(1).to_string());
    set("UV_HTTP_RETRIES", index.retries.to_string());
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
