//! Group commit: trees that are ready while a batch is being published go together into the next one.
//!
//! Publishing costs one `syncfs` and two transactions however many objects a batch has, so the first tree goes alone
//! and the following ones share the cost; nobody waits for a timer.

use std::sync::{Arc, Mutex, PoisonError};

use pip_accel_store::{NewObject, Object, StoreError};
use tokio::sync::oneshot;

use super::error::ObtainError;
use super::pin::Pin;
use crate::session::Session;

type Reply = oneshot::Sender<Result<Vec<Object>, Arc<StoreError>>>;

/// Most objects of one batch: bounds the time in which a waiting process sees nothing new.
const BATCH_OBJECTS_MAX: usize = 64;

/// Takes finished trees from many tasks and publishes them in batches.
#[derive(Clone)]
pub(crate) struct Publisher {
    session: Arc<Session>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    running: bool,
    waiting: Vec<(Vec<NewObject>, Reply)>,
}

impl Publisher {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self { session, queue: Arc::default() }
    }

    /// Publishes `objects` of `pin`; they become visible together with others of the same batch.
    ///
    /// # Errors
    /// The store's; all members of a batch share it.
    pub(crate) async fn publish(&self, pin: &Pin, objects: Vec<NewObject>) -> Result<Vec<Object>, ObtainError> {
        let (reply, result) = oneshot::channel();
        let start = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.push((objects, reply));
            !std::mem::replace(&mut queue.running, true)
        };
        if start {
            let publisher = self.clone();
            tokio::task::spawn_blocking(move || publisher.run());
        }
        match result.await {
            Ok(published) => published.map_err(|source| ObtainError::Store { pin: pin.to_string(), source }),
            Err(_) => Err(ObtainError::Worker { pin: pin.to_string() }),
        }
    }

    fn run(&self) {
        let _guard = PanicGuard(&self.queue);
        loop {
            let batch = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if queue.waiting.is_empty() {
                    queue.running = false;
                    return;
                }
                let taken = batch_length(&queue.waiting);
                queue.waiting.drain(..taken).collect::<Vec<_>>()
            };
            self.publish_batch(batch);
        }
    }

    fn publish_batch(&self, batch: Vec<(Vec<NewObject>, Reply)>) {
        let mut objects = Vec::new();
        let mut replies = Vec::new();
        for (members, reply) in batch {
            replies.push((members.len(), reply));
            objects.extend(members);
        }
        match self.session.lease.publish(objects) {
            Ok(published) => {
                let mut published = published.into_iter();
                for (count, reply) in replies {
                    // A task that no longer waits was cancelled; its objects are in the store all the same.
                    drop(reply.send(Ok(published.by_ref().take(count).collect())));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for (_, reply) in replies {
                    drop(reply.send(Err(Arc::clone(&error))));
                }
            }
        }
    }
}

/// Should publishing panic, those who wait are told (their senders are dropped) and the next one starts anew.
struct PanicGuard<'a>(&'a Mutex<Queue>);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Queue::default();
        }
    }
}

fn batch_length(waiting: &[(Vec<NewObject>, Reply)]) -> usize {
    let mut objects = 0;
    let fits = waiting.iter().take_while(|(members, _)| {
        objects += members.len();
        objects <= BATCH_OBJECTS_MAX
    });
    fits.count().max(1)
}
