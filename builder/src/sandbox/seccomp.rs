//! The system call filter: what namespaces and missing capabilities leave open.
//!
//! Three answers, chosen so that well-behaved programs carry on:
//!
//! * `EPERM` for what a build has no business doing: setuid files, devices, mounts, new user namespaces, debugging,
//!   key rings, and kernel interfaces that are mostly known from exploits.
//! * `ENOSYS` for calls whose arguments lie in memory, where a filter cannot look (`clone3`, `openat2`): libraries
//!   fall back to the older call, which is filtered.
//! * `ENOTSUP` for extended attributes: what a file system without them answers.
//!
//! Programs of another ABI are killed (i386 on x86-64) or refused (x32): their call numbers mean other things.
//! Everything else is allowed, also calls that are newer than this list.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// The filter cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Neither x86-64 nor 64-bit ARM.
    #[error("there is no system call filter for the processor architecture `{name}`")]
    Architecture {
        /// As Rust names it.
        name: &'static str,
    },
    /// The rules do not fit into a filter program.
    #[error("the system call filter does not compile")]
    Compile(#[from] seccompiler::BackendError),
}

/// Rules of calls: number → alternatives; no alternatives means always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Refused with `EPERM` whatever the arguments.
const FORBIDDEN: [i64; 41] = [
    // Mounting, in the old and the new way.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_acct,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Key rings are not part of any namespace.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Kernel interfaces with a long record of exploits and no use in a build.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    // Namespaces of others; one's own: see `conditional`.
    libc::SYS_setns,
    // Opens by inode, past every mount.
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_kexec_load,
    SYS_KEXEC_FILE_LOAD,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// Answered with `ENOSYS`: the flags lie in memory.
const UNKNOWN: [i64; 2] = [libc::SYS_clone3, libc::SYS_openat2];

/// Answered with `ENOTSUP`: attributes would not survive canonicalisation anyway, and some of them change who may do
/// what (`security.capability`, POSIX ACLs).
const NO_ATTRIBUTES: [i64; 4] = [libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr, SYS_SETXATTRAT];

// Numbers that the libc crate does not have for every architecture. From 424 on they are the same everywhere.
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_OPEN_TREE_ATTR: i64 = 467;
const SYS_KEXEC_FILE_LOAD: i64 = if cfg!(target_arch = "x86_64") { 320 } else { 294 };

/// x32 calls have this bit in their number.
const X32_BIT: u32 = 0x4000_0000;
/// `TIOCSTI` types into the controlling terminal of the caller, `TIOCLINUX` selects and pastes on a console.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541C];

const SETUID: u64 = 0o4000;
const SETGID: u64 = 0o2000;

/// The compiled filter as bwrap reads it from `--seccomp`: an array of `struct sock_filter` in native byte order.
///
/// # Errors
/// [`FilterError`] on an architecture without rules.
pub fn filter() -> Result<Vec<u8>, FilterError> {
    let program = program()?;
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    Ok(bytes)
}

fn program() -> Result<BpfProgram, FilterError> {
    let name = std::env::consts::ARCH;
    let architecture = TargetArch::try_from(name).map_err(|_| FilterError::Architecture { name })?;
    if !matches!(architecture, TargetArch::x86_64 | TargetArch::aarch64) {
        return Err(FilterError::Architecture { name });
    }
    let mut rules: Rules = FORBIDDEN.into_iter().map(|call| (call, Vec::new())).collect();
    rules.extend(conditional()?);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let refusals: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()?;
    // The first instructions of `refusals` kill foreign architectures; jumps are relative, so others may follow them.
    let (architecture_check, rest) = refusals.split_at(ARCHITECTURE_CHECK_LENGTH);
    Ok([architecture_check, &prologue(), rest].concat())
}

/// seccompiler starts each program with: load the architecture, compare, kill.
const ARCHITECTURE_CHECK_LENGTH: usize = 3;

/// What seccompiler cannot express in one program: other error numbers, and a range of call numbers.
fn prologue() -> Vec<sock_filter> {
    const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NUMBER_OFFSET: u32 = 0; // of `nr` in `struct seccomp_data`
    let refuse_if = |jump: u16, operand: u32, errno: i32| {
        [
            sock_filter { code: jump, jt: 0, jf: 1, k: operand },
            sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ERRNO | errno.unsigned_abs() },
        ]
    };
    let mut program = vec![sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER_OFFSET }];
    if cfg!(target_arch = "x86_64") {
        program.extend(refuse_if(JUMP_GREATER_EQUAL, X32_BIT, libc::ENOSYS));
    }
    for (calls, errno) in [(UNKNOWN.as_slice(), libc::ENOSYS), (NO_ATTRIBUTES.as_slice(), libc::ENOTSUP)] {
        for call in calls {
            let number = u32::try_from(*call).expect("call numbers are small and positive");
            program.extend(refuse_if(JUMP_EQUAL, number, errno));
        }
    }
    program
}

/// Calls that are refused for some arguments.
fn conditional() -> Result<Rules, FilterError> {
    let mut rules = Rules::new();
    // Making a file setuid or setgid after the fact …
    for (call, mode) in [(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (SYS_FCHMODAT2, 2)] {
        rules.insert(call, vec![bits(mode, SETUID)?, bits(mode, SETGID)?]);
    }
    // … or from the start, or a device.
    rules.insert(libc::SYS_mknodat, node(2)?);
    rules.insert(libc::SYS_openat, creation(2, 3)?);
    #[cfg(target_arch = "x86_64")]
    {
        rules.insert(libc::SYS_chmod, vec![bits(1, SETUID)?, bits(1, SETGID)?]);
        rules.insert(libc::SYS_mknod, node(1)?);
        rules.insert(libc::SYS_open, creation(1, 2)?);
        rules.insert(libc::SYS_creat, vec![bits(1, SETUID)?, bits(1, SETGID)?]);
        // Only emulators need these.
        rules.extend([libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt].map(|call| (call, Vec::new())));
    }
    // A user namespace would give the build capabilities over the kernel's rarely walked paths.
    let new_user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    rules.insert(libc::SYS_unshare, vec![bits(0, new_user)?]);
    rules.insert(libc::SYS_clone, vec![bits(0, new_user)?]);
    let requests: Result<Vec<_>, FilterError> =
        TERMINAL_REQUESTS.into_iter().map(|request| equal(1, request)).collect();
    rules.insert(libc::SYS_ioctl, requests?);
    Ok(rules)
}

/// `mknod`: setuid bits, character and block devices.
fn node(mode: u8) -> Result<Vec<SeccompRule>, FilterError> {
    let kind = |kind: libc::mode_t| masked(mode, u64::from(libc::S_IFMT), u64::from(kind));
    Ok(vec![
        bits(mode, SETUID)?,
        bits(mode, SETGID)?,
        SeccompRule::new(vec![kind(libc::S_IFCHR)?])?,
        SeccompRule::new(vec![kind(libc::S_IFBLK)?])?,
    ])
}

/// `open` that creates: without the creating flags the mode is not looked at, and may be rubbish.
fn creation(flags: u8, mode: u8) -> Result<Vec<SeccompRule>, FilterError> {
    let mut rules = Vec::new();
    // O_TMPFILE includes O_DIRECTORY; its own bit is what is left.
    let temporary = libc::O_TMPFILE & !libc::O_DIRECTORY;
    for flag in [libc::O_CREAT, temporary] {
        let flag = u64::from(flag.unsigned_abs());
        for bit in [SETUID, SETGID] {
            rules.push(SeccompRule::new(vec![masked(flags, flag, flag)?, masked(mode, bit, bit)?])?);
        }
    }
    Ok(rules)
}

fn bits(argument: u8, mask: u64) -> Result<SeccompRule, FilterError> {
    Ok(SeccompRule::new(vec![masked(argument, mask, mask)?])?)
}

/// The argument's low 32 bits, masked, equal the value: all these arguments are 32 bits wide in the kernel, and what a
/// program leaves in the upper half must not make a difference.
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, FilterError> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value)?)
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, FilterError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
