//! Text → [`LockItem`]s.

use super::lines::{LineContent, logical_lines};
use super::options::{LineOptions, parse_hash, parse_options, split_options};
use super::{BuildLock, LOCK_FILE_BYTES_MAX, LockItem, LockRequirement, RequirementTarget};
use crate::config_settings::ConfigSettings;
use crate::digest::Sha256Digest;
use crate::name::PackageName;
use crate::requirement::{Reference, RequirementParts, excerpt, has_scheme, non_empty, split_extras, split_url};

/// Most requirements, options and build blocks of one lock; the largest seen has 1,500.
pub const LOCK_ITEMS_MAX: usize = 100_000;

/// Suffixes by which a bare word is a file and not a project: pip's list of archives.
const ARCHIVE_SUFFIXES: [&str; 10] =
    [".whl", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tar.lzma"];

/// Why a line of a lock can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct LockSyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, naming the text.
    pub reason: String,
}

/// Reads the text of a lock. A byte-order mark and Windows line ends are accepted.
///
/// Variables such as `${TOKEN}` stay as they are; pins and hashes can't hold any.
///
/// # Errors
/// The first line that can't be read.
pub fn parse(text: &str) -> Result<Vec<LockItem>, LockSyntaxError> {
    if text.len() as u64 > LOCK_FILE_BYTES_MAX {
        let reason = format!("the lock is longer than {LOCK_FILE_BYTES_MAX} bytes");
        return Err(LockSyntaxError { line: 1, reason });
    }
    let mut items = Vec::new();
    let mut block: Option<BuildBlock> = None;
    for line in logical_lines(text)? {
        let at_line = |reason| LockSyntaxError { line: line.number, reason };
        match line.content {
            LineContent::Text(text) => {
                if let Some(block) = block.take() {
                    items.push(LockItem::Build(block.finish()?));
                }
                parse_line(line.number, &text, &mut items).map_err(at_line)?;
            }
            LineContent::Directive(text) => {
                if let Some(subject) = text.strip_prefix("build").filter(|rest| rest.starts_with(char::is_whitespace)) {
                    let next = BuildBlock::new(line.number, subject).map_err(at_line)?;
                    if let Some(block) = block.replace(next) {
                        items.push(LockItem::Build(block.finish()?));
                    }
                } else if let Some(block) = &mut block {
                    block.add(line.number, &text)?;
                }
                // Outside a block it is somebody's comment.
            }
        }
        if items.len() > LOCK_ITEMS_MAX {
            return Err(at_line(format!("the lock has more than {LOCK_ITEMS_MAX} entries")));
        }
    }
    if let Some(block) = block {
        items.push(LockItem::Build(block.finish()?));
    }
    Ok(items)
}

/// A `#: build` block while it is read; its lines may be continued by `\` too.
struct BuildBlock {
    lock: BuildLock,
    joined: Option<(usize, String)>,
}

impl BuildBlock {
    fn new(line: usize, subject: &str) -> Result<Self, String> {
        let parts: RequirementParts = subject.parse().map_err(reason)?;
        let Some(version) = parts.pinned_version().filter(|_| parts.extras.is_empty() && parts.marker.is_none()) else {
            return Err(format!("`#: build{}` does not say `name==version`", excerpt(subject)));
        };
        Ok(Self { lock: BuildLock { line, name: parts.name, version, requirements: Vec::new() }, joined: None })
    }

    fn add(&mut self, number: usize, text: &str) -> Result<(), LockSyntaxError> {
        let (_, joined) = self.joined.get_or_insert_with(|| (number, String::new()));
        joined.push_str(text.trim_end_matches('\\'));
        if text.ends_with('\\') { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), LockSyntaxError> {
        let Some((line, text)) = self.joined.take() else { return Ok(()) };
        if text.trim().is_empty() {
            return Ok(());
        }
        let requirement = match parse_requirement(line, text.trim()) {
            Ok((requirement, rest)) if rest.is_empty() && requirement.config_settings.is_empty() => requirement,
            Ok(_) => {
                let reason = "a build requirement takes no option but `--hash`".to_owned();
                return Err(LockSyntaxError { line, reason });
            }
            Err(reason) => return Err(LockSyntaxError { line, reason }),
        };
        self.lock.requirements.push(requirement);
        if self.lock.requirements.len() > LOCK_ITEMS_MAX {
            let reason = format!("the build has more than {LOCK_ITEMS_MAX} requirements");
            return Err(LockSyntaxError { line, reason });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<BuildLock, LockSyntaxError> {
        self.flush()?;
        Ok(self.lock)
    }
}

impl LineOptions {
    fn is_empty(&self) -> bool {
        self.file_wide.is_empty() && self.editables.is_empty()
    }
}

/// Reads one logical line that is not a directive.
fn parse_line(line: usize, text: &str, items: &mut Vec<LockItem>) -> Result<(), String> {
    if !text.starts_with('-') {
        let (requirement, rest) = parse_requirement(line, text)?;
        if !rest.is_empty() {
            return Err(
                "an option other than `--hash` and `--config-settings` must stand on a line of its own".to_owned()
            );
        }
        items.push(LockItem::Requirement(requirement));
        return Ok(());
    }
    let options = parse_options(text)?;
    if options.editables.is_empty() && (!options.hashes.is_empty() || options.has_other_hashes) {
        return Err("`--hash` without a requirement before it (a comment line ends a continued line)".to_owned());
    }
    if options.editables.is_empty() && !options.config_settings.is_empty() {
        return Err("`--config-settings` without a requirement before it".to_owned());
    }
    items.extend(options.file_wide.into_iter().map(|option| LockItem::Option(line, option)));
    items.extend(options.editables.into_iter().map(|location| {
        LockItem::Requirement(LockRequirement {
            line,
            target: RequirementTarget::Editable { location },
            extras: Vec::new(),
            marker: None,
            hashes: options.hashes.clone(),
            has_other_hashes: options.has_other_hashes,
            config_settings: options.config_settings.clone(),
        })
    }));
    Ok(())
}

/// Reads `requirement --hash=…`; what else its options said comes back for the caller to refuse.
fn parse_requirement(line: usize, text: &str) -> Result<(LockRequirement, LineOptions), String> {
    let (text, options) = split_options(text);
    let mut options = parse_options(options)?;
    let mut hashes = std::mem::take(&mut options.hashes);
    let mut has_other_hashes = std::mem::take(&mut options.has_other_hashes);
    let mut requirement = if is_location(text) { bare_location(line, text)? } else { named(line, text)? };
    if let RequirementTarget::Direct { location, .. } = &requirement.target {
        let fragment = fragment_hashes(location)?;
        hashes.extend(fragment.sha256);
        has_other_hashes |= fragment.has_others;
    }
    hashes.sort_unstable();
    hashes.dedup();
    requirement.hashes = hashes;
    requirement.has_other_hashes = has_other_hashes;
    requirement.config_settings = std::mem::take(&mut options.config_settings);
    Ok((requirement, options))
}

fn named(line: usize, text: &str) -> Result<LockRequirement, String> {
    let parts: RequirementParts = text.parse().map_err(reason)?;
    let target = match (parts.pinned_version(), parts.reference) {
        (Some(version), _) => RequirementTarget::Pin { name: parts.name, version },
        (None, Reference::Any) => RequirementTarget::Unpinned { name: parts.name, specifier: String::new() },
        (None, Reference::Specifier(specifier)) => RequirementTarget::Unpinned { name: parts.name, specifier },
        (None, Reference::Url(location)) => RequirementTarget::Direct { name: Some(parts.name), location },
    };
    Ok(without_hashes(line, target, parts.extras, parts.marker))
}

fn without_hashes(
    line: usize,
    target: RequirementTarget,
    extras: Vec<String>,
    marker: Option<String>,
) -> LockRequirement {
    LockRequirement {
        line,
        target,
        extras,
        marker,
        hashes: Vec::new(),
        has_other_hashes: false,
        config_settings: ConfigSettings::new(),
    }
}

/// The text of an error below, which repeats the requirement.
fn reason(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Whether a requirement is a bare URL or path: it has a scheme, or is no `name @ …` and looks like a file.
fn is_location(text: &str) -> bool {
    if has_scheme(text) {
        return true;
    }
    let before_marker = text.split(';').next().unwrap_or(text).trim_end();
    if before_marker.starts_with(['.', '/', '~']) || before_marker.starts_with("${") {
        return true;
    }
    let name_and_extras = before_marker.split('@').next().unwrap_or(before_marker).trim_end();
    let names_something = before_marker.contains('@')
        && name_and_extras.split('[').next().is_some_and(|name| name.trim_end().parse::<PackageName>().is_ok());
    if names_something {
        return false;
    }
    let path = path_and_extras(before_marker).0;
    path.contains('/') || ARCHIVE_SUFFIXES.iter().any(|suffix| path.to_ascii_lowercase().ends_with(suffix))
}

fn bare_location(line: usize, text: &str) -> Result<LockRequirement, String> {
    if has_scheme(text) || text.starts_with("${") {
        let (url, marker) = split_url(text)?;
        let (name, extras) = egg(url)?;
        let target = RequirementTarget::Direct { name, location: url.to_owned() };
        return Ok(without_hashes(line, target, extras, non_empty(marker)));
    }
    let (path, marker) = text.split_once(';').map_or((text, None), |(path, marker)| (path, Some(marker)));
    let (path, extras) = path_and_extras(path.trim());
    let extras = split_extras(extras)?.0;
    let target = RequirementTarget::Direct { name: None, location: path.to_owned() };
    Ok(without_hashes(line, target, extras, non_empty(marker)))
}

/// `./x.whl[a,b]` into the path and `[a,b]`.
fn path_and_extras(path: &str) -> (&str, &str) {
    match path.rfind('[') {
        Some(bracket) if path.ends_with(']') && bracket > 0 => path.split_at(bracket),
        _ => (path, ""),
    }
}

/// Name and extras of `#egg=name[extra]`.
fn egg(url: &str) -> Result<(Option<PackageName>, Vec<String>), String> {
    let Some((_, fragment)) = url.split_once('#') else { return Ok((None, Vec::new())) };
    let Some(egg) = fragment.split('&').find_map(|part| part.strip_prefix("egg=")) else {
        return Ok((None, Vec::new()));
    };
    let (name, extras) = path_and_extras(egg);
    let name = name.parse().map_err(reason)?;
    Ok((Some(name), split_extras(extras)?.0))
}

#[derive(Default)]
struct FragmentHashes {
    sha256: Vec<Sha256Digest>,
    has_others: bool,
}

/// Hashes in `#sha256=…&egg=…`; the weak ones that old tools wrote prove nothing and count as others.
fn fragment_hashes(location: &str) -> Result<FragmentHashes, String> {
    let mut hashes = FragmentHashes::default();
    let Some((_, fragment)) = location.split_once('#') else { return Ok(hashes) };
    for (key, value) in fragment.split('&').filter_map(|part| part.split_once('=')) {
        match key {
            "sha256" | "sha384" | "sha512" => match parse_hash(key, value)? {
                Some(digest) => hashes.sha256.push(digest),
                None => hashes.has_others = true,
            },
            "md5" | "sha1" | "sha224" => hashes.has_others = true,
            _ => {}
        }
    }
    Ok(hashes)
}
