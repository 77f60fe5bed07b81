//! Why a project can't be resolved.

use std::path::PathBuf;
use std::sync::Arc;

use pip_accel_schema::lock_file::LockSyntaxError;
use pip_accel_schema::requirement::excerpt;

use super::location::without_user_info;
use crate::lock::{IncludeProblem, LockError, Span};
use crate::realize::error::{ObtainError, RealizeError};

/// Why what is asked for can't be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file can't be read.
    #[error("{} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is too long or no text.
    #[error(transparent)]
    File(LockError),
    /// A line can't be read.
    #[error("{span}: {reason}")]
    Syntax {
        /// Where.
        span: Span,
        /// What is wrong, naming the text.
        reason: String,
    },
    /// A place that a line names is not there.
    #[error("{span}: there is {missing}")]
    Missing {
        /// Where.
        span: Span,
        /// What is not there, and where it was looked for.
        missing: String,
    },
    /// A word that was typed, or a line of a script, can't be used as a requirement.
    #[error("`{argument}`{of} can't be installed: {reason}", of = in_script(script.as_deref()))]
    Argument {
        /// The word, without credentials.
        argument: String,
        /// The script that says it; `None` for the command line.
        script: Option<String>,
        /// What is wrong.
        reason: String,
        /// Whether it names a file, folder or repository that is not there.
        is_missing: bool,
    },
    /// A `-r` or `-c` that can't be followed.
    #[error("{span}: {reason}")]
    Include {
        /// Where it stands.
        span: Span,
        /// Why.
        reason: IncludeProblem,
    },
    /// A `-r` or `-c` of another machine.
    #[error("{span}: `{url}` is not a file of this machine")]
    Remote {
        /// Where it stands.
        span: Span,
        /// What is named, without credentials.
        url: String,
    },
    /// An option that changes what is chosen and is not understood.
    #[error("{span}: the option `{option}` is not supported")]
    Option {
        /// Where it stands.
        span: Span,
        /// The option.
        option: String,
    },
    /// A place that a project names.
    #[error("`{place}`: {reason}")]
    Place {
        /// The place, without credentials.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A folder that is no project.
    #[error("{} has neither `pyproject.toml` nor `setup.py` nor `setup.cfg`", .0.display())]
    NoProject(PathBuf),
    /// `pyproject.toml` is no TOML, or not as it should be.
    #[error("{} can't be understood: {reason}", path.display())]
    Pyproject {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An extra that the project does not have.
    #[error("{} has no extra `{extra}`; it has {known}", path.display())]
    NoExtra {
        /// The file.
        path: PathBuf,
        /// The extra.
        extra: String,
        /// Those that there are.
        known: String,
    },
    /// A dependency group that the project does not have.
    #[error("{} has no dependency group `{group}`; it has {known}", path.display())]
    NoGroup {
        /// The file.
        path: PathBuf,
        /// The group.
        group: String,
        /// Those that there are.
        known: String,
    },
}

/// ` of the script x.py`, where a script says it.
fn in_script(script: Option<&str>) -> String {
    script.map_or_else(String::new, |script| format!(" of the script {script}"))
}

impl InputError {
    /// The same for requirements that are in no file: `lines` are what was typed, or what the script `script` says.
    pub(super) fn of_lines(self, lines: &str, script: Option<&str>) -> Self {
        let line = |span: &Span| {
            let line = span.line.checked_sub(1).and_then(|position| lines.lines().nth(position)).unwrap_or_default();
            excerpt(without_user_info(line.trim()).trim_start_matches("-e "))
        };
        let (argument, reason, is_missing) = match &self {
            Self::Syntax { span, reason } => (line(span), reason.clone(), false),
            Self::Missing { span, missing } => (line(span), format!("there is {missing}"), true),
            Self::Remote { span, url } => (line(span), format!("`{url}` is not a file of this machine"), false),
            Self::Include { span, reason } => (line(span), reason.to_string(), false),
            Self::Option { span, .. } => (line(span), "it is an option that is not supported".to_owned(), false),
            _ => return self,
        };
        Self::Argument { argument, script: script.map(str::to_owned), reason, is_missing }
    }

    pub(super) fn of_file(error: LockError) -> Self {
        match error {
            LockError::Read { path, source } => Self::Read { path, source },
            error => Self::File(error),
        }
    }
}

/// What kind of failure the resolver's words are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The requirements contradict each other.
    Conflict,
    /// A project or version that no place has.
    Unknown,
    /// Not in the store, and the network is off.
    Offline,
    /// A server could not be reached, or did not answer as it should.
    Network,
    /// A server's certificate is not trusted.
    Certificate,
    /// An index or server asks for credentials, or refuses those that it got.
    Credentials,
    /// A repository, or its revision, could not be had.
    VersionControl,
    /// The backend of an sdist or project failed.
    Backend,
    /// Only a backend could tell what something requires, and none is run beside credentials.
    NotRun,
    /// Anything else.
    Other,
}

/// Why a project can't be resolved; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// What is asked for can't be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The resolver could not be had or run.
    #[error(transparent)]
    Resolver(Arc<ObtainError>),
    /// The run could not begin, or was interrupted.
    #[error(transparent)]
    Run(#[from] RealizeError),
    /// The resolver ran and gave no solution.
    #[error("{explanation}")]
    Failed {
        /// Of what kind.
        kind: FailureKind,
        /// The resolver's explanation, shortened, without credentials; one paragraph a line.
        explanation: String,
    },
    /// The files that are asked for demand hashes that no chosen file has.
    #[error("`{name}`: none of the hashes that the requirements demand is one of the chosen release's files")]
    Hashes {
        /// `name==version`.
        name: String,
    },
    /// The resolver's answer can't be read.
    #[error("the resolver's answer can't be read")]
    Answer(#[from] LockSyntaxError),
    /// The resolver's `pylock.toml` is none.
    #[error("the resolver's answer can't be read")]
    Pylock(#[source] Box<toml::de::Error>),
    /// A file of the exchange with the resolver failed.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A folder that a requirement names holds the home directory, which whatever is run would see.
    #[error("{} holds the home directory, and the backends of projects must not see that", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
    },
    /// A folder that would have to be copied for its backend is larger than any project.
    #[error("the project {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
}

impl From<ObtainError> for ProjectError {
    fn from(error: ObtainError) -> Self {
        if error.is_cancelled() { Self::Run(RealizeError::Interrupted) } else { Self::Resolver(Arc::new(error)) }
    }
}
