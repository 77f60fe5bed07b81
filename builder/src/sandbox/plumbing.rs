//! The descriptors between us and a sandbox, and the command that gets them.

use std::ffi::{CStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Gid, Uid, fchown};
use tokio::net::unix::pipe;

use super::bwrap::{self, Descriptors};
use super::host::{HostFacts, Identity};
use super::overlay::OverlayMount;
use super::spec::SandboxSpec;
use super::trace::Installer;
use super::{SandboxError, etc, launch, seccomp};

/// Our ends.
#[derive(Debug)]
pub(super) struct Plumbing {
    /// JSON documents from bwrap, one a line.
    pub(super) status: pipe::Receiver,
    /// A byte written here lets the sandbox go on. Until then nothing hostile runs.
    pub(super) hold: io::PipeWriter,
    /// Standard output and standard error of everything inside.
    pub(super) output: pipe::Receiver,
}

/// The command and the ends that are its own: dropped as soon as it runs, so that its end is the end of the pipes.
#[derive(Debug)]
pub(super) struct Prepared {
    /// bwrap with everything set up.
    pub(super) command: Command,
    /// Descriptors the command inherits.
    pub(super) inherited: Vec<OwnedFd>,
}

/// Makes all descriptors for a run.
pub(super) fn prepare(
    spec: &SandboxSpec,
    host: &HostFacts,
    trace: Option<Installer>,
) -> Result<(Plumbing, Prepared), SandboxError> {
    let step = SandboxError::step;
    let (status, status_writer) = io::pipe().map_err(step("making a pipe"))?;
    let (hold_reader, hold) = io::pipe().map_err(step("making a pipe"))?;
    let (output, output_writer) = io::pipe().map_err(step("making a pipe"))?;
    let ignored = File::options().write(true).open("/dev/null").map_err(step("opening /dev/null"))?;
    let filter = in_memory(c"seccomp", &seccomp::filter()?)?;
    let etc = etc::files(spec.network).into_iter().map(|file| in_memory(c"etc", file.content.as_bytes()));
    let etc: Vec<File> = etc.collect::<Result<_, _>>()?;
    let stdin = spec.stdin.as_ref().map(|content| in_memory(c"stdin", content)).transpose()?;
    if let Identity::Delegated { id } = host.identity {
        // So that /dev/stdout can be opened, which asks for the pipe's owner.
        let (user, group) = (Some(Uid::from_raw(id)), Some(Gid::from_raw(id)));
        fchown(&output_writer, user, group).map_err(|errno| step("giving the output pipe away")(errno.into()))?;
    }

    let descriptors = Descriptors {
        status: status_writer.as_raw_fd(),
        hold: hold_reader.as_raw_fd(),
        ignored: ignored.as_raw_fd(),
        seccomp: filter.as_raw_fd(),
        etc: etc.iter().map(AsRawFd::as_raw_fd).collect(),
    };
    let arguments = in_memory(c"arguments", &nul_separated(&bwrap::arguments(spec, host, &descriptors)))?;
    let mut command = Command::new(&host.bwrap);
    command.arg("--args").arg(arguments.as_raw_fd().to_string()).arg("--").args(bwrap::command(spec, host));
    command.env_clear().current_dir("/");
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    command.stderr(output_writer.try_clone().map_err(step("copying a descriptor"))?);
    command.stdout(output_writer);

    let mut inherited: Vec<OwnedFd> = vec![status_writer.into(), hold_reader.into()];
    if matches!(host.identity, Identity::Delegated { .. }) {
        inherited.push(ignored.into());
    }
    inherited.extend([filter, arguments].into_iter().chain(etc).map(OwnedFd::from));
    let numbers = inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let overlay = spec.overlay.as_ref().map(|overlay| OverlayMount::prepare(overlay, host.identity)).transpose();
    let overlay = overlay.map_err(step("preparing what is laid over /usr"))?;
    launch::prepare(&mut command, numbers, &spec.limits, (overlay, trace))
        .map_err(step("reading the resource limits"))?;

    let receiver = |reader: io::PipeReader| pipe::Receiver::from_owned_fd(reader.into());
    let status = receiver(status).map_err(step("watching a pipe"))?;
    let output = receiver(output).map_err(step("watching a pipe"))?;
    Ok((Plumbing { status, hold, output }, Prepared { command, inherited }))
}

fn nul_separated(words: &[OsString]) -> Vec<u8> {
    words.iter().flat_map(|word| word.as_bytes().iter().copied().chain([0])).collect()
}

/// A file without a name, positioned at its start.
fn in_memory(name: &CStr, content: &[u8]) -> Result<File, SandboxError> {
    let make = || -> io::Result<File> {
        let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
        file.write_all(content)?;
        file.rewind()?;
        Ok(file)
    };
    make().map_err(SandboxError::step("making a file in memory"))
}
