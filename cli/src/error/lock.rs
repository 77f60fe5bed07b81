//! What is wrong with a lock.

use pip_accel_builder::lock::{IncludeProblem, LockError, LockProblem, ProblemKind};
use pip_accel_schema::project_lock::LockFormat;

use super::{Failure, number_of, sentence};
use crate::exit_code::Exit;

/// A lock that can't be read or used.
pub(super) fn failure(error: &LockError) -> Failure {
    match error {
        LockError::Read { .. } => {
            Failure::new(Exit::Error, sentence(error)).hint("name the lock: pip-accel realize requirements.lock")
        }
        LockError::Refused { problems } => refused(problems),
        LockError::NoSuch { .. } => {
            Failure::new(Exit::Usage, sentence(error)).hint("name one that the lock has, or take the option away")
        }
        LockError::Format { .. } => Failure::new(Exit::LockRefused, sentence(error))
            .hint("give the file the name of its format, or write it anew with the tool that made it"),
        LockError::Syntax { span, .. } if format_of(&span.file).is_some() => {
            let command = format_of(&span.file).map_or("", LockFormat::lock_command);
            Failure::new(Exit::LockRefused, sentence(error)).hint(&format!("write it anew: {command}"))
        }
        LockError::Include { reason: IncludeProblem::Unreadable { .. }, .. } => {
            Failure::new(Exit::Error, sentence(error)).hint("put the file there, or mend that line of the lock")
        }
        LockError::TooLong { .. }
        | LockError::Encoding { .. }
        | LockError::UnknownEncoding { .. }
        | LockError::Syntax { .. }
        | LockError::Include { .. } => Failure::new(Exit::LockRefused, sentence(error))
            .hint("a lock is a requirements file of pins and hashes; write it anew with the tool that made it"),
    }
}

/// The format that the name of a project's lock promises.
fn format_of(file: &std::path::Path) -> Option<LockFormat> {
    LockFormat::of_name(&file.file_name()?.to_string_lossy())
}

/// Lines of a refused lock that are listed.
const PROBLEMS_SHOWN_MAX: usize = 50;

fn refused(problems: &[LockProblem]) -> Failure {
    let needs_locking = |problem: &LockProblem| {
        matches!(
            problem.kind,
            ProblemKind::Unpinned { .. } | ProblemKind::Unhashed { .. } | ProblemKind::Revision { .. }
        )
    };
    let is_for_others = |problem: &LockProblem| {
        matches!(
            problem.kind,
            ProblemKind::RequiresPython { .. }
                | ProblemKind::PackageRequiresPython { .. }
                | ProblemKind::Environments { .. }
        )
    };
    let hint = match problems.first().and_then(|problem| format_of(&problem.span.file)) {
        _ if problems.iter().any(is_for_others) => {
            "name an interpreter that it is for: --python VERSION; or write the lock anew for this one".to_owned()
        }
        Some(format) => format!("write it anew: {}", format.lock_command()),
        None if problems.iter().any(needs_locking) => {
            "lock it: pip-accel lock requirements.in -o requirements.lock".to_owned()
        }
        None => "mend the line, or write the lock anew with the tool that made it".to_owned(),
    };
    let (first, rest) = match problems.split_first() {
        Some((first, rest)) => (first.to_string(), rest),
        None => ("the lock is refused".to_owned(), problems),
    };
    let hidden = rest.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    let more = (hidden > 0).then(|| format!("and {hidden} more {}", number_of(hidden as u64, "line", "lines")));
    let listed = rest.iter().take(PROBLEMS_SHOWN_MAX).map(|problem| format!("also {problem}"));
    Failure::new(Exit::LockRefused, first).details(listed.chain(more)).hint(&hint)
}
