//! The resolver's words → what kind of failure it is, and an explanation of a few lines.

use super::error::FailureKind;

/// Longest explanation, in lines: beyond that nobody finds the reason.
const LINES_MAX: usize = 16;

/// The kind of a failure, and its explanation.
pub(super) fn explain(output: &str, is_offline: bool) -> (FailureKind, String) {
    let kind = kind(output, is_offline);
    if kind == FailureKind::VersionControl {
        return (kind, of_git(output));
    }
    let start = output.find("error: ").map_or(0, |start| {
        let is_line = start == 0 || output[..start].ends_with('\n');
        if is_line { start } else { 0 }
    });
    let mut lines = Vec::new();
    for line in output[start..].lines() {
        let line = line.trim();
        let line = line.strip_prefix("error: ").or_else(|| line.strip_prefix("cause: ")).unwrap_or(line);
        let is_summary = line.starts_with("No solution found when resolving");
        if !line.is_empty() && !is_summary {
            lines.push(line.to_owned());
        }
    }
    let left_out = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if left_out > 0 {
        lines.push(format!("… and {left_out} more lines"));
    }
    (kind, lines.join("\n"))
}

/// What git could not do, in one sentence: neither its command line nor the places of the sandbox mean anything to anyone.
fn of_git(output: &str) -> String {
    let url = output.lines().find(|line| line.contains("process didn't exit")).and_then(|line| {
        line.split('\'').find(|word| word.contains("://") || word.starts_with("ssh:")).map(str::to_owned)
    });
    let repository = url.map_or_else(|| "the repository".to_owned(), |url| format!("the repository {url}"));
    let is_unknown = ["couldn't find remote ref", "not our ref", "failed to find branch", "unadvertised object"]
        .iter()
        .any(|text| output.contains(text));
    let revision = output.lines().find(|line| line.contains("failed to f") && line.contains('`'));
    if let (true, Some(revision)) = (is_unknown, revision.and_then(|line| line.split('`').nth(1))) {
        return format!("{repository} has no branch, tag or commit `{revision}`");
    }
    let fatal = output.lines().rev().find_map(|line| line.trim().strip_prefix("fatal: "));
    match fatal {
        Some(fatal) => format!("{repository} can't be read: {}", fatal.trim_end_matches('.')),
        None => format!("{repository} can't be read"),
    }
}

fn kind(output: &str, is_offline: bool) -> FailureKind {
    let has = |text: &str| output.contains(text);
    if has("401 Unauthorized") || has("403 Forbidden") || has("Missing credentials") {
        return FailureKind::Credentials;
    }
    if has("No solution found") {
        let is_unknown = has("was not found in") || has("there is no version of") || has("there are no versions of");
        return match (is_offline, is_unknown) {
            (true, _) => FailureKind::Offline,
            (false, true) => FailureKind::Unknown,
            (false, false) => FailureKind::Conflict,
        };
    }
    if has("Git operation failed") || has("failed to clone") || has("failed to fetch") {
        return FailureKind::VersionControl;
    }
    if has("certificate") {
        return FailureKind::Certificate;
    }
    if has("The build backend returned an error") || has("Failed to build") || has("uild backend") {
        return FailureKind::Backend;
    }
    if has("Failed to fetch") || has("Request failed") || has("error sending request") || has("Failed to download") {
        return if is_offline { FailureKind::Offline } else { FailureKind::Network };
    }
    FailureKind::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_becomes_a_sentence() {
        let text = "error: Git operation failed\n  cause: failed to clone into: /pip-accel/cache/git-v2/db/1\n  cause: failed \
                    to fetch branch or tag `v9`\n  cause: process didn't exit successfully: `git fetch --force \
                    'https://h.example/r' '+refs/tags/v9:refs/v9'` (exit status: 128)\n--- stderr\n\
                    fatal: couldn't find remote ref refs/tags/v9\n";
        let expected = "the repository https://h.example/r has no branch, tag or commit `v9`";
        assert_eq!(explain(text, false), (FailureKind::VersionControl, expected.to_owned()));
        let gone = text.replace("couldn't find remote ref refs/tags/v9", "repository 'https://h.example/r/' not found");
        let expected = "the repository https://h.example/r can't be read: repository 'https://h.example/r/' not found";
        assert_eq!(explain(&gone, false).1, expected);
    }

    #[test]
    fn failures_are_told_apart_and_shortened() {
        let conflict = "error: No solution found when resolving dependencies\n  cause: Because a depends on b<1, we \
                        can conclude that.\n         And because you require b>1, it is so.\n";
        let (kind, text) = explain(conflict, false);
        assert_eq!(kind, FailureKind::Conflict);
        assert_eq!(text, "Because a depends on b<1, we can conclude that.\nAnd because you require b>1, it is so.");
        let unknown = "error: No solution found when resolving dependencies\n  cause: Because a was not found in the \
                       package registry and you require a, …\n";
        assert_eq!(explain(unknown, false).0, FailureKind::Unknown);
        assert_eq!(explain(unknown, true).0, FailureKind::Offline);
        for (text, kind) in [
            ("error: Request failed after 3 retries\n  cause: Failed to fetch: http://h/\n", FailureKind::Network),
            ("error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer\n", FailureKind::Certificate),
            ("error: Failed to download and build\n  cause: Git operation failed\n", FailureKind::VersionControl),
            ("error: The build backend returned an error\n", FailureKind::Backend),
            ("whatever", FailureKind::Other),
        ] {
            assert_eq!(explain(text, false).0, kind, "{text}");
        }
        let long = format!("error: x\n{}", "y\n".repeat(100));
        assert_eq!(explain(&long, false).1.lines().count(), LINES_MAX + 1);
    }
}
