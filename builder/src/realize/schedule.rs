//! Who may start: a pure state machine over the work of one run. [`super::permits`] drives it.
//!
//! The graph of a run is not known at its beginning: an sdist says what its build needs only once it is unpacked, and
//! then once more when its backend is asked. So work announces itself: `ask` puts it in a queue, `starts` says what
//! begins now, `end` gives its place back. Places can't be waited for in a circle: a lane may wait for a processor, and
//! whoever has a processor or a sandbox waits for no other place and no other work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pin::PinKey;

/// What a piece of work occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A package that is fetched: it has open files and may wait for another process's lock on a thread of its own.
    Lane,
    /// A processor: a wheel that is unpacked.
    Processor,
    /// A sandbox that runs: one of `--jobs`, and its share of the memory.
    Sandbox,
}

/// How many places of each kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// Packages that are under way at once.
    pub(crate) lanes: usize,
    /// Wheels that are unpacked at once.
    pub(crate) processors: usize,
    /// Sandboxes that run at once.
    pub(crate) sandboxes: usize,
    /// Memory in bytes that has to be free for a sandbox to start while another one runs.
    pub(crate) sandbox_bytes: u64,
}

/// One piece of work, from `ask` to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// The closing of a circle in which all would wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Circle;

/// The state of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    queues: [Queue; 3],
    sandbox_bytes: u64,
    next: u64,
    waits: BTreeMap<PinKey, BTreeSet<PinKey>>,
}

#[derive(Debug, Default)]
struct Queue {
    places: usize,
    running: BTreeSet<Ticket>,
    waiting: VecDeque<Ticket>,
}

impl Schedule {
    /// Nothing runs and nothing waits. Of each kind there is one place at least.
    pub(crate) fn new(places: Places) -> Self {
        let queue = |places: usize| Queue { places: places.max(1), ..Queue::default() };
        Self {
            queues: [queue(places.lanes), queue(places.processors), queue(places.sandboxes)],
            sandbox_bytes: places.sandbox_bytes,
            next: 0,
            waits: BTreeMap::new(),
        }
    }

    /// Work that wants a place; it waits until `starts` names it.
    pub(crate) fn ask(&mut self, place: Place) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queues[place as usize].waiting.push_back(ticket);
        ticket
    }

    /// The work is done or was given up, running or not.
    pub(crate) fn end(&mut self, ticket: Ticket) {
        for queue in &mut self.queues {
            queue.running.remove(&ticket);
            queue.waiting.retain(|waiting| *waiting != ticket);
        }
    }

    /// What begins now, first come, first served. `free_bytes` is the memory that is free at this moment: a sandbox
    /// starts whatever it is when no other one runs, so that a run always gets on.
    pub(crate) fn starts(&mut self, mut free_bytes: u64) -> Vec<Ticket> {
        let mut begun = Vec::new();
        let sandbox_bytes = self.sandbox_bytes;
        for (queue, place) in self.queues.iter_mut().zip([Place::Lane, Place::Processor, Place::Sandbox]) {
            while queue.running.len() < queue.places {
                if place == Place::Sandbox && !queue.running.is_empty() && free_bytes < sandbox_bytes {
                    break;
                }
                let Some(ticket) = queue.waiting.pop_front() else { break };
                if place == Place::Sandbox {
                    // What has just begun does not use its memory yet.
                    free_bytes = free_bytes.saturating_sub(sandbox_bytes);
                }
                queue.running.insert(ticket);
                begun.push(ticket);
            }
        }
        begun
    }

    /// Whether a sandbox waits only for memory.
    pub(crate) fn wants_memory(&self) -> bool {
        let queue = &self.queues[Place::Sandbox as usize];
        !queue.waiting.is_empty() && queue.running.len() < queue.places
    }

    /// Records that `parent` waits for `child`. Builds are nodes of their own ([`PinKey::of_build`]): two pins may mean
    /// one sdist, which is built under one lock.
    ///
    /// # Errors
    /// When that closes a circle; it is not recorded then.
    pub(crate) fn wait(&mut self, parent: PinKey, child: PinKey) -> Result<(), Circle> {
        let mut open = vec![child];
        let mut seen = BTreeSet::new();
        while let Some(key) = open.pop() {
            if key == parent {
                return Err(Circle);
            }
            if seen.insert(key) {
                open.extend(self.waits.get(&key).into_iter().flatten());
            }
        }
        self.waits.entry(parent).or_default().insert(child);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
    use proptest::prelude::*;

    use super::*;

    const PLACES: Places = Places { lanes: 4, processors: 2, sandboxes: 3, sandbox_bytes: 100 };

    fn key(number: u8) -> PinKey {
        PinKey::of_build(&Sha256Digest::from_bytes([number; 32]), &ValueDigest::from_bytes([0; 32]))
    }

    #[test]
    fn first_come_first_served_within_the_places() {
        let mut schedule = Schedule::new(PLACES);
        let tickets: Vec<Ticket> = (0..4).map(|_| schedule.ask(Place::Processor)).collect();
        assert_eq!(schedule.starts(0), tickets[..2]);
        assert_eq!(schedule.starts(0), []);
        schedule.end(tickets[1]);
        assert_eq!(schedule.starts(0), tickets[2..3]);
        // What gives up while it waits leaves no hole.
        schedule.end(tickets[3]);
        schedule.end(tickets[0]);
        assert_eq!(schedule.starts(0), []);
    }

    #[test]
    fn kinds_do_not_wait_for_each_other() {
        let mut schedule = Schedule::new(PLACES);
        let sandboxes: Vec<Ticket> = (0..4).map(|_| schedule.ask(Place::Sandbox)).collect();
        let lane = schedule.ask(Place::Lane);
        let mut begun = schedule.starts(u64::MAX);
        begun.sort();
        assert_eq!(begun, [&sandboxes[..3], &[lane]].concat());
    }

    #[test]
    fn memory_bounds_sandboxes_but_never_stops_the_run() {
        let mut schedule = Schedule::new(PLACES);
        let tickets: Vec<Ticket> = (0..3).map(|_| schedule.ask(Place::Sandbox)).collect();
        // One runs however little there is; those that begin together share what is free.
        assert_eq!(schedule.starts(0), tickets[..1]);
        assert!(schedule.wants_memory());
        assert_eq!(schedule.starts(99), []);
        assert_eq!(schedule.starts(199), tickets[1..2]);
        schedule.end(tickets[0]);
        schedule.end(tickets[1]);
        assert_eq!(schedule.starts(0), tickets[2..]);
        assert!(!schedule.wants_memory());
    }

    #[test]
    fn circles_are_found_and_not_recorded() {
        let mut schedule = Schedule::new(PLACES);
        assert_eq!(schedule.wait(key(1), key(2)), Ok(()));
        assert_eq!(schedule.wait(key(2), key(3)), Ok(()));
        assert_eq!(schedule.wait(key(3), key(1)), Err(Circle));
        assert_eq!(schedule.wait(key(4), key(4)), Err(Circle));
        assert_eq!(schedule.wait(key(3), key(5)), Ok(()));
    }

    proptest! {
        /// Whatever happens in whatever order: no kind has more than its places, nothing starts twice, and what was
        /// asked for and not given up starts in the end.
        #[test]
        fn places_are_kept_and_everything_starts(steps in prop::collection::vec((0u8..3, 0usize..8, 0u64..400), 1..200)) {
            let mut schedule = Schedule::new(PLACES);
            let mut kinds: BTreeMap<Ticket, Place> = BTreeMap::new();
            let mut running: BTreeSet<Ticket> = BTreeSet::new();
            let mut begun_ever: BTreeSet<Ticket> = BTreeSet::new();
            let places = [Place::Lane, Place::Processor, Place::Sandbox];
            for (action, choice, free) in steps {
                match action {
                    0 => {
                        let place = places[choice % 3];
                        kinds.insert(schedule.ask(place), place);
                    }
                    1 => {
                        if let Some(ticket) = running.iter().nth(choice % running.len().max(1)).copied() {
                            running.remove(&ticket);
                            schedule.end(ticket);
                        }
                    }
                    _ => {}
                }
                for ticket in schedule.starts(free) {
                    prop_assert!(begun_ever.insert(ticket));
                    running.insert(ticket);
                }
                for (place, limit) in places.into_iter().zip([4, 2, 3]) {
                    prop_assert!(running.iter().filter(|ticket| kinds[ticket] == place).count() <= limit);
                }
            }
            // One at a time, without any free memory: the run still comes to its end.
            while let Some(ticket) = running.pop_first() {
                schedule.end(ticket);
                for ticket in schedule.starts(0) {
                    prop_assert!(begun_ever.insert(ticket));
                    running.insert(ticket);
                }
            }
            prop_assert_eq!(begun_ever.len(), kinds.len());
        }
    }
}
