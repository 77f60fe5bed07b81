//! Attempts to get out of, stay behind in, or wear out a sandbox: with the real bwrap, as root and as a user.
//!
//! Each test runs as whoever runs the tests. As root, `again_as_an_ordinary_user` runs all of them once more as uid 1000.

mod escape;
mod leftovers;
mod limits;
mod mechanics;
mod trace;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::*;

/// The system's Python; the attempts that a shell cannot make are written in it.
const PYTHON: &str = "/usr/bin/python3";

/// A scratch folder that is bound at `/build`, and the facts about this host.
struct Bench {
    facts: HostFacts,
    build: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let query = HostQuery { search_path: OsStr::new("/usr/bin") };
        let facts = match HostFacts::probe(&query).await {
            Ok(facts) => facts,
            Err(reason) => panic!("these tests need a sandbox: {reason}; {}", reason.remedy()),
        };
        Self { facts, build: tempfile::tempdir().expect("temporary directory") }
    }

    fn path(&self) -> &Path {
        self.build.path()
    }

    /// A spec that runs a shell script in `/build`.
    fn shell(&self, script: &str) -> SandboxSpec {
        let cores = std::num::NonZeroU32::new(3).expect("three");
        SandboxSpec {
            read_only: Vec::new(),
            writable: vec![Bind::new(self.path(), "/build")],
            overlay: None,
            tmpfs: Vec::new(),
            environment: build_environment(&BuildEnvironment { programs: &[], cores, passed: &[] }),
            working_directory: "/build".into(),
            argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
            stdin: None,
            network: Network::None,
            limits: default_limits(),
        }
    }

    /// A spec that runs a Python program.
    fn python(&self, program: &str) -> SandboxSpec {
        SandboxSpec { argv: vec![PYTHON.into(), "-c".into(), program.into()], ..self.shell("") }
    }

    /// Runs a spec to its end; returns the outcome and the output.
    async fn run(&self, spec: &SandboxSpec) -> (SandboxOutcome, String) {
        let mut output = Vec::new();
        let outcome = run(spec, &self.facts, &mut output, &mut CancelSignal::never()).await;
        let output = String::from_utf8_lossy(&output).into_owned();
        match outcome {
            Ok(outcome) => (outcome, output),
            Err(error) => panic!("{error}: {:?}\n{output}", std::error::Error::source(&error)),
        }
    }

    /// A word that occurs in no other command line of this machine.
    fn marker(&self) -> String {
        let unique = self.path().file_name().expect("a temporary folder has a name");
        format!("marker-{}", unique.to_string_lossy())
    }

    fn is_delegated(&self) -> bool {
        matches!(self.facts.identity, Identity::Delegated { .. })
    }
}

/// Processes of this machine whose command line holds the word.
fn processes_with(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            command.contains(word).then(|| format!("{} {command}", entry.file_name().to_string_lossy()))
        })
        .collect()
}

/// Acts as soon as the output holds a word: tests wait for what happens, not for time to pass.
struct When<'a, F: FnMut()> {
    seen: Vec<u8>,
    word: &'a str,
    act: F,
}

impl<F: FnMut()> OutputSink for When<'_, F> {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.seen.extend_from_slice(lines);
        if String::from_utf8_lossy(&self.seen).contains(self.word) {
            (self.act)();
        }
        Ok(())
    }
}

/// Runs this test binary again as uid 1000: all the attempts must fail, and all the mechanics work, without root as well.
#[test]
fn again_as_an_ordinary_user() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary directory");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
    // The build folder may lie where only root can go.
    let program = folder.path().join("tests");
    fs::copy("/proc/self/exe", &program).expect("copy of this program");
    let output = Command::new("/usr/bin/setpriv")
        .args(["--reuid=1000", "--regid=1000", "--clear-groups", "--"])
        .arg(&program)
        .args(["sandbox::", "--test-threads=2"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .output()
        .expect("setpriv is part of util-linux");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test sandbox::tests::escape::"), "the attempts were made: {text}");
}
