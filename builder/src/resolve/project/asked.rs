//! What was asked for, for who compares it with what is there.

use std::path::Path;

use pip_accel_schema::config_settings::ConfigSettings;
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::name::PackageName;

use super::ProjectInputs;

/// Whether a requirement means the same tomorrow: a release, a file or folder of this machine, or a full commit.
fn is_fixed(line: &str) -> bool {
    let place = line.split_once(" @ ").map_or(line, |(_, place)| place);
    let place = place.split([' ', '#']).next().unwrap_or(place);
    let Some((scheme, rest)) = place.split_once("://") else { return !line.contains("://") };
    let is_commit = |revision: &str| revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    scheme == "file"
        || scheme.starts_with("git+") && rest.rsplit_once('@').is_some_and(|(_, revision)| is_commit(revision))
}

/// Whether the solution's `location` is the place `known` of a requirement. That of a repository has its commit now, where
/// the requirement may have had none, or a branch.
pub(super) fn is_same_place(known: &str, location: &str) -> bool {
    let end = known.rfind('@').filter(|at| *at > known.rfind('/').unwrap_or(0)).unwrap_or(known.len());
    let rest = location.strip_prefix(&known[..end]);
    known.contains("://") && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '#']))
}

impl ProjectInputs {
    /// The requirements of all files and of the command line, a line each as the resolver gets them.
    pub fn requirement_lines(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|file| !file.is_constraints).flat_map(|file| file.lines.iter().map(String::as_str))
    }

    /// The constraints, a line each.
    pub fn constraint_lines(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter(|file| file.is_constraints).flat_map(|file| file.lines.iter().map(String::as_str))
    }

    /// Whether projects or their groups are asked for, whose requirements are in no line.
    #[must_use]
    pub fn asks_for_projects(&self) -> bool {
        !self.projects.is_empty()
    }

    /// What the backend of a package of the solution is told: `location` is its place, if it is no release.
    pub(super) fn settings_of(&self, name: Option<&PackageName>, location: Option<&str>) -> ConfigSettings {
        let by_name = name.and_then(|name| self.config_settings.get(name.as_str()));
        // The place of a repository has its commit now, where the requirement may have had none or a branch.
        let is_place =
            |(known, _): &(&String, &ConfigSettings)| location.is_some_and(|location| is_same_place(known, location));
        let found = by_name.or_else(|| self.config_settings.iter().find(is_place).map(|(_, settings)| settings));
        found.cloned().unwrap_or_default()
    }

    /// Whether a release has hashes demanded of it.
    #[must_use]
    pub fn demands_hashes(&self) -> bool {
        !self.hashes.is_empty()
    }

    /// Releases that a hash is demanded of, and what has none while others have: pip refuses such a mixture.
    #[must_use]
    pub fn unhashed_lines(&self) -> Vec<&str> {
        let is_hashed = |line: &str| {
            let end = line.find(['=', '[', ' ', '<', '>', '!', '~', ';']).unwrap_or(line.len());
            line[..end].parse().is_ok_and(|name| self.hashes.contains_key(&name))
        };
        self.requirement_lines().filter(|line| !is_hashed(line)).collect()
    }

    /// Whether files or folders of this machine are asked for.
    #[must_use]
    pub(crate) fn names_local_places(&self) -> bool {
        !self.visible.is_empty()
    }

    /// Encodes all that decides a resolution, if that does not change by itself: branches of repositories and URLs do,
    /// files and folders of this machine do not while their `content` is the same, and credentials must not get into a hash.
    #[must_use]
    pub(crate) fn encode(&self, encoder: &mut Encoder, content: &dyn Fn(&Path) -> Option<[u8; 32]>) -> bool {
        let lines = || self.requirement_lines().chain(self.constraint_lines());
        if !self.secrets.is_empty() || !self.projects.is_empty() || !lines().all(is_fixed) {
            return false;
        }
        for path in &self.visible {
            // A commit is what it is, whatever else its repository gets.
            let is_repository = lines().any(|line| line.contains(&format!("git+file://{}", path.display())));
            let found = if is_repository { Some([0; 32]) } else { content(path) };
            let Some(content) = found else { return false };
            encoder.bytes(path.as_os_str().as_encoded_bytes()).bytes(&content);
            encoder.number(u64::from(self.editables.contains(path)));
        }
        if !self.editable_repositories.is_empty() {
            encoder.texts(self.editable_repositories.iter());
        }
        for lines in [self.requirement_lines().collect::<Vec<_>>(), self.constraint_lines().collect()] {
            encoder.texts(lines.iter());
        }
        encoder.number(u64::from(self.prereleases)).number(self.hashes.len() as u64);
        for (name, hashes) in &self.hashes {
            encoder.text(name.as_str()).number(hashes.len() as u64);
            for hash in hashes {
                encoder.bytes(hash.as_bytes());
            }
        }
        for texts in self.options.formats.texts() {
            encoder.texts(texts.iter());
        }
        for (name, settings) in &self.config_settings {
            encoder.text(name).number(settings.len() as u64);
            for (key, value) in settings {
                encoder.text(key).text(value);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_by_itself_is_known() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for line in ["a>=1", "a ; os_name == 'nt'", "file:///x/a-1-py3-none-any.whl", "a @ file:///x ; os_name == 'nt'"]
        {
            assert!(is_fixed(line), "{line}");
        }
        for line in
            ["git+https://h.example/r", "git+https://h.example/r@main", "https://h.example/a.whl", "a @ https://h/a"]
        {
            assert!(!is_fixed(line), "{line}");
        }
        assert!(is_fixed(&format!("a @ git+https://h.example/r@{commit}#subdirectory=x ; os_name == 'nt'")));
        assert!(is_same_place("git+https://h/r@main", &format!("git+https://h/r@{commit}#egg=a")));
        assert!(is_same_place("file:///x/a", "file:///x/a") && !is_same_place("file:///x/a", "file:///x/ab"));
    }
}
