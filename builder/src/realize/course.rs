//! The course of one package of a run: looked up, then obtained; and what of it is stopped when another one fails.
//!
//! Which failure a run is blamed on must not depend on who was faster. A failed look-up says that the lock and the index
//! don't go together, and comes before all others; among equals the order of the lock decides. So a failure stops only
//! what can't matter any more:
//!
//! * a package that can't be looked up: the work on all others, but no look-up. All that is wrong with a lock is told at
//!   once. When the index itself fails, only the look-ups before it in the lock go on, since those after it are likely
//!   to fail in the same way, each as slowly;
//! * a build that lacks packages of the system: nothing. Others may lack some too, all are asked for at once, and what is
//!   built meanwhile is kept;
//! * any other failure: the work on the packages after it in the lock.
//!
//! What is named first was thereby never stopped by anything but a failure that would come before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::ObtainError;
use crate::cancel::CancelToken;

tokio::task_local! {
    /// The course that a task, and those it starts and waits for, are on. What is done for no package of a lock has none.
    static COURSE: Course;
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    look_up: CancelToken,
    work: CancelToken,
    is_looked_up: Arc<AtomicBool>,
}

impl Course {
    /// Does something on this course.
    pub(crate) async fn follow<F: Future>(self, work: F) -> F::Output {
        COURSE.scope(self, work).await
    }

    /// The course that the caller is on.
    pub(crate) fn current() -> Option<Self> {
        COURSE.try_with(Clone::clone).ok()
    }

    /// From now on the package is obtained.
    pub(crate) fn looked_up(&self) {
        self.is_looked_up.store(true, Ordering::SeqCst);
    }

    /// Whether the package's look-up is over, and was a success.
    pub(crate) fn is_looked_up(&self) -> bool {
        self.is_looked_up.load(Ordering::SeqCst)
    }

    /// What ends the present part.
    pub(crate) fn cancel(&self) -> &CancelToken {
        if self.is_looked_up() { &self.work } else { &self.look_up }
    }

    /// Ends all of it.
    pub(crate) fn stop(&self) {
        self.look_up.cancel();
        self.work.cancel();
    }
}

/// What the failure of the package at `position` stops.
pub(crate) fn stop_others(courses: &[Course], position: usize, failure: &ObtainError) {
    let Some(failed) = courses.get(position) else { return };
    if failure.is_cancelled() || failure.lacks_packages() {
        return;
    }
    let is_look_up = !failed.is_looked_up();
    for (other, course) in courses.iter().enumerate().filter(|(other, _)| *other != position) {
        let is_after = other > position;
        if is_look_up || is_after {
            course.work.cancel();
        }
        if is_look_up && is_after && !failure.is_choice() {
            course.look_up.cancel();
        }
    }
}

/// The failures as they are told: failed look-ups first, then the others, each in the order of the lock; those that were
/// stopped last.
pub(crate) fn in_order(mut failures: Vec<(bool, ObtainError)>) -> Vec<ObtainError> {
    failures.sort_by_key(|(is_look_up, failure)| (failure.is_cancelled(), !is_look_up));
    failures.into_iter().map(|(_, failure)| failure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courses(looked_up: &[bool]) -> Vec<Course> {
        let course = |looked_up: &bool| {
            let course = Course::default();
            if *looked_up {
                course.looked_up();
            }
            course
        };
        looked_up.iter().map(course).collect()
    }

    fn goes_on(courses: &[Course]) -> Vec<(bool, bool)> {
        courses.iter().map(|course| (!course.look_up.is_cancelled(), !course.work.is_cancelled())).collect()
    }

    #[test]
    fn a_failure_stops_what_cannot_come_before_it() {
        let pin = || "x==1.0".to_owned();
        let (choice, worker) = (ObtainError::Unhashed { pin: pin() }, ObtainError::Worker { pin: pin() });
        let run = courses(&[true, true, false]);
        stop_others(&run, 1, &worker);
        assert_eq!(goes_on(&run), [(true, true), (true, true), (true, false)]);
        stop_others(&run, 2, &choice);
        assert_eq!(goes_on(&run), [(true, false), (true, false), (true, false)]);
        let run = courses(&[false, false, false]);
        stop_others(&run, 1, &worker);
        assert_eq!(goes_on(&run), [(true, false), (true, true), (false, false)]);
        let run = courses(&[true, true]);
        stop_others(&run, 0, &ObtainError::Cancelled { pin: pin() });
        assert_eq!(goes_on(&run), [(true, true), (true, true)]);
    }
}
