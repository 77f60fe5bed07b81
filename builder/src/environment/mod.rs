//! Environments: virtualenvs made of links into the store.
