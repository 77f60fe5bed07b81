//! The filter is run here by a small interpreter of classic BPF: no process, every argument.

use super::*;

/// What the kernel would do: the return value of the program for one call.
fn answer(architecture: u32, number: i64, arguments: [u64; 6]) -> u32 {
    let program = program().expect("supported architecture");
    let mut data = Vec::new();
    data.extend_from_slice(&u32::try_from(number).expect("small").to_ne_bytes());
    data.extend_from_slice(&architecture.to_ne_bytes());
    data.extend_from_slice(&0u64.to_ne_bytes());
    arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_ne_bytes()));
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let sock_filter { code, jt, jf, k } = program[at].clone();
        at += 1;
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        match code {
            0x20 => {
                let offset = k as usize;
                accumulator = u32::from_ne_bytes(data[offset..offset + 4].try_into().expect("four bytes"));
            }
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x54 => accumulator &= k,
            0x06 => return k,
            other => panic!("instruction {other:#x} is not in the interpreter"),
        }
    }
}

const NATIVE: u32 = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;

fn call(number: i64, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    answer(NATIVE, number, all)
}

fn refused(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// E3, in every variant there is.
#[test]
fn setuid_bits_are_refused() {
    let eperm = refused(libc::EPERM);
    for bit in [0o4755, 0o2755, 0o6755, 0o104_755, 0xdead_0000_0000_0000 | 0o4755] {
        assert_eq!(call(libc::SYS_fchmod, &[3, bit]), eperm);
        assert_eq!(call(libc::SYS_fchmodat, &[3, 0, bit]), eperm);
        assert_eq!(call(SYS_FCHMODAT2, &[3, 0, bit, 0]), eperm);
        assert_eq!(call(libc::SYS_mknodat, &[3, 0, bit]), eperm);
        let create = u64::from(libc::O_CREAT.unsigned_abs() | libc::O_WRONLY.unsigned_abs());
        assert_eq!(call(libc::SYS_openat, &[3, 0, create, bit]), eperm);
        let temporary = u64::from(libc::O_TMPFILE.unsigned_abs() | libc::O_RDWR.unsigned_abs());
        assert_eq!(call(libc::SYS_openat, &[3, 0, temporary, bit]), eperm);
        assert_eq!(call(libc::SYS_openat, &[3, 0, 0, bit]), ALLOWED, "mode without creation is not looked at");
        #[cfg(target_arch = "x86_64")]
        {
            assert_eq!(call(libc::SYS_chmod, &[0, bit]), eperm);
            assert_eq!(call(libc::SYS_creat, &[0, bit]), eperm);
            assert_eq!(call(libc::SYS_open, &[0, create, bit]), eperm);
        }
    }
    assert_eq!(call(libc::SYS_fchmod, &[3, 0o1777]), ALLOWED);
    assert_eq!(call(libc::SYS_fchmodat, &[3, 0, 0o755]), ALLOWED);
}

#[test]
fn devices_are_refused() {
    for (kind, expected) in [
        (libc::S_IFCHR, refused(libc::EPERM)),
        (libc::S_IFBLK, refused(libc::EPERM)),
        (libc::S_IFIFO, ALLOWED),
        (libc::S_IFSOCK, ALLOWED),
        (libc::S_IFREG, ALLOWED),
    ] {
        assert_eq!(call(libc::SYS_mknodat, &[3, 0, u64::from(kind) | 0o644]), expected, "{kind:o}");
    }
}

#[test]
fn namespaces_debuggers_and_keys_are_refused() {
    let eperm = refused(libc::EPERM);
    let user = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    assert_eq!(call(libc::SYS_unshare, &[user | 0x20000]), eperm);
    assert_eq!(call(libc::SYS_clone, &[user | 17]), eperm);
    assert_eq!(call(libc::SYS_clone, &[17]), ALLOWED);
    assert_eq!(call(libc::SYS_clone3, &[]), refused(libc::ENOSYS));
    assert_eq!(call(libc::SYS_openat2, &[]), refused(libc::ENOSYS));
    assert_eq!(call(libc::SYS_fsetxattr, &[]), refused(libc::ENOTSUP));
    for number in FORBIDDEN {
        assert_eq!(call(number, &[]), eperm, "{number}");
    }
    assert_eq!(call(libc::SYS_ioctl, &[0, 0x5412]), eperm);
    assert_eq!(call(libc::SYS_ioctl, &[0, 0x5413]), ALLOWED, "TIOCGWINSZ");
    for number in [libc::SYS_read, libc::SYS_execve, libc::SYS_seccomp, libc::SYS_prctl, libc::SYS_setresuid] {
        assert_eq!(call(number, &[]), ALLOWED, "{number}");
    }
}

#[test]
fn foreign_abis_are_refused() {
    const I386: u32 = 0x4000_0003;
    assert_eq!(answer(I386, 20, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(call(i64::from(X32_BIT) | libc::SYS_read, &[]), refused(libc::ENOSYS));
    }
}

#[test]
fn program_is_small() {
    let bytes = filter().expect("supported architecture");
    assert_eq!(bytes.len() % 8, 0);
    assert!(bytes.len() / 8 < 1000, "the kernel accepts 4096 instructions, each call pays for them");
}
