//! Calling PEP 517 hooks inside the sandbox.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use pip_accel_schema::config_settings::values;
use serde_json::{Value, json};

use super::confinement::Confinement;
use super::failure::{BuildStatus, ending};
use super::inputs::RequirementTrees;
use super::place::{BuildPlace, remove_if_there};
use crate::realize::error::ObtainError;
use crate::realize::pin::Pin;
use crate::realize::schedule::Place;
use crate::sandbox::SandboxStatus;

/// Largest result of a hook; a list of requirements has a few hundred bytes.
const RESULT_BYTES_MAX: u64 = 1 << 20;

/// Most further requirements that a backend may ask for.
const REQUIREMENTS_MAX: usize = 1000;

/// One hook of PEP 517.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// `get_requires_for_build_wheel`.
    Requires,
    /// `build_wheel`.
    BuildWheel,
}

impl Hook {
    const fn name(self, is_editable: bool) -> &'static str {
        match (self, is_editable) {
            (Self::Requires, false) => "get_requires_for_build_wheel",
            (Self::Requires, true) => "get_requires_for_build_editable",
            (Self::BuildWheel, false) => "build_wheel",
            (Self::BuildWheel, true) => "build_editable",
        }
    }
}

/// What the backend wants besides `build-system.requires`.
pub(super) async fn required_by_backend(
    place: &BuildPlace<'_>,
    trees: &RequirementTrees,
) -> Result<Vec<String>, ObtainError> {
    let value = run(place, trees, (Hook::Requires, 0)).await?;
    let texts = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) if items.len() <= REQUIREMENTS_MAX => {
            items.into_iter().map(|item| item.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    };
    texts.ok_or_else(|| {
        place.failure(BuildStatus::BadResult, "get_requires_for_build_wheel gave no list of texts".to_owned())
    })
}

/// What the backend is told: a text for each key, or a list where there are several values.
fn told(pin: &Pin) -> Value {
    let value = |text: &str| match values(text).collect::<Vec<_>>().as_slice() {
        [only] => json!(only),
        several => json!(several),
    };
    pin.config_settings.iter().map(|(key, text)| (key.clone(), value(text))).collect::<serde_json::Map<_, _>>().into()
}

/// Runs `hook` on the build environment of `trees` (the `number`-th of this build) and gives its value.
pub(super) async fn run(
    place: &BuildPlace<'_>,
    trees: &RequirementTrees,
    (hook, number): (Hook, usize),
) -> Result<Value, ObtainError> {
    let session = &place.engine.session;
    let mut spec = place.spec(trees, number)?;
    let arguments = match hook {
        Hook::Requires => Vec::new(),
        Hook::BuildWheel => vec![place.inner("out")],
    };
    let backend = &place.sdist.build_system;
    let job = json!({
        "source": place.inner_source(),
        "backend": backend.backend,
        "backend_path": backend.backend_path,
        "hook": hook.name(place.pin.editable().is_some()),
        "arguments": arguments,
        "config_settings": told(place.pin),
    });
    let result_path = place.build().join("result.json");
    place.write(&place.build().join("job.json"), job.to_string().as_bytes())?;
    remove_if_there(&result_path).map_err(place.io_error(&result_path))?;
    spec.argv.extend([place.inner("job.json").into(), place.inner("result.json").into()]);
    let confinement = Confinement::of(session)
        .await
        .map_err(|source| ObtainError::NoSandbox { pin: place.pin.to_string(), source: Arc::new(source) })?;
    let permit = place.engine.permits.acquire(Place::Sandbox).await;
    // The hooks before it only ask; a fetch runs them too.
    if matches!(hook, Hook::BuildWheel) {
        place.begin()?;
        confinement.read_ahead(session);
    }
    let mut sink = place;
    let ran = confinement.run_traced(&spec, &mut sink, (place.engine.cancel().signal(), session.options.trace)).await;
    let (outcome, traced) = ran.map_err(|source| {
        place.close_log(&source.to_string());
        Confinement::failure(session, place.pin, source)
    })?;
    drop(permit);
    place.count_time(outcome.duration);
    place.trace.take(session, hook, traced);
    check_status(place, &outcome.status)?;
    read_result(place, &result_path)
}

fn check_status(place: &BuildPlace<'_>, status: &SandboxStatus) -> Result<(), ObtainError> {
    match status {
        SandboxStatus::Exited { code: 0 } => Ok(()),
        SandboxStatus::Cancelled => {
            place.close_interrupted_log();
            Err(ObtainError::Cancelled { pin: place.pin.to_string() })
        }
        status => Err(place.failure(BuildStatus::Ended(*status), ending(status, "the build backend"))),
    }
}

/// Reads what the runner wrote; the build may have put anything there instead.
fn read_result(place: &BuildPlace<'_>, path: &Path) -> Result<Value, ObtainError> {
    let bad = |reason: &str| place.failure(BuildStatus::BadResult, reason.to_owned());
    let regular = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    if !regular {
        return Err(bad("it left no result"));
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(place.io_error(path))?;
    match file.take(RESULT_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) => {}
        Err(_) => return Err(bad("its result can't be read")),
    }
    let mut result: Value = serde_json::from_str(&text).map_err(|_| bad("its result is no JSON"))?;
    Ok(result.get_mut("value").map_or(Value::Null, Value::take))
}
