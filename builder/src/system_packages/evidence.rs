//! What a log or a trace says is missing.

use serde::Serialize;

/// What kind of thing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file that C or C++ includes; its name as the source has it.
    Header,
    /// A library that the linker was asked for, without `lib` and ending.
    Library,
    /// A `.pc` file, without its ending.
    #[serde(rename = "pkgconfig")]
    PkgConfig,
    /// A program, as it is called.
    Program,
    /// What CMake looks for, as `find_package` names it.
    Cmake,
    /// A file with an absolute path.
    File,
    /// A macro of autoconf or automake.
    Autotools,
    /// Something that a sentence names.
    Custom,
    /// Nothing that a system package has: the failure is another one.
    NotSystem,
    /// The build wanted to use the network.
    Network,
    /// Nothing that the rules know.
    Unknown,
}

impl Kind {
    /// A word for it, as people say it.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Library => "library",
            Self::PkgConfig => "pkg-config file",
            Self::Program => "program",
            Self::Cmake => "CMake package",
            Self::File => "file",
            Self::Autotools => "autoconf macro",
            Self::Custom => "software",
            Self::NotSystem | Self::Network | Self::Unknown => "cause",
        }
    }
}

/// One thing that a log says is missing, or why nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What kind of thing.
    pub kind: Kind,
    /// Its name, as the log has it.
    pub name: String,
    /// The line of the log, counted from 1; 0 for what the trace saw.
    pub line: usize,
    /// The words of the log.
    pub text: String,
    /// How sure it is that this ended the build: 0 to 100.
    pub weight: u8,
    /// Whether the words speak of a program rather than of a library; counts for [`Kind::Custom`] only.
    pub is_program: bool,
    /// For negatives: what it means.
    pub reason: Option<String>,
}
