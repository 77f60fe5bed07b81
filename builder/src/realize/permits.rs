//! Places of the [`Schedule`] as something that tasks can wait for and that is given back when it is dropped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::pin::PinKey;
use super::schedule::{Circle, Place, Places, Schedule, Ticket};

/// The places of a run.
#[derive(Debug, Clone)]
pub(crate) struct Permits {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

/// A place, held or waited for; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permits: Permits,
    ticket: Ticket,
}

impl Permits {
    pub(crate) fn new(places: Places) -> Self {
        let state = State { schedule: Schedule::new(places), waiting: HashMap::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a place.
    pub(crate) async fn acquire(&self, place: Place) -> Permit {
        let (begin, begun) = oneshot::channel();
        let permit = {
            let mut state = self.lock();
            let ticket = state.schedule.ask(place);
            state.waiting.insert(ticket, begin);
            state.start();
            Permit { permits: self.clone(), ticket }
        };
        // The sender stays in the state as long as the permit lives, so this can't fail.
        drop(begun.await);
        permit
    }

    /// Records that `parent` waits for `child`.
    ///
    /// # Errors
    /// When all would wait for each other.
    pub(crate) fn wait(&self, parent: PinKey, child: PinKey) -> Result<(), Circle> {
        self.lock().schedule.wait(parent, child)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn start(&mut self) {
        // Reading the memory costs some microseconds and matters only to builds.
        let free = if self.schedule.wants_memory() { free_memory() } else { u64::MAX };
        for ticket in self.schedule.starts(free) {
            if let Some(begin) = self.waiting.remove(&ticket) {
                // Whoever no longer listens gives the place back by dropping its permit.
                let _gone = begin.send(());
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        state.waiting.remove(&self.ticket);
        state.schedule.end(self.ticket);
        state.start();
    }
}

/// Bytes that new processes can use before others are pushed out: the machine's, or what is left of the control
/// group's limit where that is less. No bound when the system does not tell.
fn free_memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_in(&text));
    machine.unwrap_or(u64::MAX).min(left_in_group(Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX))
}

/// `MemAvailable` of `/proc/meminfo` in bytes.
fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a control group (version 2, as a container sees its own) leaves of its limit.
fn left_in_group(group: &Path) -> Option<u64> {
    let number = |file: &str| std::fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    // Caches of files count as used, but are given up when memory is short.
    let reclaimable = std::fs::read_to_string(group.join("memory.stat"))
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok()));
    let used = number("memory.current")?.saturating_sub(reclaimable.unwrap_or(0));
    Some(number("memory.max")?.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places { lanes: 1, processors: 1, sandboxes: 1, sandbox_bytes: 0 };

    #[tokio::test]
    async fn a_place_is_given_back_when_its_permit_goes() {
        let permits = Permits::new(PLACES);
        let first = permits.acquire(Place::Lane).await;
        let mut second = Box::pin(permits.acquire(Place::Lane));
        assert!(poll_once(&mut second).is_none(), "there is one place");
        drop(first);
        second.await;
    }

    #[tokio::test]
    async fn who_gives_up_waiting_takes_nobodys_place() {
        let permits = Permits::new(PLACES);
        let first = permits.acquire(Place::Lane).await;
        let mut second = Box::pin(permits.acquire(Place::Lane));
        let mut third = Box::pin(permits.acquire(Place::Lane));
        assert!(poll_once(&mut second).is_none() && poll_once(&mut third).is_none());
        drop(second);
        drop(first);
        third.await;
    }

    fn poll_once<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24576000 kB\nMemFree:          100 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(available_in(text), Some(2048 * 1024));
        assert_eq!(available_in("MemTotal: 1 kB\n"), None);

        let group = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(group.path().join(name), text).expect("a file");
        assert_eq!(left_in_group(group.path()), None, "no control group");
        write("memory.current", "800\n");
        write("memory.stat", "anon 500\ninactive_file 300\nactive_file 0\n");
        write("memory.max", "max\n");
        assert_eq!(left_in_group(group.path()), None, "no limit");
        write("memory.max", "1000\n");
        assert_eq!(left_in_group(group.path()), Some(500));
    }
}
