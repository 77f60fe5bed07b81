//! Talking to the kernel: installing the filter, its notifications, a traced process's memory.
#![expect(unsafe_code, reason = "seccomp(2), its notifications and process_vm_readv(2) have no safe interface")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use libc::sock_filter;

/// Longest path the kernel takes, its NUL included (`PATH_MAX`).
pub(super) const PATH_BYTES_MAX: usize = 4096;
/// Bytes that are read of a path at first.
const PATH_BYTES_USUAL: usize = 256;
/// Smallest page of any architecture: a read that ends at each multiple of it never touches more pages than it must.
const PAGE_BYTES: usize = 4096;
/// Room that newer kernels may need for a notification; what is known of one has 80 bytes.
const NOTIFICATION_BYTES: usize = 512;
/// Room for one descriptor in a message.
const CONTROL_BYTES: usize = 64;

/// Installs the filter in the process that becomes bwrap, between fork and exec, and sends its listener here.
#[derive(Debug)]
pub(crate) struct Installer {
    program: Vec<sock_filter>,
    channel: UnixStream,
    /// The other end of `channel`, of which the new process has a copy until exec.
    other_end: RawFd,
}

impl Installer {
    /// An installer of `program` that reports through `channel` to `other_end`.
    pub(super) fn new(program: Vec<sock_filter>, channel: UnixStream, other_end: &UnixStream) -> Self {
        Self { program, channel, other_end: other_end.as_raw_fd() }
    }

    /// Installs the filter in this process and whatever it becomes. Async-signal-safe: no allocation, no locks.
    ///
    /// A kernel that refuses is reported through the channel and is no error.
    ///
    /// # Errors
    /// When the filter is there and its listener could not be sent: every traced call would wait for ever.
    pub(crate) fn install(&self) -> io::Result<()> {
        let length = u16::try_from(self.program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        let program = libc::sock_fprog { len: length, filter: self.program.as_ptr().cast_mut() };
        // A call that was received is interrupted by nothing but death: no program sees an EINTR that it would not have
        // seen untraced. Kernels before 5.19 refuse the flag.
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        // Whoever started this may be killed at any moment. Then nobody may have the listener but those who are dead: a call
        // whose listener is gone fails, and so does exec; with a copy here, or on its way to a socket that is open here,
        // this process would wait for ever for itself, with the store's locks in its hands.
        // SAFETY: a descriptor of this process's own, which nothing in it uses any more.
        unsafe { libc::close(self.other_end) };
        // SAFETY: plain system calls; `program` points to instructions that outlive the call, and the kernel copies them.
        let listener = unsafe {
            // bwrap does the same first thing; the kernel wants it from whoever has no privilege.
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
        };
        if listener < 0 {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            return send(&self.channel, errno, None);
        }
        let listener = RawFd::try_from(listener).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
        let sent = send(&self.channel, 0, Some(listener));
        // SAFETY: the descriptor was just made, and what was sent is a copy.
        unsafe { libc::close(listener) };
        sent
    }
}

/// Sends the outcome, and the listener if there is one.
fn send(channel: &UnixStream, errno: i32, listener: Option<RawFd>) -> io::Result<()> {
    let bytes = errno.to_ne_bytes();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: all pointers of the message are to locals that outlive the call; the control buffer is aligned and longer
    // than CMSG_SPACE of one descriptor. sendmsg is async-signal-safe.
    let sent = unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(listener) = listener {
            message.msg_control = control.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(DESCRIPTOR_BYTES) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(DESCRIPTOR_BYTES) as _;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<RawFd>(), listener);
        }
        libc::sendmsg(channel.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const DESCRIPTOR_BYTES: u32 = size_of::<RawFd>() as u32;

#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

/// What the installer had to say.
#[derive(Debug)]
pub(super) enum Installed {
    /// The filter is there.
    Listener(Listener),
    /// The kernel refused it.
    Refused(io::Error),
    /// The process never got so far.
    Nothing,
}

/// Waits for the installer.
pub(super) fn receive(channel: &UnixStream) -> Installed {
    let mut bytes = [0; size_of::<i32>()];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL_BYTES]);
    // SAFETY: as in `send`; the kernel writes at most the lengths given. A descriptor that arrives is new and nobody
    // else's.
    let (received, descriptor) = unsafe {
        let mut message: libc::msghdr = MaybeUninit::zeroed().assume_init();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
        let received = loop {
            let received = libc::recvmsg(channel.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            if received >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break received;
            }
        };
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let has_one = received >= 0 && !header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS;
        let descriptor =
            has_one.then(|| OwnedFd::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>())));
        (received, descriptor)
    };
    match (usize::try_from(received), descriptor) {
        (_, Some(listener)) => Installed::Listener(Listener::new(listener)),
        (Ok(count), None) if count == bytes.len() => {
            Installed::Refused(io::Error::from_raw_os_error(i32::from_ne_bytes(bytes)))
        }
        _ => Installed::Nothing,
    }
}

/// One call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    id: u64,
    /// The calling thread, as this process numbers it.
    pub(super) thread: u32,
    /// Number of the call.
    pub(super) number: i32,
    /// Its arguments.
    pub(super) arguments: [u64; 6],
}

/// Where traced calls arrive. While it is open they wait; once it is closed they fail with `ENOSYS`.
#[derive(Debug)]
pub(super) struct Listener(OwnedFd);

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: the caller runs on this processor as soon as it has its answer.
const SYNC_WAKE_UP: u64 = 1;

#[repr(C)]
union NotificationBuffer {
    notification: libc::seccomp_notif,
    room: [u8; NOTIFICATION_BYTES],
}

impl Listener {
    fn new(descriptor: OwnedFd) -> Self {
        // SAFETY: an ioctl that takes an integer. Kernels before 6.6 do not know it, which is slower and nothing else.
        unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Self(descriptor)
    }

    /// The next call. `None` if it is gone already (its process was killed).
    pub(super) fn next(&self) -> Option<Notification> {
        let mut buffer = NotificationBuffer { room: [0; NOTIFICATION_BYTES] };
        // SAFETY: the buffer is zeroed, as the call demands, and longer than what any known kernel writes.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut buffer) };
        if result < 0 {
            return None;
        }
        // SAFETY: the kernel filled the structure, which is plain numbers.
        let notification = unsafe { buffer.notification };
        let data = notification.data;
        Some(Notification { id: notification.id, thread: notification.pid, number: data.nr, arguments: data.args })
    }

    /// Lets the call go on. False if it is gone: then what was read of its process may be of another one.
    pub(super) fn let_go(&self, notification: &Notification) -> bool {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let answer = libc::seccomp_notif_resp { id: notification.id, val: 0, error: 0, flags };
        // SAFETY: a structure of plain numbers that outlives the call.
        unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) == 0 }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the NUL-terminated text at `address` of a thread's memory, at most [`PATH_BYTES_MAX`]. `None` if it has no end
/// there or can't be read.
pub(super) fn text_at(thread: u32, address: u64) -> Option<Vec<u8>> {
    let thread = libc::pid_t::try_from(thread).ok().filter(|thread| *thread > 0)?;
    let address = usize::try_from(address).ok().filter(|address| *address != 0)?;
    let mut buffer = [0; PATH_BYTES_MAX];
    // Nearly every path is short, and each page that is touched costs the caller time.
    for length in [PATH_BYTES_USUAL, PATH_BYTES_MAX] {
        let known = read_at(thread, address, &mut buffer[..length])?;
        if let Some(end) = memchr::memchr(0, &buffer[..known]) {
            return Some(buffer[..end].to_vec());
        }
        if known < length {
            break;
        }
    }
    None
}

/// Reads what is at `address` of a thread's memory into `text`: the number of bytes, fewer where the memory ends.
fn read_at(thread: libc::pid_t, address: usize, text: &mut [u8]) -> Option<usize> {
    let first = (PAGE_BYTES - address % PAGE_BYTES).min(text.len());
    let second = address.checked_add(first)?;
    let ours = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // In two parts: the text may end on the last page that there is.
    let theirs = [
        libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: first },
        libc::iovec { iov_base: ptr::without_provenance_mut(second), iov_len: text.len() - first },
    ];
    // SAFETY: the kernel writes at most `text.len()` bytes into `text`; the other addresses are the other process's.
    let count = unsafe { libc::process_vm_readv(thread, &raw const ours, 1, theirs.as_ptr(), 2, 0) };
    usize::try_from(count).ok()
}
