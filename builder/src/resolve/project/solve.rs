//! The runs of the resolver for one request.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::wheel::WheelFileName;
use pip_accel_store::Scratch;

use super::answer::{self, ResolvedPin, ResolvedTarget};
use super::error::{FailureKind, ProjectError};
use super::exchange::{self, Labels};
use super::explain::explain;
use super::kept_cache::KeptCache;
use super::store_links::StoreLinks;
use super::{Places, ProjectRequest, Resolution};
use crate::event::Event;
use crate::index::{FindLinks, PublishedFile};
use crate::lock::describe_file;
use crate::python::metadata::same_version;
use crate::realize::engine::{Engine, Purpose, store_error};
use crate::resolve::access::Access;
use crate::resolve::build_requirements::CONSTRAINTS;
use crate::resolve::uv::{self, Cache, Code, EXCHANGE, Ended, Run, read_answer};
use crate::sandbox::{Bind, Network};
use crate::session::Session;

/// Lines of output that are searched for the reason of a failure.
const OUTPUT_LINES: usize = 200;

/// Solves `request`.
pub(super) async fn solve(session: &Arc<Session>, request: &ProjectRequest) -> Result<Resolution, ProjectError> {
    let answer = ask(session, request, "requirements.lock").await?;
    for warning in &answer.warnings {
        session.report(Event::Warning(warning.clone()));
    }
    let mut pins = answer::read(&answer.text, &request.inputs, &answer.labels)?;
    if !is_offline(session, request) {
        add_hashes(session, &mut pins).await?;
    }
    pins.iter_mut().try_for_each(|pin| answer::demand(pin, &request.inputs))?;
    Ok(resolution(session, request, (answer, pins)))
}

fn is_offline(session: &Session, request: &ProjectRequest) -> bool {
    session.options.offline || request.places == Places::StoreOnly
}

/// The hashes that pages give and the resolver does not tell: those of pages that `--find-links` names.
async fn add_hashes(session: &Arc<Session>, pins: &mut [ResolvedPin]) -> Result<(), ProjectError> {
    let engine = Engine::new(session, Vec::new(), Purpose::Fetch);
    for pin in pins.iter_mut().filter(|pin| pin.hashes.is_empty()) {
        let (Some(name), ResolvedTarget::Release(version)) = (&pin.name, &pin.target) else { continue };
        let client = engine.client(&uv::pin()).await?;
        // The resolver has got an answer there; without one now the lock is what it would have been.
        let Ok(files) = client.project_files(name).await else { continue };
        let is_of_release = |file: &&PublishedFile| {
            let (_, told) = describe_file(&file.file_name).unwrap_or_default();
            told.is_some_and(|told| same_version(told.as_str(), version.as_str()))
        };
        let hashes: BTreeSet<_> = files.iter().filter(is_of_release).filter_map(|file| file.sha256).collect();
        pin.hashes = hashes.into_iter().collect();
    }
    Ok(())
}

/// The resolver's answer for `request` as the text of the file `name`, which decides on its format.
pub(super) async fn answer_of(
    session: &Arc<Session>,
    request: &ProjectRequest,
    name: &str,
) -> Result<String, ProjectError> {
    Ok(ask(session, request, name).await?.text)
}

/// What a run that found a solution gave.
struct Answer {
    text: String,
    labels: Labels,
    warnings: Vec<String>,
    choices: Vec<uv::Choice>,
}

async fn ask(session: &Arc<Session>, request: &ProjectRequest, name: &str) -> Result<Answer, ProjectError> {
    let engine = Engine::new(session, Vec::new(), Purpose::Fetch);
    let pin = uv::pin();
    let program = uv::program(&engine).await?;
    let is_offline = is_offline(session, request);
    let mut access = if is_offline {
        Access::without_network(session.options.index.clone())
    } else {
        Access::of(&engine, &pin).await?
    };
    access.hide(&request.inputs.secrets);
    check_home(session, request)?;
    let links = session.store.scratch("links").map_err(store_error(&pin))?;
    let mut visible: Vec<PathBuf> = request.inputs.visible.iter().cloned().collect();
    if request.places != Places::Session {
        access.index.index_url = None;
        access.index.extra_index_urls.clear();
    }
    if request.places == Places::StoreOnly {
        access.index.find_links.clear();
    }
    if is_offline {
        let links = StoreLinks::make(session, &links.path().join("files"))?;
        visible.push(links.folder.clone());
        visible.extend(links.visible);
        access.index.find_links.push(FindLinks::Path(links.folder));
    }
    let job = Job { engine: &engine, request, program: &program, access, visible, is_offline, name };
    job.solve().await
}

/// No folder that a requirement names may show the home directory to whatever is run.
fn check_home(session: &Session, request: &ProjectRequest) -> Result<(), ProjectError> {
    let Some(home) = &session.options.home else { return Ok(()) };
    let home = home.canonicalize().unwrap_or_else(|_| home.clone());
    match request.inputs.visible.iter().find(|path| home.starts_with(path)) {
        Some(path) => Err(ProjectError::Home { path: path.clone() }),
        None => Ok(()),
    }
}

struct Job<'a> {
    engine: &'a Arc<Engine>,
    request: &'a ProjectRequest,
    program: &'a Path,
    access: Access,
    visible: Vec<PathBuf>,
    is_offline: bool,
    /// The file of the answer.
    name: &'a str,
}

/// How an attempt may come to know what an sdist requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// From static metadata.
    Static,
    /// From its backend.
    Backends,
    /// Not at all: only wheels are candidates.
    WheelsOnly,
}

impl Job<'_> {
    async fn solve(&self) -> Result<Answer, ProjectError> {
        let first = self.attempt(Attempt::Static).await?;
        let ended = match first {
            Tried::Solved(answer) => return Ok(answer),
            Tried::Failed(ended) if !uv::wanted_code(&ended.output) => ended,
            // Where nothing can be sent anywhere, nothing is given away.
            Tried::Failed(_) if self.is_offline || !self.access.holds_credentials() => {
                match self.attempt(Attempt::Backends).await? {
                    Tried::Solved(answer) => return Ok(answer),
                    Tried::Failed(ended) => ended,
                }
            }
            Tried::Failed(_) => match self.attempt(Attempt::WheelsOnly).await? {
                Tried::Solved(mut answer) => {
                    answer.warnings.push(
                        "only wheels were candidates: no sdist is run to tell what it requires beside the credentials \
                         of an index or proxy"
                            .to_owned(),
                    );
                    return Ok(answer);
                }
                Tried::Failed(ended) => {
                    let (_, explanation) = explain(&ended.output, false);
                    return Err(ProjectError::Failed { kind: FailureKind::NotRun, explanation });
                }
            },
        };
        let (kind, mut explanation) = explain(&ended.output, self.is_offline);
        if explanation.is_empty() {
            explanation = ended.status_text();
        }
        Err(ProjectError::Failed { kind, explanation })
    }

    async fn attempt(&self, attempt: Attempt) -> Result<Tried, ProjectError> {
        let session = &self.engine.session;
        let pin = uv::pin();
        let scratch = session.store.scratch("resolve").map_err(store_error(&pin))?;
        let exchange = scratch.path().join(EXCHANGE);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ProjectError::Io { path, source }
        };
        std::fs::create_dir(&exchange).map_err(at(&exchange))?;
        std::fs::write(exchange.join(GIT_SETTINGS), "[safe]\n\tdirectory = *\n").map_err(at(&exchange))?;
        let (code, kept) = match attempt {
            // With what is known already, but nothing of it comes back.
            Attempt::Backends => (Code::Backends, KeptCache::copy(session, scratch.path(), self.is_offline)),
            Attempt::Static | Attempt::WheelsOnly => (Code::Never, KeptCache::take(session, scratch.path())),
        };
        let kept = kept.map_err(at(scratch.path()))?;
        let (copies, visible) = self.places(attempt, &scratch)?;
        let mut run = Run {
            engine: self.engine,
            pin: &pin,
            program: self.program,
            access: &self.access,
            scratch: scratch.path(),
            code,
            cache: Cache::Folder(kept.path().to_owned()),
            network: if self.is_offline { Network::None } else { Network::Shared },
            visible,
            copies,
            variables: Vec::new(),
            output_lines: OUTPUT_LINES,
        };
        let inside = run.paths().exchange;
        run.variables = vec![
            ("GIT_CONFIG_GLOBAL".into(), inside.join(GIT_SETTINGS).into()),
            ("GIT_TERMINAL_PROMPT".into(), "0".into()),
            ("RUST_LOG".into(), uv::CHOICES_LOG.into()),
        ];
        let (mut words, labels) = exchange::write(self.request, (&exchange, &inside), self.name)?;
        let constraints = &session.options.build_constraints;
        if !constraints.is_empty() {
            let path = exchange.join(CONSTRAINTS);
            std::fs::write(&path, constraints.join("\n")).map_err(at(&path))?;
            words.extend(["--build-constraints".into(), inside.join(CONSTRAINTS).into()]);
        }
        let ended = run.run(self.words(words, attempt)).await?;
        drop(kept);
        if !ended.is_good() {
            return Ok(Tried::Failed(ended));
        }
        let path = exchange.join(self.name);
        let text = read_answer(&path).map_err(at(&path))?;
        Ok(Tried::Solved(Answer { text, labels, warnings: ended.warnings, choices: ended.choices }))
    }

    /// Copies of local projects for a run with code, and what is only seen.
    fn places(&self, attempt: Attempt, scratch: &Scratch) -> Result<(Vec<Bind>, Vec<PathBuf>), ProjectError> {
        let (mut copies, mut visible) = (Vec::new(), Vec::new());
        let session_store = self.engine.session.store.root();
        for path in &self.visible {
            let is_project = ["pyproject.toml", "setup.py", "setup.cfg"].iter().any(|file| path.join(file).is_file());
            if attempt == Attempt::Backends && is_project && self.request.inputs.visible.contains(path) {
                let copy = scratch.path().join(format!("project-{}", copies.len()));
                exchange::copy_project(path, &copy, session_store)?;
                copies.push(Bind::new(copy, path));
            } else {
                visible.push(path.clone());
            }
        }
        Ok((copies, visible))
    }

    fn words(&self, inputs: Vec<OsString>, attempt: Attempt) -> Vec<OsString> {
        let session = &self.engine.session;
        let mut words: Vec<OsString> = vec!["pip".into(), "compile".into()];
        // Without a network there is nothing to look anew at, and uv takes the two words for a contradiction.
        let is_refresh = |word: &OsString| word.to_string_lossy().starts_with("--refresh");
        words.extend(inputs.into_iter().filter(|word| !self.is_offline || !is_refresh(word)));
        let fixed = [
            "--generate-hashes",
            "--no-header",
            "--annotation-style=split",
            "--no-strip-extras",
            "--no-sources",
            "--no-config",
            "--python",
        ];
        words.extend(fixed.map(OsString::from));
        words.push(session.python.executable.clone().into());
        if attempt == Attempt::WheelsOnly {
            words.push("--no-build".into());
        }
        if self.is_offline {
            words.push("--offline".into());
        }
        if self.access.index.index_url.is_none() {
            words.push("--no-index".into());
        }
        let [no_binary, only_binary] = session.options.formats.texts();
        words.extend(no_binary.iter().map(|name| format!("--no-binary={name}").into()));
        words.extend(only_binary.iter().map(|name| format!("--only-binary={name}").into()));
        words
    }
}

fn resolution(session: &Session, request: &ProjectRequest, (answer, pins): (Answer, Vec<ResolvedPin>)) -> Resolution {
    let tags = session.tags();
    let is_wheel = |name: &PackageName, version: &PackageVersion| {
        let is_it = |choice: &&uv::Choice| choice.name == *name && choice.version == *version;
        let fits = |choice: &uv::Choice| {
            choice.file_name.parse::<WheelFileName>().is_ok_and(|wheel| tags.rank(&wheel).is_some())
        };
        answer.choices.iter().filter(is_it).any(fits)
    };
    let may_need_build = pins
        .iter()
        .filter_map(|pin| match (&pin.name, &pin.target) {
            (Some(name), ResolvedTarget::Release(version)) if !is_wheel(name, version) => Some(name.clone()),
            _ => None,
        })
        .collect();
    Resolution { pins, option_lines: request.inputs.option_lines.clone(), warnings: answer.warnings, may_need_build }
}

/// git takes a repository of another user for a trap unless it is told otherwise; in the sandbox all are of others.
const GIT_SETTINGS: &str = "gitconfig";

enum Tried {
    Solved(Answer),
    Failed(Ended),
}
