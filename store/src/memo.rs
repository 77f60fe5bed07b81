//! Answers worth remembering. All of them can be found again: losing one costs time only.

use crate::db;
use crate::error::StoreError;
use crate::store::{Access, Store};

impl Store {
    /// What was remembered under `key`.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn memo_get(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.read("look up a memo", |db| db::memo::get(db, namespace, key))
    }

    /// What this store or else a lower one remembers under `key`: for answers that are the same for every user.
    ///
    /// # Errors
    /// When the own database can't be read.
    pub fn memo_find(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.memo_get(namespace, key)? {
            return Ok(Some(value));
        }
        Ok(self.lower.iter().find_map(|lower| lower.note(lower.store.memo_get(namespace, key))))
    }

    /// Remembers `value` under `key`, over what was there. A read-only store silently remembers nothing.
    ///
    /// # Errors
    /// When the database can't be written.
    pub fn memo_put(&self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        self.database.write("write a memo", |db| db::memo::put(db, namespace, key, value, self.now()))
    }
}
