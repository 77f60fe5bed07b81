//! Making a recipe, and remembering which recipe an sdist had last.

use std::collections::BTreeMap;

use pip_accel_schema::config_settings::ConfigSettings;
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
    (source, config): Told<'_>,
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
        config_settings: config.clone(),
        environment: BTreeMap::new(),
        layers: layers.digests(),
        sandbox_policy: sandbox_policy(session).to_owned(),
    }
}

/// An sdist, and what its backend is told.
pub(crate) type Told<'a> = (&'a Sha256Digest, &'a ConfigSettings);

fn key(session: &Session, (source, config): Told<'_>, locked: BuildLockOf<'_>) -> [u8; 32] {
    let key = memo_key((session.interpreter_identity(), sandbox_policy(session)), source, locked);
    // What is locked is constrained by nothing else.
    let constraints = if locked.is_some() { &[][..] } else { &session.options.build_constraints };
    with_settings(key, config, constraints)
}

/// The key of something remembered of a build, for one whose backend is told something, or whose build requirements the user
/// constrains.
pub(crate) fn with_settings(key: [u8; 32], config: &ConfigSettings, constraints: &[String]) -> [u8; 32] {
    if config.is_empty() && constraints.is_empty() {
        return key;
    }
    let mut encoder = Encoder::for_domain("pip-accel/build-settings-memo/1");
    encoder.bytes(&key).number(config.len() as u64);
    for (key, value) in config {
        encoder.text(key).text(value);
    }
    encoder.texts(constraints.iter());
    encoder.finish()
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

/// The recipe that an sdist had when it was last built for this interpreter, so told and with these locked build
/// requirements.
///
/// # Errors
/// The store's.
pub(crate) fn remembered_recipe(
    session: &Session,
    told: Told<'_>,
    locked: BuildLockOf<'_>,
) -> Result<Option<Recipe>, StoreError> {
    let value = session.store.memo_find(MEMO, &key(session, told, locked))?;
    Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Remembers the recipe of `source`.
pub(super) fn remember(
    session: &Session,
    (told, locked): (Told<'_>, BuildLockOf<'_>),
    recipe: &Recipe,
) -> Result<(), StoreError> {
    let value = serde_json::to_vec(recipe).expect("a recipe has no map with odd keys");
    session.store.memo_put(MEMO, &key(session, told, locked), &value)
}
