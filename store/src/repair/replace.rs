//! Publishing an object that is in the store, and damaged: the new tree takes the place of the old one.

use std::collections::HashMap;

use crate::db;
use crate::db::object::VALID;
use crate::error::StoreError;
use crate::fs_ops;
use crate::lease::Lease;
use crate::lock;
use crate::publish::{Sealable, protect, references_of, share};
use crate::store::{Durability, Store};
use crate::swap::Swapped;

impl Lease {
    /// Puts a sealed and synced tree in the place of the damaged object with its id, and claims that. Where its content
    /// is another one than the registered, the row says so from the same transaction on.
    pub(crate) fn replace(&self, store: &Store, mut object: Sealable) -> Result<(), StoreError> {
        let users = store.hold_users_off()?;
        let publish = lock::lock_exclusive(&store.layout().publish_lock())?;
        let beside = store.move_beside_objects(object.tree.path())?;
        object.tree.set_published();
        store.checkpoint("replace-beside");
        let replaced = store.database.write("replace an object", |db| {
            let found = db::object::find_any_state(db, &object.id)?.filter(|found| found.state == VALID);
            let found = found.ok_or(StoreError::MissingObject(object.id))?;
            let known = db::object::find_valid(db, store.layout(), &object.id)?;
            let known = known.map(|(_, known)| known.content_digest);
            let changed = known != Some(object.record.content_digest);
            match store.exchange(db, (found.row, &found.path), &beside, &users)? {
                Swapped::Done => {}
                Swapped::InUse => return Err(StoreError::InUse(object.id).into()),
                Swapped::Gone => return Err(StoreError::MissingObject(object.id).into()),
            }
            let references = references_of(db, &object, &HashMap::new())?;
            if changed {
                db::object::write_pending(db, &object.record, &object.id, Some(found.row), store.now())?;
                db::object::make_valid(db, found.row)?;
            }
            db::object::set_references(db, found.row, &references)?;
            self.claim_in(db, found.row)?;
            Ok((found.row, changed))
        });
        drop(publish);
        drop(users);
        store.checkpoint("replace-exchanged");
        // The old tree, or the new one where it could not be exchanged.
        let discarded = store.discard(&beside);
        let (row, changed) = replaced?;
        discarded?;
        if store.shared.durability == Durability::Full {
            fs_ops::sync_path(&store.layout().objects())?;
        }
        self.hold([row]);
        store.damaged.done(&object.id, changed.then_some(object.record.content_digest));
        share(store, &object);
        if store.is_protecting {
            protect(store, &object);
        }
        Ok(())
    }
}
