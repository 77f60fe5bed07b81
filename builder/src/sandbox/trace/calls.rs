//! Which system calls are watched, and the filter program that stops at them: pure.

use libc::sock_filter;

/// What a call does with the path it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Opens the file: what is there is read.
    Open,
    /// Runs the file.
    Execute,
    /// Only asks whether it is there, and what it is.
    LookUp,
}

/// One watched call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    number: i64,
    /// What it does.
    pub(super) purpose: Use,
    /// Position of the directory's descriptor among the arguments; `None` for the working directory.
    pub(super) directory: Option<usize>,
    /// Position of the path's address.
    pub(super) path: usize,
    /// Position of the flags, for calls that name a descriptor instead of a path if `AT_EMPTY_PATH` is among them.
    flags: Option<u32>,
}

const fn at(number: i64, purpose: Use) -> Call {
    Call { number, purpose, directory: Some(0), path: 1, flags: None }
}

const fn with_flags(number: i64, purpose: Use, flags: u32) -> Call {
    Call { number, purpose, directory: Some(0), path: 1, flags: Some(flags) }
}

#[cfg(target_arch = "x86_64")]
const fn plain(number: i64, purpose: Use) -> Call {
    Call { number, purpose, directory: None, path: 0, flags: None }
}

/// The calls of every architecture; the C library of 64-bit ARM uses nothing else. `openat2` is refused by the sandbox's own
/// filter. Calls that make, rename or delete are left out: what they change is the build's own.
const CALLS: &[Call] = &[
    at(libc::SYS_openat, Use::Open),
    with_flags(libc::SYS_newfstatat, Use::LookUp, 3),
    at(libc::SYS_faccessat, Use::LookUp),
    at(libc::SYS_faccessat2, Use::LookUp),
    with_flags(libc::SYS_statx, Use::LookUp, 2),
    Call { number: libc::SYS_execve, purpose: Use::Execute, directory: None, path: 0, flags: None },
    with_flags(libc::SYS_execveat, Use::Execute, 4),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_open, Use::Open),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_stat, Use::LookUp),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_lstat, Use::LookUp),
    #[cfg(target_arch = "x86_64")]
    plain(libc::SYS_access, Use::LookUp),
];

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64`.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_00B7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// The call of that number; calls of another architecture never get here.
pub(super) fn call(number: i32) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == i64::from(number))
}

/// The filter: notify for watched calls, let everything else pass. `None` on an architecture without numbers.
///
/// Of several filters the strictest answer counts, and refusing is stricter than notifying: what the sandbox's filter
/// refuses stays refused, and is not noted.
pub(super) fn program() -> Option<Vec<sock_filter>> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_SET: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    // Places in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const ARGUMENTS: u32 = 16;
    let step = |code: u16, k: u32| sock_filter { code, jt: 0, jf: 0, k };
    let jump = |code: u16, k: u32, jt: u8, jf: u8| sock_filter { code, jt, jf, k };
    let (notify, allow) = (step(RETURN, libc::SECCOMP_RET_USER_NOTIF), step(RETURN, libc::SECCOMP_RET_ALLOW));

    let mut program = vec![step(LOAD, ARCH), jump(JUMP_EQUAL, ARCHITECTURE?, 1, 0), allow, step(LOAD, NUMBER)];
    for call in CALLS {
        let number = u32::try_from(call.number).ok()?;
        match call.flags {
            None => program.extend([jump(JUMP_EQUAL, number, 0, 1), notify]),
            Some(position) => program.extend([
                jump(JUMP_EQUAL, number, 0, 4),
                // The low half: both architectures are little-endian.
                step(LOAD, ARGUMENTS + 8 * position),
                jump(JUMP_SET, libc::AT_EMPTY_PATH.unsigned_abs(), 1, 0),
                notify,
                allow,
            ]),
        }
    }
    program.push(allow);
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do with a call.
    fn answer(architecture: u32, number: i64, arguments: [u64; 6]) -> u32 {
        let program = program().expect("supported architecture");
        let mut data = u32::try_from(number).expect("small").to_ne_bytes().to_vec();
        data.extend_from_slice(&architecture.to_ne_bytes());
        data.extend_from_slice(&[0; 8]);
        arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_ne_bytes()));
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match code {
                0x20 => {
                    let offset = k as usize;
                    accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().expect("four bytes"));
                }
                0x15 => at += usize::from(if accumulator == k { jt } else { jf }),
                0x45 => at += usize::from(if accumulator & k != 0 { jt } else { jf }),
                0x06 => return k,
                other => panic!("instruction {other:#x} is not in the interpreter"),
            }
        }
    }

    #[test]
    fn watched_calls_notify_and_others_pass() {
        let native = ARCHITECTURE.expect("supported architecture");
        for call in CALLS {
            assert_eq!(answer(native, call.number, [0; 6]), libc::SECCOMP_RET_USER_NOTIF, "{call:?}");
            assert_eq!(answer(!native, call.number, [0; 6]), libc::SECCOMP_RET_ALLOW, "{call:?}");
            let empty = u64::from(libc::AT_EMPTY_PATH.unsigned_abs());
            let flags = [!empty; 6];
            assert_eq!(answer(native, call.number, flags), libc::SECCOMP_RET_USER_NOTIF, "{call:?}");
            let expected = if call.flags.is_some() { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_USER_NOTIF };
            assert_eq!(answer(native, call.number, [empty; 6]), expected, "{call:?}");
        }
        for number in [libc::SYS_read, libc::SYS_mmap, libc::SYS_sendmsg, libc::SYS_close, libc::SYS_exit_group] {
            assert_eq!(answer(native, number, [0; 6]), libc::SECCOMP_RET_ALLOW);
        }
    }
}
