//! What can be wrong with a project that is resolved.

use pip_accel_builder::lock::IncludeProblem;
use pip_accel_builder::realize::error::ObtainError;
use pip_accel_builder::resolve::project::{FailureKind, InputError, ProjectError};

use super::{CERTIFICATE_HINT, CREDENTIALS_HINT, Failure, INDEX_HINT, obtain, sentence};
use crate::exit_code::Exit;

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        let failure = |exit| Self::new(exit, sentence(&error));
        match &error {
            InputError::Read { .. } => {
                failure(Exit::Error).hint("name a file that is there: pip-accel lock requirements.in")
            }
            InputError::Include { reason: IncludeProblem::Unreadable { .. }, .. } => {
                failure(Exit::Error).hint("put the file there, or mend that line")
            }
            InputError::Missing { .. } => failure(Exit::LockRefused).hint("put it there, or mend that line"),
            InputError::Argument { script: Some(_), is_missing: false, .. } => {
                failure(Exit::LockRefused).hint("mend what the script says")
            }
            InputError::Argument { script: Some(_), .. } => failure(Exit::LockRefused).hint("put it there"),
            InputError::Argument { is_missing: true, .. } => failure(Exit::Usage).hint("name what is there"),
            InputError::Argument { .. } => failure(Exit::Usage)
                .hint("name a project, a file, a folder or a URL: pip-accel install 'flask<4' ./local.whl ./project"),
            InputError::Include { .. } | InputError::Syntax { .. } | InputError::Place { .. } | InputError::File(_) => {
                failure(Exit::LockRefused).hint("mend that line")
            }
            InputError::Remote { .. } => failure(Exit::LockRefused).hint("fetch that file and name the copy"),
            InputError::Option { .. } => {
                failure(Exit::LockRefused).hint("remove it; --pre and --exclude-newer of `pip-accel lock` do the like")
            }
            InputError::NoProject(_) => {
                failure(Exit::Usage).hint("name the project's folder, or a file of requirements")
            }
            InputError::Pyproject { .. } => failure(Exit::LockRefused).hint("mend that file"),
            InputError::NoExtra { .. } | InputError::NoGroup { .. } => {
                failure(Exit::Usage).hint("name one that there is, or add it to that file")
            }
        }
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        match error {
            ProjectError::Input(error) => error.into(),
            ProjectError::Run(error) => error.into(),
            ProjectError::Resolver(error) => resolver(&error),
            ProjectError::Failed { kind, explanation } => failed(kind, &explanation),
            ProjectError::Hashes { .. } => Self::new(Exit::LockRefused, sentence(&error)).hint(
                "do not install it; if the release was changed on purpose, remove its hashes from the requirements",
            ),
            ProjectError::Answer(_) | ProjectError::Pylock(_) => Self::new(Exit::Error, sentence(&error))
                .hint("leave PIP_ACCEL_UV away, so that the resolver is used that this program was made for"),
            ProjectError::Home { .. } => {
                Self::new(Exit::Usage, sentence(&error)).hint("put the project into a folder of its own")
            }
            ProjectError::Io { .. } | ProjectError::TooLarge { .. } => {
                Self::new(Exit::Error, sentence(&error)).hint("check the disk and the store: pip-accel doctor")
            }
        }
    }
}

/// The resolver itself could not be had or run.
fn resolver(error: &ObtainError) -> Failure {
    match error {
        ObtainError::NoSandbox { source, .. } => Failure::new(
            Exit::NoSandbox,
            format!("the resolver can't be run without a sandbox: {}", sentence(&**source)),
        )
        .hint(&source.remedy())
        .hint("or resolve without isolation, if you trust all that is asked for: --no-sandbox"),
        ObtainError::Sandbox { source, .. } => {
            Failure::new(Exit::Error, format!("the resolver can't be run: {}", sentence(&**source)))
                .hint("check the sandbox: pip-accel doctor")
        }
        error => obtain(error).hint("or name a resolver that is there: PIP_ACCEL_UV=FILE"),
    }
}

fn failed(kind: FailureKind, explanation: &str) -> Failure {
    let mut lines = explanation.lines();
    let first = lines.next().unwrap_or("the resolver failed without a word");
    if kind == FailureKind::VersionControl {
        return Failure::new(Exit::Error, first.to_owned())
            .hint("check the URL and name a revision that exists: git+https://…@REVISION");
    }
    let (exit, lead, hint) = match kind {
        FailureKind::Conflict => (
            Exit::LockRefused,
            "the requirements contradict each other",
            "allow other versions of what is named, or take another release: -P NAME, --upgrade",
        ),
        FailureKind::Unknown => (
            Exit::LockRefused,
            "something that is required does not exist",
            "check the spelling and the versions, or name the index that has it: --index-url, --extra-index-url, --find-links",
        ),
        FailureKind::Offline => (
            Exit::Offline,
            "the network is off, and what this machine has is not enough",
            "repeat the command with a network, or name files that are here: --find-links DIR",
        ),
        FailureKind::Network => (Exit::Error, "a server can't be reached or does not answer as it should", INDEX_HINT),
        FailureKind::Certificate => (Exit::Error, "a server's certificate is not trusted", CERTIFICATE_HINT),
        FailureKind::Credentials => (Exit::Error, "a server refuses its files", CREDENTIALS_HINT),
        FailureKind::Backend => (
            Exit::BuildFailed,
            "what an sdist or project requires can't be found out: its backend failed",
            "take a release that has a wheel (--only-binary NAME), or mend the project",
        ),
        FailureKind::NotRun => (
            Exit::LockRefused,
            "there is no solution among wheels, and no sdist is run to tell what it requires beside the credentials of \
             an index or proxy",
            "use an index without credentials for this once, or releases that have wheels",
        ),
        FailureKind::VersionControl | FailureKind::Other => {
            (Exit::Error, "the resolver failed", "check this machine: pip-accel doctor")
        }
    };
    Failure::new(exit, lead.to_owned())
        .details([first.to_owned()].into_iter().chain(lines.map(str::to_owned)))
        .hint(hint)
}
