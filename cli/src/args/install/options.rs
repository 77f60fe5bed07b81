//! The option table of `install`: every option of pip's `install`, honoured or refused, and what pip-accel adds.
//!
//! `docs/pip-options.md` has a row for each; a test compares both with the program and with pip's own help.

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It does what it does in pip.
    Honoured,
    /// It is refused, wherever it is said, with this sentence.
    Refused(&'static str),
    /// It is refused on the command line; where pip's configuration says it for every command, it changes nothing here
    /// and is passed over.
    RefusedWhenTyped(&'static str),
    /// An option of pip-accel that pip does not have.
    Own,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct PipOption {
    /// Its spellings: short ones before the long one, which is its name, separated by blanks.
    spellings: &'static str,
    /// What stands for its value in the help; without one it takes none.
    pub value: Option<&'static str>,
    /// What becomes of it.
    pub meaning: Meaning,
    /// One line of help; empty for refused ones.
    pub help: &'static str,
}

impl PipOption {
    /// Its spellings, short ones first.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.spellings.split(' ')
    }

    /// Its long spelling without the dashes: `index-url`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spellings().last().unwrap_or_default().trim_start_matches('-')
    }

    /// The sentence that refuses it, if it is refused.
    #[must_use]
    pub const fn refusal(&self) -> Option<&'static str> {
        match self.meaning {
            Meaning::Refused(sentence) | Meaning::RefusedWhenTyped(sentence) => Some(sentence),
            Meaning::Honoured | Meaning::Own => None,
        }
    }
}

const fn flag(spellings: &'static str, help: &'static str) -> PipOption {
    PipOption { spellings, value: None, meaning: Meaning::Honoured, help }
}

const fn with(spellings: &'static str, value: &'static str, help: &'static str) -> PipOption {
    PipOption { spellings, value: Some(value), meaning: Meaning::Honoured, help }
}

const fn own(spellings: &'static str, value: Option<&'static str>, help: &'static str) -> PipOption {
    PipOption { spellings, value, meaning: Meaning::Own, help }
}

const fn refused(spellings: &'static str, value: Option<&'static str>, sentence: &'static str) -> PipOption {
    PipOption { spellings, value, meaning: Meaning::Refused(sentence), help: "" }
}

const fn needless(spellings: &'static str, value: Option<&'static str>, sentence: &'static str) -> PipOption {
    PipOption { spellings, value, meaning: Meaning::RefusedWhenTyped(sentence), help: "" }
}

const OTHER_INTERPRETER: &str = "packages are chosen for an interpreter of this machine; name it with --python PYTHON";
const FINALS: &str = "say it for all with --pre, or for one project in its requirement: `NAME>=1.0rc1`";

/// All options, in the order of pip's help.
pub const OPTIONS: &[PipOption] = &[
    with("-r --requirement", "FILE", "Install what a requirements file lists"),
    with("-c --constraint", "FILE", "Let a file say which versions may be installed"),
    with("--build-constraint", "FILE", "Let a file say with which versions of build requirements is built"),
    with("--requirements-from-script", "FILE", "Install what a script says that it needs (PEP 723)"),
    flag("--no-deps", "Leave out what the packages require"),
    refused("--only-deps", None, "lock the project with `pip-accel lock` and leave its own line out"),
    with("-e --editable", "DIR|URL", "Install a project so that its sources are used in place"),
    flag("--dry-run", "Install nothing, say what would be"),
    with("-t --target", "DIR", "Install into a directory, replacing nothing there without --upgrade"),
    refused("--platform", Some("PLATFORM"), OTHER_INTERPRETER),
    refused("--python-version", Some("VERSION"), OTHER_INTERPRETER),
    refused("--implementation", Some("NAME"), OTHER_INTERPRETER),
    refused("--abi", Some("ABI"), OTHER_INTERPRETER),
    flag("--user", "Install into the user's own directory"),
    with("--root", "DIR", "Install below another root directory"),
    with("--prefix", "DIR", "Install into another prefix"),
    with("--src", "DIR", "Clone what -e names by a URL into this directory (default: src in the virtualenv, or here)"),
    flag("-U --upgrade", "Install the newest versions of what is named, and ask the index for them"),
    with("--upgrade-strategy", "STRATEGY", "Which dependencies --upgrade upgrades: only-if-needed (default) or eager"),
    flag("--force-reinstall", "Install again what is there already"),
    flag("-I --ignore-installed", "Install as if nothing was there"),
    refused("--ignore-requires-python", None, "choose an interpreter that the package is for: --python PYTHON"),
    refused(
        "--no-build-isolation",
        None,
        "builds see nothing but their build requirements; --no-sandbox lets them see this machine",
    ),
    flag("--check-build-dependencies", "Have builds get all they require; always so"),
    flag("--break-system-packages", "Install into an interpreter that the system's package manager looks after"),
    with("-C --config-settings", "KEY=VALUE", "Tell the backends of what is named here; part of what is built"),
    flag("--compile", "Have bytecode; always so, it is compiled once and kept in the store"),
    flag("--no-compile", "Compile nothing: never done here, and directories get no copy of the store's bytecode"),
    flag("--no-warn-script-location", "Do not warn of scripts outside PATH"),
    flag("--no-warn-conflicts", "Do not warn of installed packages whose requirements are not met"),
    flag("--require-hashes", "Refuse what has no hash in the requirements"),
    flag("--no-require-hashes", "Let some requirements have hashes and others none"),
    with("--progress-bar", "WHEN", "Show progress: auto (default), on or off"),
    with(
        "--root-user-action",
        "ACTION",
        "What to do when root installs into the system's own interpreter: warn or ignore",
    ),
    with("--report", "FILE", "Write what was done, or with --dry-run would be, as pip's report (-: standard output)"),
    with("--group", "[PATH:]GROUP", "Install a dependency group of a pyproject.toml"),
    needless("--no-clean", None, "a build's directory ends with its sandbox; its output is kept: pip-accel log NAME"),
    flag("--pre", "Let pre-releases be chosen"),
    refused("--all-releases", Some("NAME|:all:"), FINALS),
    refused("--only-final", Some("NAME|:all:"), FINALS),
    with("--no-binary", "NAME|:all:", "Do not use wheels of these projects"),
    with("--only-binary", "NAME|:all:", "Do not build these projects"),
    needless("--prefer-binary", None, "use --only-binary NAME for the projects that should not be built"),
    with("-i --index-url", "URL", "Package index"),
    with("--extra-index-url", "URL", "Further package index"),
    flag("--no-index", "Use no index, only --find-links"),
    refused("--refresh-package", Some("NAME|:all:"), "--upgrade asks the index anew"),
    with("-f --find-links", "DIR|URL", "Directory or page with files"),
    with("--uploaded-prior-to", "TIME", "Choose only what was uploaded before that time"),
    flag("-h --help", "Show this help"),
    needless("--debug", None, "say more with -vv"),
    flag("--isolated", "Pass over pip's variables and the user's configuration of pip"),
    flag("--require-virtualenv", "Refuse to install into anything but a virtualenv"),
    with("--python", "PYTHON", "Install into a virtualenv or for an interpreter: a path, a name or a version"),
    flag("-v --verbose", "Say more; may be repeated"),
    flag("-q --quiet", "Say less; may be repeated"),
    needless("--log", Some("FILE"), "redirect standard error: 2>>FILE"),
    flag("--no-input", "Ask nothing: packages of the system are not installed unless the settings grant it"),
    with("--keyring-provider", "NAME", "Where passwords come from: auto, disabled or subprocess"),
    with("--proxy", "URL", "Proxy for all requests"),
    refused("--no-proxy-env", None, "unset the variables for this run: env -u https_proxy -u http_proxy pip-accel …"),
    with("--retries", "N", "Tries after a passing failure of an index"),
    with("--timeout", "SECONDS", "Longest silence of an index"),
    needless("--exists-action", Some("ACTION"), "nothing is asked here, and nothing is overwritten without --upgrade"),
    with("--trusted-host", "HOST", "Do not check the certificate of this host"),
    with("--cert", "FILE", "Certificates to trust"),
    with("--client-cert", "FILE", "Certificate and key to show to servers that ask for them"),
    needless("--cache-dir", Some("DIR"), "the store is the cache; name another one with --store DIR"),
    flag("--no-cache-dir", "Do not use pip's cache; always so, the store is another thing"),
    flag("--disable-pip-version-check", "Do not look for a newer pip; always so"),
    flag("--no-color", "Use no colours"),
    needless("--use-feature", Some("FEATURE"), "features of pip are pip's own: pip-accel pip install …"),
    needless("--use-deprecated", Some("FEATURE"), "features of pip are pip's own: pip-accel pip install …"),
    needless("--resume-retries", Some("N"), "--retries counts for interrupted downloads as well"),
    own("--venv", Some("DIR"), "Install into this virtualenv, which is made if it is not there"),
    own("--offline", None, "Do not use the network"),
    own("--link-mode", Some("MODE"), "How files get into a virtualenv: symlink, hardlink, reflink or copy"),
    own("-j --jobs", Some("N"), "Builds that run at once"),
    own("--no-sandbox", None, "Build without isolation: the build can read and change whatever you can"),
    own("--system-packages", Some("POLICY"), "What to do when a build lacks packages of the system"),
    own("--store", Some("DIR"), "Directory of the store"),
    own("--config", Some("FILE"), "Configuration file to read instead of the usual ones"),
    own("--json", None, "Report as JSON on standard output (format 1)"),
];
