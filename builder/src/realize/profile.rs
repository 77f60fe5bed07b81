//! Where the time of a run goes: its phases, which follow one another, and the work of the middle one, which overlaps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a run does about missing trees; several of each may be under way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Reading pages of indexes.
    Index,
    /// Downloading files.
    Download,
    /// Unpacking wheels and compiling their bytecode.
    Unpack,
    /// Running builds, with the set-up of their sandboxes.
    Build,
    /// Making trees durable and registering them.
    Publish,
}

impl Activity {
    /// All of them, in the order in which a tree goes through them.
    pub const ALL: [Self; 5] = [Self::Index, Self::Download, Self::Unpack, Self::Build, Self::Publish];

    /// The word that reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Download => "download",
            Self::Unpack => "unpack",
            Self::Build => "build",
            Self::Publish => "publish",
        }
    }
}

/// Time spent on each activity, summed over all trees: what runs twice at once counts twice.
#[derive(Debug, Default)]
pub struct Work {
    nanoseconds: [AtomicU64; Activity::ALL.len()],
}

impl Work {
    /// Counts the time until the returned value is dropped.
    #[must_use]
    pub fn begin(&self, activity: Activity) -> Running<'_> {
        Running { sum: &self.nanoseconds[activity as usize], started: Instant::now() }
    }

    /// The sums so far.
    #[must_use]
    pub fn sums(&self) -> Vec<(Activity, Duration)> {
        let sum = |activity: Activity| self.nanoseconds[activity as usize].load(Ordering::Relaxed);
        Activity::ALL.into_iter().map(|activity| (activity, Duration::from_nanos(sum(activity)))).collect()
    }
}

/// An activity that is under way.
#[derive(Debug)]
pub struct Running<'a> {
    sum: &'a AtomicU64,
    started: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let nanoseconds = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// The phases of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking at the environment and at what the store has.
    pub plan: Duration,
    /// Getting what is missing; next to nothing when nothing is.
    pub obtain: Duration,
    /// Making the environment, its swap and its root.
    pub link: Duration,
    /// The work inside `obtain`; empty when nothing was missing.
    pub work: Vec<(Activity, Duration)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_summed_by_activity() {
        let work = Work::default();
        let first = work.begin(Activity::Build);
        let second = work.begin(Activity::Build);
        assert!(work.sums().iter().all(|(_, sum)| sum.is_zero()), "nothing counts before its end");
        drop((first, second));
        let busy: Vec<Activity> =
            work.sums().into_iter().filter(|(_, sum)| !sum.is_zero()).map(|(activity, _)| activity).collect();
        assert_eq!(busy, [Activity::Build]);
    }
}
