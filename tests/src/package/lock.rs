//! [`LockWriter`]: hashed locks for package files that were built here.

use super::BuiltFile;

/// Writes a `requirements.lock` line by line.
#[derive(Debug, Clone, Default)]
pub struct LockWriter {
    lines: Vec<String>,
    line_end: Option<&'static str>,
    has_bom: bool,
}

impl LockWriter {
    /// An empty lock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A lock that takes its files from `../files`, relative to itself, and from nowhere else.
    #[must_use]
    pub fn offline() -> Self {
        Self::new().line("--no-index").line("--find-links ../files")
    }

    /// Adds any line.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Pins a file by name, version and hash, in the two-line form that uv and pip-tools write.
    #[must_use]
    pub fn pin(self, file: &BuiltFile) -> Self {
        self.pin_as(file, &file.name, "")
    }

    /// Pins a file with a marker: `python_version < "3"`.
    #[must_use]
    pub fn pin_if(self, file: &BuiltFile, marker: &str) -> Self {
        self.pin_as(file, &file.name, &format!(" ; {marker}"))
    }

    /// Pins a file under another spelling of its name, extras included: `Name[fast]`.
    #[must_use]
    pub fn pin_as(self, file: &BuiltFile, name: &str, marker: &str) -> Self {
        self.line(format!("{name}=={}{marker} \\", file.version)).line(format!("    {}", file.hash_option()))
    }

    /// Pins one version with the hashes of several of its files.
    ///
    /// # Panics
    /// Without any file.
    #[must_use]
    pub fn pin_any(self, files: &[&BuiltFile]) -> Self {
        let first = files.first().expect("at least one file");
        let hashes: Vec<String> = files.iter().map(|file| file.hash_option()).collect();
        self.line(format!("{}=={} {}", first.name, first.version, hashes.join(" ")))
    }

    /// Ends lines the Windows way.
    #[must_use]
    pub fn with_crlf(mut self) -> Self {
        self.line_end = Some("\r\n");
        self
    }

    /// Starts the file with a byte order mark.
    #[must_use]
    pub fn with_bom(mut self) -> Self {
        self.has_bom = true;
        self
    }

    /// The lock.
    #[must_use]
    pub fn text(&self) -> String {
        let end = self.line_end.unwrap_or("\n");
        let mut text = if self.has_bom { "\u{feff}".to_owned() } else { String::new() };
        for line in &self.lines {
            text.push_str(line);
            text.push_str(end);
        }
        text
    }
}
