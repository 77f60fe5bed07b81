//! (log, trace, index, installed) → findings: what is missing, and which package has it; or why none has.

use serde::Serialize;

use super::alternatives::is_basic;
use super::candidates::{Candidate, Candidates, candidates, stem};
use super::evidence::{Evidence, Kind};
use super::index::SystemIndex;
use super::install::command_to_type;
use super::installed::Installed;
use super::scan::{Hint, Scan, scan};
use super::trace;
use crate::sandbox::MissedPath;

/// How much the distance from the end of the log takes, at most.
const DISTANCE_POINTS_MAX: f64 = 20.0;

/// A message of this weight ends a build: if no package answers it, nothing weaker is believed instead.
const DECISIVE_WEIGHT: u8 = 91;

/// Below this weight something was only tried out; nothing is proposed for it alone.
const PROPOSABLE_WEIGHT: u8 = 60;

/// Lines within which messages of one kind belong to one failure: a linker lists all it lacks.
const TOGETHER_LINES: usize = 12;

/// Most pieces of evidence that one failure is made of; a hostile log may list any number.
const GROUP_MAX: usize = 24;

/// Most pieces of evidence that are looked up until one has an answer.
const TRIED_MAX: usize = 200;

/// What a piece of evidence gains when the trace saw the build look for it in vain: enough to decide between two messages of
/// one kind, not to make a probe a failure.
const CONFIRMED_POINTS: f64 = 6.0;

/// A package named by a hint is believed over a file's place if the two are within so many lines.
const HINT_LINES: usize = 40;

/// Everything that a diagnosis is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// The output of the build.
    pub log: &'a [u8],
    /// Paths that it looked for in vain, in order; empty if nobody watched.
    pub missed: &'a [MissedPath],
    /// Packages that the project itself says it needs.
    pub declared: &'a [String],
    /// Debian's files.
    pub index: &'a SystemIndex,
    /// What was installed where the build ran; [`Installed::unknown`] for a log from elsewhere.
    pub installed: &'a Installed,
}

/// What is missing and which packages have it, or why none is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing is missing.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The words that say so.
    pub evidence: String,
    /// The line of the log that they are in, counted from 1; 0 if they are in none.
    #[serde(skip)]
    pub line: usize,
    /// Packages that may have it, the best first.
    pub candidates: Vec<Candidate>,
    /// What to install, the surest first; empty when nothing is to be installed.
    pub packages: Vec<String>,
    /// Why.
    pub reason: String,
}

/// Longest part of a log's own words that is shown, in characters.
const EVIDENCE_SHOWN_MAX: usize = 200;

impl Finding {
    /// Two lines for people: what is missing and where that was said; what to do about it. The words of the log are in
    /// them as they are. `is_root` says whether the reader types commands as root.
    #[must_use]
    pub fn lines(&self, is_root: bool) -> [String; 2] {
        let evidence: String = self.evidence.chars().take(EVIDENCE_SHOWN_MAX).collect();
        let evidence = if self.line == 0 { evidence } else { format!("line {}: {evidence}", self.line) };
        let missing = match (self.kind, self.packages.is_empty()) {
            (Kind::Unknown, _) => self.reason.clone(),
            (_, true) => evidence,
            (kind, false) => format!("missing {} {}: {evidence}", kind.noun(), self.name),
        };
        let remedy = match (self.packages.is_empty(), self.kind) {
            (false, _) => format!("{}: {}", self.reason, command_to_type(&self.packages, is_root)),
            (true, Kind::Unknown) => "nothing to install".to_owned(),
            (true, _) => format!("nothing to install: {}", self.reason),
        };
        [missing, remedy]
    }
}

/// A piece of evidence with what it counts and what the index has for it.
#[derive(Debug)]
struct Weighed {
    evidence: Evidence,
    points: f64,
}

/// Says what a failed build lacks. The first finding is the answer; the others are what it may lack besides.
#[must_use]
pub fn diagnose(input: &Input<'_>) -> Vec<Finding> {
    let mut scan = scan(input.log);
    scan.surroundings.missed = trace::Missed::new(input.missed);
    scan.surroundings.declared = input.declared.to_vec();
    let mut weighed = weigh(&scan);
    let traced = trace::evidence(input.missed, input.index);
    weighed.sort_by(|one, other| other.points.total_cmp(&one.points));
    let mut first = answer(&weighed, &scan, input);
    if let Some(finding) = by_trace(&first, &traced, (&scan, &weighed), input) {
        first = finding;
    }
    if let Some(finding) = by_declaration(&first, &scan, input) {
        first = finding;
    }
    let mut findings = vec![first];
    for evidence in &traced {
        let found = candidates(evidence, &scan.surroundings, input.index);
        if let Some(finding) = proposal(evidence, found, input)
            && !findings.iter().any(|known| known.packages.iter().any(|package| finding.packages.contains(package)))
        {
            findings.push(finding);
        }
    }
    findings
}

/// Whether `log` says of anything that it is missing, so that it is worth while to have an index.
#[must_use]
pub(super) fn asks_index(log: &[u8]) -> bool {
    let scan = scan(log);
    !scan.hints.is_empty() || scan.evidence.iter().any(|evidence| evidence.reason.is_none())
}

/// Weights, less what the distance from the end takes; of equal messages the last one.
fn weigh(scan: &Scan) -> Vec<Weighed> {
    let mut weighed: Vec<Weighed> = Vec::new();
    for evidence in scan.evidence.iter().rev() {
        let is_known = |known: &&Weighed| known.evidence.kind == evidence.kind && known.evidence.name == evidence.name;
        if weighed.iter().find(is_known).is_some_and(|known| known.evidence.weight >= evidence.weight) {
            continue;
        }
        #[expect(clippy::cast_precision_loss, reason = "numbers of lines are small")]
        let distance = scan.lines.saturating_sub(evidence.line) as f64;
        let taken = (4.0 * (1.0 + distance).log10()).min(DISTANCE_POINTS_MAX);
        let confirmed = if scan.surroundings.missed.confirms(evidence) { CONFIRMED_POINTS } else { 0.0 };
        weighed.push(Weighed { evidence: evidence.clone(), points: f64::from(evidence.weight) - taken + confirmed });
    }
    weighed
}

/// The first evidence that has an answer, positive or negative.
fn answer(weighed: &[Weighed], scan: &Scan, input: &Input<'_>) -> Finding {
    let mut unanswered: Option<Finding> = None;
    let tried = weighed.iter().filter(|weighed| weighed.evidence.weight >= PROPOSABLE_WEIGHT).take(TRIED_MAX);
    for Weighed { evidence, .. } in tried {
        if let Some(reason) = &evidence.reason {
            return unanswered.unwrap_or_else(|| negative(evidence, Vec::new(), reason.clone()));
        }
        let has_any = |other: &Evidence| !candidates(other, &scan.surroundings, input.index).ranked.is_empty();
        let evidence = first_of_group(evidence, weighed, has_any);
        let mut found = candidates(evidence, &scan.surroundings, input.index);
        hinted(evidence, &scan.hints, &mut found, input.index);
        if evidence.kind == Kind::Header && is_other_version(evidence, &found, (scan, weighed), input.index) {
            let reason = format!(
                "the project wants another version: of the headers beside {} some are in {}, this one in no package",
                evidence.name,
                found.ranked.first().map_or("no package", |best| &best.package)
            );
            return negative(evidence, found.ranked, reason);
        }
        let why_not = why_not(evidence, &found, input);
        if let Some(finding) = proposal(evidence, found, input) {
            return with_others(finding, evidence, (scan, weighed), input);
        }
        let finding = negative(evidence, Vec::new(), why_not);
        if evidence.weight >= DECISIVE_WEIGHT {
            return unanswered.unwrap_or(finding);
        }
        if evidence.kind != Kind::Custom {
            unanswered.get_or_insert(finding);
        }
    }
    if let Some(finding) = unanswered {
        return finding;
    }
    if let Some(finding) = by_probes(weighed, scan, input) {
        return finding;
    }
    if let Some(finding) = by_hints(&scan.hints, input) {
        return finding;
    }
    let last = weighed.iter().find(|weighed| weighed.evidence.reason.is_some());
    match last {
        Some(Weighed { evidence, .. }) => negative(evidence, Vec::new(), evidence.reason.clone().unwrap_or_default()),
        None => Finding {
            kind: Kind::Unknown,
            name: String::new(),
            evidence: String::new(),
            line: 0,
            candidates: Vec::new(),
            packages: Vec::new(),
            reason: "nothing in the log says that a file or program is missing".to_owned(),
        },
    }
}

/// The finding for evidence that has candidates which are not installed.
fn proposal(evidence: &Evidence, found: Candidates, input: &Input<'_>) -> Option<Finding> {
    let mut ranked = found.ranked;
    ranked.retain(|candidate| input.installed.name_of(&candidate.package).is_none());
    let best = ranked.first()?.package.clone();
    let mut packages = vec![best.clone()];
    if evidence.kind == Kind::Program && evidence.name == "rustc" {
        packages.push("cargo".to_owned());
    }
    let reason = match evidence.kind {
        Kind::Custom => format!("{best} is what Debian has for `{}`", evidence.name),
        kind => format!("{best} has the {} {}", kind.noun(), evidence.name),
    };
    Some(Finding {
        kind: evidence.kind,
        name: evidence.name.clone(),
        evidence: evidence.text.clone(),
        line: evidence.line,
        candidates: ranked,
        packages,
        reason,
    })
}

/// The evidence that belongs to one failure with `evidence`, itself included: what a linker or a sentence lists.
fn group<'a>(evidence: &'a Evidence, weighed: &'a [Weighed]) -> impl Iterator<Item = &'a Evidence> {
    weighed
        .iter()
        .map(|weighed| &weighed.evidence)
        .filter(|other| other.kind == evidence.kind && other.reason.is_none() && other.weight == evidence.weight)
        .filter(|other| match evidence.kind {
            Kind::Library | Kind::PkgConfig => other.line.abs_diff(evidence.line) <= TOGETHER_LINES,
            Kind::Custom => other.line == evidence.line,
            _ => other.name == evidence.name,
        })
        .take(GROUP_MAX)
}

/// What is missing first is said first: of one failure, the first thing that any package has.
fn first_of_group<'a>(
    evidence: &'a Evidence,
    weighed: &'a [Weighed],
    has_any: impl Fn(&Evidence) -> bool,
) -> &'a Evidence {
    let position = |other: &Evidence| other.text.find(&other.name).unwrap_or(usize::MAX);
    let mut all: Vec<&Evidence> = group(evidence, weighed).collect();
    all.sort_by_key(|other| (other.line, position(other)));
    all.into_iter().find(|other| has_any(other)).unwrap_or(evidence)
}

/// What is missing together with the finding: all that one linker or one sentence names.
fn with_others(
    mut finding: Finding,
    evidence: &Evidence,
    (scan, weighed): (&Scan, &[Weighed]),
    input: &Input<'_>,
) -> Finding {
    let mut beside: Vec<&Evidence> = group(evidence, weighed).filter(|other| other.name != evidence.name).collect();
    beside.sort_by_key(|other| other.line);
    for other in beside {
        if let Some(more) = proposal(other, candidates(other, &scan.surroundings, input.index), input) {
            for package in more.packages {
                if !finding.packages.contains(&package)
                    && !finding.candidates.iter().any(|known| known.package == package)
                {
                    finding.packages.push(package);
                }
            }
        }
    }
    finding
}

fn negative(evidence: &Evidence, candidates: Vec<Candidate>, reason: String) -> Finding {
    Finding {
        kind: evidence.kind,
        name: evidence.name.clone(),
        evidence: evidence.text.clone(),
        line: evidence.line,
        candidates,
        packages: Vec::new(),
        reason,
    }
}

/// Why evidence without candidates has none.
fn why_not(evidence: &Evidence, found: &Candidates, input: &Input<'_>) -> String {
    let (noun, name) = (evidence.kind.noun(), &evidence.name);
    if let Some(best) = found.ranked.first() {
        // Candidates without a proposal: all of them are installed.
        let package = &best.package;
        let of = match input.installed.name_of(package) {
            Some(other) if other != package => format!(" (as {other})"),
            _ => String::new(),
        };
        return format!("{package} has the {noun} {name} and is installed{of}: the build does not find it there");
    }
    if input.index.is_empty() {
        return format!(
            "without the index of Debian's files nobody knows which package has the {noun} {name}; \
             make it: pip-accel index update"
        );
    }
    if found.is_in_python {
        return format!("the {noun} {name} belongs to another Python: the project is too old for the interpreter");
    }
    match found.elsewhere.len() {
        0 => format!("no package of the configured sources has the {noun} {name}"),
        1 => format!("{} has a file named {name}, but not in a place where it would be looked for", found.elsewhere[0]),
        many => format!("{many} packages have a file named {name}, none in a place where it would be looked for"),
    }
}

/// Whether headers were looked for together of which Debian has some and lacks others: then the package is there, and
/// the project wants another version of it.
fn is_other_version(
    evidence: &Evidence,
    found: &Candidates,
    (scan, weighed): (&Scan, &[Weighed]),
    index: &SystemIndex,
) -> bool {
    let Some((folder, _)) = evidence.name.rsplit_once('/') else { return false };
    if found.ranked.is_empty() {
        return false;
    }
    let beside = weighed.iter().map(|weighed| &weighed.evidence).filter(|other| {
        other.kind == Kind::Header
            && other.weight >= DECISIVE_WEIGHT
            && other.line.abs_diff(evidence.line) <= TOGETHER_LINES
            && other.name.rsplit_once('/').is_some_and(|(other, _)| other == folder)
    });
    let beside = beside.take(GROUP_MAX);
    beside.into_iter().any(|other| candidates(other, &scan.surroundings, index).ranked.is_empty())
}

/// Packages that the log itself names count more if they are among the candidates, and stand in for none.
fn hinted(evidence: &Evidence, hints: &[Hint], found: &mut Candidates, index: &SystemIndex) {
    let near = |hint: &&Hint| hint.line.abs_diff(evidence.line) <= HINT_LINES && !is_basic(&hint.package);
    for hint in hints.iter().filter(near) {
        if let Some(position) = found.ranked.iter().position(|candidate| candidate.package == hint.package) {
            let candidate = found.ranked.remove(position);
            found.ranked.insert(0, candidate);
            return;
        }
    }
    if found.ranked.is_empty() && evidence.kind == Kind::Custom && evidence.weight >= PROPOSABLE_WEIGHT {
        let known = hints.iter().filter(near).find(|hint| index.package(&hint.package).is_some());
        found.ranked.extend(known.map(|hint| Candidate { package: hint.package.clone(), score: 50 }));
    }
}

/// Where nothing fatal names anything: what was only tried out, if the last words of the build are about it.
fn by_probes(weighed: &[Weighed], scan: &Scan, input: &Input<'_>) -> Option<Finding> {
    let last = scan.surroundings.last_words.to_lowercase();
    let tried = weighed.iter().map(|weighed| &weighed.evidence).filter(|evidence| {
        let stem = stem(evidence.name.split(['-', '_']).next().unwrap_or_default());
        evidence.weight < PROPOSABLE_WEIGHT && evidence.reason.is_none() && stem.len() > 2 && last.contains(&stem)
    });
    let mut findings = tried
        .filter(|evidence| evidence.kind != Kind::Custom)
        .filter_map(|evidence| proposal(evidence, candidates(evidence, &scan.surroundings, input.index), input));
    findings.next()
}

/// Where the log says nothing, or only that something could not be downloaded: what the build looked for last and Debian
/// has at exactly that place.
fn by_trace(
    first: &Finding,
    traced: &[Evidence],
    (scan, weighed): (&Scan, &[Weighed]),
    input: &Input<'_>,
) -> Option<Finding> {
    let is_said = |weighed: &Weighed| {
        weighed.evidence.weight >= PROPOSABLE_WEIGHT && !matches!(weighed.evidence.kind, Kind::Custom | Kind::Network)
    };
    if !first.packages.is_empty() || scan.surroundings.is_explained || weighed.iter().any(is_said) {
        return None;
    }
    let is_library = |evidence: &Evidence| matches!(evidence.kind, Kind::Header | Kind::PkgConfig | Kind::Library);
    let is_sure = |evidence: &&Evidence| match first.kind {
        Kind::Unknown | Kind::NotSystem => true,
        // Projects that fetch a copy of a library where the system has none.
        Kind::Network => is_library(evidence),
        _ => false,
    };
    let mut found = traced.iter().filter(is_sure).filter_map(|evidence| {
        let found = candidates(evidence, &scan.surroundings, input.index);
        proposal(evidence, found, input)
    });
    found.next()
}

/// Where neither log nor trace names anything: what the project says that it needs and is not there.
fn by_declaration(first: &Finding, scan: &Scan, input: &Input<'_>) -> Option<Finding> {
    let is_open = matches!(first.kind, Kind::Unknown | Kind::Network | Kind::Custom) && first.packages.is_empty();
    let is_missing = |package: &&String| input.installed.name_of(package).is_none();
    let missing: Vec<String> = input.declared.iter().filter(is_missing).cloned().collect();
    if !is_open || scan.surroundings.is_explained || missing.is_empty() {
        return None;
    }
    Some(Finding {
        kind: Kind::Custom,
        name: missing[0].clone(),
        evidence: "[external] of pyproject.toml".to_owned(),
        line: 0,
        candidates: missing.iter().map(|package| Candidate { package: package.clone(), score: 50 }).collect(),
        reason: "the project says that it needs it".to_owned(),
        packages: missing,
    })
}

/// Where no rule has an answer, the packages that the log says to install.
fn by_hints(hints: &[Hint], input: &Input<'_>) -> Option<Finding> {
    let last = hints.iter().rev().find(|hint| is_proposable(hint, input))?;
    let beside = hints.iter().filter(|hint| hint.text == last.text && is_proposable(hint, input));
    let mut packages: Vec<String> = Vec::new();
    for hint in beside {
        if !packages.contains(&hint.package) {
            packages.push(hint.package.clone());
        }
    }
    Some(Finding {
        kind: Kind::Custom,
        name: packages[0].clone(),
        evidence: last.text.clone(),
        line: last.line,
        candidates: packages.iter().map(|package| Candidate { package: package.clone(), score: 50 }).collect(),
        reason: "the log says to install it".to_owned(),
        packages,
    })
}

fn is_proposable(hint: &Hint, input: &Input<'_>) -> bool {
    !is_basic(&hint.package)
        && input.index.package(&hint.package).is_some()
        && input.installed.name_of(&hint.package).is_none()
}
