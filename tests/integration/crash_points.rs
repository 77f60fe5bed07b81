//! Every operation is killed at every checkpoint it has: what stands there is the old state or the new one, the store is
//! whole after the next start, and the operation succeeds when it is repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pip_accel_tests::{Output, SavedState, TestEnv, host};

use crate::operations::{KILLED, Operation, When, all};

/// Set for `make torture`: every arrival at a checkpoint counts, not only the first.
const THOROUGH: &str = "PIP_ACCEL_TEST_THOROUGH";

/// The checkpoints in the code: the texts that a function `checkpoint` or `reach` is called with.
fn in_the_code() -> BTreeSet<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut names = BTreeSet::new();
    for source in ["store/src", "builder/src"] {
        collect(&top.join(source), &mut names);
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name() != Some("tests".as_ref()) {
            collect(&path, names);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("it is text");
            for call in ["checkpoint(\"", "reach(\""] {
                names.extend(text.split(call).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
}

/// Runs the operation as it is; gives how often it reached which checkpoint.
fn recorded(env: &TestEnv, operation: &Operation) -> BTreeMap<String, usize> {
    let record = env.base().join("checkpoints.txt");
    drop(std::fs::remove_file(&record));
    let mut command = env.command(operation.arguments);
    command.env("PIP_ACCEL_TEST_CHECKPOINTS", &record);
    let output = env.finish(command);
    assert!([0, operation.code].contains(&output.code), "{}: {output:?}", operation.name);
    let mut reached = BTreeMap::new();
    for name in std::fs::read_to_string(&record).unwrap_or_default().lines() {
        *reached.entry(name.to_owned()).or_insert(0) += 1;
    }
    reached
}

fn killed_at(env: &TestEnv, operation: &Operation, checkpoint: &str, time: usize) -> Output {
    let mut command = env.command(operation.arguments);
    command.env("PIP_ACCEL_TEST_KILL_AT", format!("{checkpoint}:{time}"));
    env.finish(command)
}

fn walk(operation: &Operation) -> BTreeSet<String> {
    let Some(env) = (operation.prepare)() else {
        host::skip(&format!("{} can't be had here", operation.name));
        return BTreeSet::new();
    };
    let saved = SavedState::save(&env);
    let reached = recorded(&env, operation);
    (operation.check)(&env, When::Done);
    let thorough = host::variable(THOROUGH).is_some();
    for (checkpoint, times) in &reached {
        for time in 1..=if thorough { *times } else { 1 } {
            let context = format!("{} killed at {checkpoint} ({time})", operation.name);
            saved.restore();
            let killed = killed_at(&env, operation, checkpoint, time);
            // Threads meet the later ones in another order, and sometimes less often.
            assert!(killed.code == KILLED || time > 1, "{context}: it lives on\n{killed:?}");
            operation.look(&env, &context);
            (operation.check)(&env, When::Ended);
            let again = env.run(operation.arguments);
            assert!([0, operation.code].contains(&again.code), "{context}: not when repeated\n{again:?}");
            (operation.check)(&env, When::Done);
            operation.look_in_the_end(&env);
        }
    }
    reached.into_keys().collect()
}

/// A4, A5, B17, E14: each operation that writes, killed at each of its checkpoints; and no checkpoint in the code is one
/// that no operation reaches.
#[test]
fn killed_at_each_checkpoint() {
    let known = in_the_code();
    assert!(known.len() > 40, "the checkpoints are not found: {known:?}");
    let operations = all();
    let half = operations.len() / 2;
    let reached: BTreeSet<String> = std::thread::scope(|scope| {
        let halves = [&operations[..half], &operations[half..]]
            .map(|some| scope.spawn(move || some.iter().flat_map(walk).collect::<BTreeSet<_>>()));
        halves.into_iter().flat_map(|half| half.join().expect("it says above what is wrong")).collect()
    });
    let mut missed: BTreeSet<&String> = known.difference(&reached).collect();
    // Reached only where two processes meet (`lower_races`).
    missed.retain(|name| *name != "gate-waits");
    if !host::is_root() {
        missed.retain(|name| *name != "publish-one-protected");
    }
    assert!(missed.is_empty(), "no operation reaches {missed:?}");
}
