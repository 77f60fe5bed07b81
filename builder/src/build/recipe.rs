//! Making a recipe, and remembering which recipe an sdist had last.

use std::collections::BTreeMap;

use pip_accel_schema::digest::{Sha256Digest, ValueDigest};
use pip_accel_schema::encode::Encoder;
use pip_accel_schema::name::{PackageName, PackageVersion};
use pip_accel_schema::recipe::{BuildInput, Recipe};
use pip_accel_store::StoreError;

use super::inputs::{LockedBuildRequirement, RequirementTrees};
use crate::layers::Layers;
use crate::sandbox::SANDBOX_POLICY;
use crate::session::{SandboxChoice, Session};

/// Namespace of the remembered recipes.
pub(crate) const MEMO: &str = "recipe/1";

/// What the lock says about the requirements of a build, sorted; `None` when it says nothing.
pub type BuildLockOf<'a> = Option<&'a [LockedBuildRequirement]>;

/// The policy as recipes record it.
#[must_use]
pub fn sandbox_policy(session: &Session) -> &'static str {
    policy_of(session.options.sandbox)
}

pub(crate) const fn policy_of(sandbox: SandboxChoice) -> &'static str {
    match sandbox {
        SandboxChoice::Bubblewrap => SANDBOX_POLICY,
        SandboxChoice::None => "none",
    }
}

/// The recipe of building `source` on `trees`, with `layers` over `/usr`.
pub(super) fn of(
    session: &Session,
    (name, version): (&PackageName, &PackageVersion),
    source: &Sha256Digest,
    (trees, layers): (&RequirementTrees, &Layers),
) -> Recipe {
    let mut build_inputs: Vec<BuildInput> = trees
        .objects()
        .map(|object| BuildInput {
            name: object.name.clone(),
            version: object.version.clone(),
            content: object.content_digest,
        })
        .collect();
    build_inputs.sort();
    Recipe {
        name: name.clone(),
        version: version.clone(),
        source: *source,
        interpreter: *session.interpreter_identity(),
        interpreter_label: session.python.interpreter.label(),
        build_inputs,
        config_settings: BTreeMap::new(),
        environment: BTreeMap::new(),
        layers: layers.digests(),
        sandbox_policy: sandbox_policy(session).to_owned(),
    }
}

fn key(session: &Session, source: &Sha256Digest, locked: BuildLockOf<'_>) -> [u8; 32] {
    memo_key((session.interpreter_identity(), sandbox_policy(session)), source, locked)
}

/// What the remembered recipe of an sdist depends on besides the sdist.
pub(crate) fn memo_key(
    (interpreter, policy): (&ValueDigest, &str),
    source: &Sha256Digest,
    locked: BuildLockOf<'_>,
) -> [u8; 32] {
    let mut encoder = Encoder::for_domain("pip-accel/recipe-memo/2");
    encoder.bytes(source.as_bytes()).bytes(interpreter.as_bytes()).text(policy);
    let Some(locked) = locked else {
        encoder.number(0);
        return encoder.finish();
    };
    encoder.number(1 + locked.len() as u64);
    for requirement in locked {
        encoder.text(requirement.name.as_str()).text(requirement.version.as_str());
        encoder.number(requirement.hashes.len() as u64);
        for hash in &requirement.hashes {
            encoder.bytes(hash.as_bytes());
        }
    }
    encoder.finish()
}

/// The recipe that `source` had when it was last built for this interpreter with these locked build requirements.
///
/// # Errors
/// The store's.
pub fn remembered_recipe(
    session: &Session,
    source: &Sha256Digest,
    locked: BuildLockOf<'_>,
) -> Result<Option<Recipe>, StoreError> {
    let value = session.store.memo_find(MEMO, &key(session, source, locked))?;
    Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Remembers the recipe of `source`.
pub(super) fn remember(
    session: &Session,
    (source, locked): (&Sha256Digest, BuildLockOf<'_>),
    recipe: &Recipe,
) -> Result<(), StoreError> {
    let value = serde_json::to_vec(recipe).expect("a recipe has no map with odd keys");
    session.store.memo_put(MEMO, &key(session, source, locked), &value)
}
