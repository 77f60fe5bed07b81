//! What `realize`, `fetch`, `build` and `doctor` have in common: interpreter, index, choices → a session.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_builder::event::Reporter;
use pip_accel_builder::index::{FindLinks, IndexSettings};
use pip_accel_builder::lock::{self, Choice, FormatControl, LoadedLock, LockOptions, SourceUrl};

use pip_accel_builder::python::default_index::default_index;
use pip_accel_builder::python::interpreter::{
    Memo, PythonInstallation, SearchPath, find, list, query_remembered, supports_environments,
};
use pip_accel_builder::python::pip_settings::{PipConfigFiles, PipSettings};
use pip_accel_builder::sandbox::{Limits, default_limits};
use pip_accel_builder::session::{SandboxChoice, Session, SessionOptions, SystemInputsPolicy};
use pip_accel_builder::system_packages::ExplainOptions;
use pip_accel_builder::system_packages::own::OwnRules;
use pip_accel_schema::lock_file::FormatSelection;
use pip_accel_store::{Access, Store};
use url::Url;

use super::Context;
use crate::args::SourceArgs;
use crate::error::Failure;
use crate::exit_code::Exit;
use crate::host::Host;
use crate::settings::{Settings, Value};
use crate::ui::Progress;

/// A session with what it was made from.
pub(super) struct Opened {
    pub(super) session: Arc<Session>,
    pub(super) progress: Arc<Progress>,
}

/// Reads the lock at `path`, as typed.
pub(super) fn load_lock(context: &Context<'_>, path: &Path, choice: &Choice) -> Result<LoadedLock, Failure> {
    let host = &context.host;
    let lock = lock::load(&host.absolute(path), choice, &|name: &str| host.variable(name))?;
    for warning in &lock.warnings {
        context.ui.warn(warning);
    }
    for name in &lock.unset_variables {
        context.ui.warn(&format!("`${{{name}}}` in the lock is not set"));
    }
    Ok(lock)
}

impl Opened {
    /// Starts a session with the options of a lock.
    pub(super) fn new(
        context: &Context<'_>,
        store: Arc<Store>,
        mut settings: Settings,
        args: &SourceArgs,
        lock: &LockOptions,
    ) -> Result<Self, Failure> {
        apply_flags(&mut settings, args);
        let python = interpreter(context, &store, &settings)?;
        Self::with(context, (store, python), settings, args, lock)
    }

    /// As [`Self::new`], for who knows the interpreter; the settings have the flags already.
    pub(super) fn with(
        context: &Context<'_>,
        (store, python): (Arc<Store>, PythonInstallation),
        settings: Settings,
        args: &SourceArgs,
        lock: &LockOptions,
    ) -> Result<Self, Failure> {
        supports_environments(&python.interpreter)?;
        let options = options(context, (&store, &python), &settings, args, lock)?;
        let progress = context.ui.progress();
        let reporter: Arc<dyn Reporter> = Arc::clone(&progress) as Arc<dyn Reporter>;
        let session = Arc::new(Session::new(&store, python, options, reporter)?);
        Ok(Self { session, progress })
    }
}

/// A session on an open store for an interpreter, without a lock.
pub(super) fn start(
    context: &Context<'_>,
    store: &Arc<Store>,
    (settings, args): (&Settings, &SourceArgs),
    (python, progress): (PythonInstallation, &Arc<Progress>),
) -> Result<Arc<Session>, Failure> {
    let options = options(context, (store, &python), settings, args, &LockOptions::default())?;
    let reporter: Arc<dyn Reporter> = Arc::clone(progress) as Arc<dyn Reporter>;
    Ok(Arc::new(Session::new(store, python, options, reporter)?))
}

/// The interpreters of this machine: the one that the settings mean, then all others; each is asked when it is its turn.
pub(super) fn interpreters<'a>(
    context: &'a Context<'_>,
    store: &'a Store,
    settings: &'a Settings,
) -> impl Iterator<Item = Result<PythonInstallation, Failure>> + 'a {
    let first = interpreter(context, store, settings);
    let known = first.as_ref().ok().map(|python| python.executable.clone());
    let others = std::iter::once_with(|| list(&search_path(&context.host))).flatten();
    let others = others.filter(move |found| known.as_ref() != Some(&found.path));
    std::iter::once(first).chain(others.map(|found| Ok(with_memo(store, |memo| query_remembered(&found.path, memo))?)))
}

pub(super) fn apply_flags(settings: &mut Settings, args: &SourceArgs) {
    settings.set("python", args.python.clone().map(Value::Text));
    settings.set("offline", args.offline.then_some(Value::Flag(true)));
    settings.set("jobs", args.jobs.map(|jobs| Value::Number(jobs.get() as u64)));
    let system_inputs = args.system_inputs.map(|policy| Value::Text(policy.as_str().to_owned()));
    settings.set("system-inputs", system_inputs);
    settings.set("sandbox", args.no_sandbox.then(|| Value::Text("none".to_owned())));
}

/// The target interpreter, asked once and then remembered in the store.
pub(super) fn interpreter(
    context: &Context<'_>,
    store: &Store,
    settings: &Settings,
) -> Result<PythonInstallation, Failure> {
    let path = find(settings.text("python"), &search_path(&context.host))?;
    Ok(with_memo(store, |memo| query_remembered(&path, memo))?)
}

pub(super) fn search_path(host: &Host) -> SearchPath {
    SearchPath {
        path_env: host.variable("PATH").map(Into::into),
        pyenv_version: host.variable("PYENV_VERSION"),
        pyenv_root: host
            .variable("PYENV_ROOT")
            .map(PathBuf::from)
            .or_else(|| host.home().map(|home| home.join(".pyenv"))),
        virtual_env: host.variable("VIRTUAL_ENV").map(PathBuf::from),
        cwd: host.cwd.clone(),
    }
}

fn options(
    context: &Context<'_>,
    (store, python): (&Store, &PythonInstallation),
    settings: &Settings,
    args: &SourceArgs,
    lock: &LockOptions,
) -> Result<SessionOptions, Failure> {
    let host = &context.host;
    if let Some(bucket) = settings.text("s3-bucket") {
        context.warn_once(&format!(
            "the cache in the bucket `{bucket}` (s3-bucket) is not used: there are no caches outside this machine yet"
        ));
    }
    let offline = settings.flag("offline");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = settings.number("jobs").and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(processors);
    let variables = [
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ];
    let resolver_variables: Vec<(String, String)> =
        variables.iter().filter_map(|name| Some(((*name).to_owned(), host.variable(name)?))).collect();
    let certificates = resolver_variables.iter().filter(|(name, _)| name.starts_with("SSL_CERT"));
    Ok(SessionOptions {
        offline,
        jobs: jobs.max(1),
        collection: super::gc::policy(settings),
        build_memory: settings.number("build-memory").unwrap_or(DEFAULT_BUILD_MEMORY),
        index: if offline {
            local_index(host, python, settings, (args, lock))?
        } else {
            index(host, (store, python), settings, args, lock)?
        },
        formats: formats(args, lock, &pip_settings(host, python)?)?,
        build_constraints: args.build_constraints.clone(),
        sandbox: sandbox(settings),
        system_inputs: system_inputs(settings),
        limits: limits(settings),
        uv: settings.text("uv").map(|name| named_program(host, name).unwrap_or_else(|| name.into())),
        resolver_paths: certificates.map(|(_, path)| PathBuf::from(path)).collect(),
        resolver_variables,
        git_variables: ["SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "XDG_CONFIG_HOME"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), host.variable(name)?)))
            .collect(),
        home: host.home(),
        search_path: host.variable("PATH").unwrap_or_default(),
        unpack: settings.text("system-packages") == Some("unpack"),
        trace: !settings.is_set("trace") || settings.flag("trace"),
        explain: ExplainOptions {
            rules: own_rules(host, settings)?,
            may_make_index: !offline && (!settings.is_set("make-index") || settings.flag("make-index")),
        },
    })
}

/// What the user says about packages of the system. The usual places need not be there, named ones do.
pub(super) fn own_rules(host: &Host, settings: &Settings) -> Result<OwnRules, Failure> {
    let mut places: Vec<PathBuf> =
        settings.list("system-package-rules").iter().map(|path| host.absolute(Path::new(path))).collect();
    if !settings.is_set("system-package-rules") {
        places.push("/etc/pip-accel/deps".into());
        places.extend(host.home().map(|home| home.join(".pip-accel/deps")));
        places.retain(|place| place.is_dir());
    }
    Ok(OwnRules::read(&places)?)
}

pub(super) fn sandbox(settings: &Settings) -> SandboxChoice {
    if settings.text("sandbox") == Some("none") { SandboxChoice::None } else { SandboxChoice::Bubblewrap }
}

pub(super) fn system_inputs(settings: &Settings) -> SystemInputsPolicy {
    if settings.text("system-inputs") == Some("exact") {
        SystemInputsPolicy::Exact
    } else {
        SystemInputsPolicy::Compatible
    }
}

/// What one build may well need: a C++ compiler on large files has 1 GiB. Shown as `1G` in the settings.
const DEFAULT_BUILD_MEMORY: u64 = 1 << 30;

fn limits(settings: &Settings) -> Limits {
    let mut limits = default_limits();
    limits.wall_clock = settings.duration("build-timeout").unwrap_or(limits.wall_clock);
    limits.silence = settings.duration("build-silence-timeout").unwrap_or(limits.silence);
    limits.log_bytes = settings.number("build-log-max-bytes").unwrap_or(limits.log_bytes);
    limits
}

/// A program by its name on `PATH`, or by its path.
fn named_program(host: &Host, name: &str) -> Option<PathBuf> {
    if name.contains('/') { Some(host.absolute(Path::new(name))) } else { host.program(name) }
}

/// What pip reads from its own variables and files.
pub(super) fn pip_settings(host: &Host, python: &PythonInstallation) -> Result<PipSettings, Failure> {
    // One home for everything: pip's own files are below the same one as ours.
    let variable = |name: &str| match name {
        "HOME" => host.home().and_then(|home| home.into_os_string().into_string().ok()),
        _ => host.variable(name),
    };
    Ok(PipSettings::read(&PipConfigFiles::locate(&variable, Some(&python.prefix)), &variable)?)
}

fn formats(args: &SourceArgs, lock: &LockOptions, pip: &PipSettings) -> Result<FormatControl, Failure> {
    // The lock's own words stand for themselves; pip's configuration counts where it says nothing.
    let mut formats = if lock.formats == FormatControl::default() { pip.formats.clone() } else { lock.formats.clone() };
    for text in &args.no_binary {
        formats.apply_no_binary(&selection(text)?);
    }
    for text in &args.only_binary {
        formats.apply_only_binary(&selection(text)?);
    }
    Ok(formats)
}

fn selection(text: &str) -> Result<FormatSelection, Failure> {
    match text {
        ":all:" => Ok(FormatSelection::All),
        ":none:" => Ok(FormatSelection::None),
        names => {
            let names: Result<_, _> = names.split(',').map(|name| name.trim().parse()).collect();
            Ok(FormatSelection::Packages(names.map_err(|error| Failure::usage(&error))?))
        }
    }
}

/// Where files come from when no lock and no flag says so.
pub(super) fn index_settings(context: &Context<'_>, settings: &Settings) -> Result<IndexSettings, Failure> {
    let store = context.open(settings, Access::ReadWrite)?;
    let python = interpreter(context, &store, settings)?;
    index(&context.host, (&store, &python), settings, &SourceArgs::default(), &LockOptions::default())
}

/// The places of this machine among those where files come from: all there is without a network.
fn local_index(
    host: &Host,
    python: &PythonInstallation,
    settings: &Settings,
    (args, lock): (&SourceArgs, &LockOptions),
) -> Result<IndexSettings, Failure> {
    let mut index = places(host, (args, lock, settings), &pip_settings(host, python)?)?;
    let is_local = |url: &Url| url.scheme() == "file";
    index.index_url = index.index_url.filter(is_local);
    index.extra_index_urls.retain(is_local);
    index.find_links.retain(|place| match place {
        FindLinks::Path(_) => true,
        FindLinks::Url(url) => is_local(url),
    });
    Ok(index)
}

/// Where files come from: flags, else the lock, else our settings, else pip's, else what pip has built in.
fn index(
    host: &Host,
    (store, python): (&Store, &PythonInstallation),
    settings: &Settings,
    args: &SourceArgs,
    lock: &LockOptions,
) -> Result<IndexSettings, Failure> {
    let pip = pip_settings(host, python)?;
    let mut index = places(host, (args, lock, settings), &pip)?;
    if index.index_url.is_none() && !is_without_index(args, lock, &pip) {
        let default = with_memo(store, |memo| default_index(python, memo))?;
        index.index_url = Some(url(&default)?);
    }
    index.ca_file =
        settings.text("ca-file").map(|path| host.absolute(Path::new(path))).or(pip.cert).or_else(|| ca_bundle(host));
    index.client_cert = settings.text("client-cert").map(|path| host.absolute(Path::new(path))).or(pip.client_cert);
    index.proxy =
        settings.text("proxy").map(str::to_owned).or_else(|| pip.proxy.as_ref().map(|url| url.expose().to_owned()));
    index.netrc = settings
        .text("netrc")
        .map(|path| host.absolute(Path::new(path)))
        .or_else(|| host.variable("NETRC").map(PathBuf::from))
        .or_else(|| host.home().map(|home| home.join(".netrc")));
    // Of pip's other ways to a keyring none is a program.
    let of_pip = pip.keyring_provider.as_deref().filter(|provider| *provider == "subprocess").map(|_| "keyring");
    index.keyring = settings.text("keyring").or(of_pip).and_then(|name| named_program(host, name));
    index.timeout = settings.duration("timeout").or(pip.timeout).unwrap_or(index.timeout);
    let small = |key: &str| settings.number(key).and_then(|number| u32::try_from(number).ok());
    index.retries = small("retries").or(pip.retries).unwrap_or(index.retries);
    index.concurrency = small("connections").map_or(index.concurrency, |number| number as usize);
    Ok(index)
}

/// The certificates that pip takes from the variables of the library below it. A directory is left to that library.
fn ca_bundle(host: &Host) -> Option<PathBuf> {
    let variable = host.variable("REQUESTS_CA_BUNDLE").or_else(|| host.variable("CURL_CA_BUNDLE"))?;
    Some(host.absolute(Path::new(&variable))).filter(|path| !path.is_dir())
}

fn is_without_index(args: &SourceArgs, lock: &LockOptions, pip: &PipSettings) -> bool {
    let chosen = args.index_url.is_some() || lock.index_url.is_some();
    args.no_index || lock.no_index || (pip.no_index && !chosen)
}

fn places(
    host: &Host,
    (args, lock, settings): (&SourceArgs, &LockOptions, &Settings),
    pip: &PipSettings,
) -> Result<IndexSettings, Failure> {
    let mut index = IndexSettings::default();
    if !is_without_index(args, lock, pip) {
        let own = settings.text("index-url").map(str::to_owned);
        let of_lock = lock.index_url.as_ref().map(|url| url.expose().to_owned());
        let chosen = args
            .index_url
            .clone()
            .or(of_lock)
            .or(own)
            .or_else(|| pip.index_url.as_ref().map(|url| url.expose().to_owned()));
        index.index_url = chosen.as_deref().map(url).transpose()?;
        let exposed = |urls: &[SourceUrl]| urls.iter().map(|url| url.expose().to_owned()).collect::<Vec<_>>();
        let (of_lock, of_pip) = (exposed(&lock.extra_index_urls), exposed(&pip.extra_index_urls));
        let extra = [&args.extra_index_url[..], &of_lock, settings.list("extra-index-urls"), &of_pip];
        index.extra_index_urls = extra.concat().iter().map(|text| url(text)).collect::<Result<_, _>>()?;
    }
    for place in lock.find_links.iter().chain(&pip.find_links) {
        index.find_links.push(match place {
            lock::FindLinks::Url(place) => FindLinks::Url(url(place.expose())?),
            lock::FindLinks::Path(path) => FindLinks::Path(path.clone()),
        });
    }
    let links = [&args.find_links[..], settings.list("find-links")];
    index.find_links.extend(links.concat().iter().map(|text| find_links(host, text)));
    index.trusted_hosts = [&lock.trusted_hosts[..], settings.list("trusted-hosts"), &pip.trusted_hosts].concat();
    Ok(index)
}

fn url(text: &str) -> Result<Url, Failure> {
    // The text may hold a password: it is not repeated.
    Url::parse(text).map_err(|error| {
        Failure::new(Exit::Usage, format!("an index URL can't be used: {error}"))
            .hint("show the settings: pip-accel config show")
    })
}

fn find_links(host: &Host, text: &str) -> FindLinks {
    match Url::parse(text) {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => FindLinks::Url(url),
        _ => FindLinks::Path(host.absolute(Path::new(text))),
    }
}

/// The store as a place to remember answers; one that can't remember costs time, nothing else.
fn with_memo<T>(store: &Store, work: impl FnOnce(Memo<'_>) -> T) -> T {
    let get = |namespace: &str, key: &[u8]| store.memo_get(namespace, key).ok().flatten();
    let put = |namespace: &str, key: &[u8], value: &[u8]| drop(store.memo_put(namespace, key, value));
    work(Memo { get: &get, put: &put })
}
