//! A lower store between its owner's commands and its users, with one of two processes stopped in the worst moment.

use std::path::Path;

use nix::sys::signal::Signal;
use pip_accel_tests::{Running, TestEnv, WheelBuilder};

use crate::lower_stores::{collectable, object_of, realized_by_owner, wheel};
use crate::store_lifecycle::wait_while_running;
use crate::store_repair::corrupt;
use crate::support::lock_of;

/// Starts the program so that it stops at the checkpoint, and waits until it has.
pub(crate) fn stopped_at(env: &TestEnv, arguments: &[&str], checkpoint: &str) -> Running {
    let record = env.write("checkpoints.txt", "");
    let mut process = start(env, arguments, &record, Some(checkpoint));
    let is_stopped = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    let id = process.id();
    let reached = wait_while_running(&mut process, || has(&record, checkpoint) && is_stopped(id));
    assert!(reached, "{arguments:?} never reaches {checkpoint}: {:?}", process.wait());
    process
}

fn start(env: &TestEnv, arguments: &[&str], record: &Path, stop_at: Option<&str>) -> Running {
    let mut command = env.command(arguments);
    command.env("PIP_ACCEL_TEST_CHECKPOINTS", record);
    command.envs(stop_at.map(|name| ("PIP_ACCEL_TEST_STOP_AT", name)));
    env.start(command)
}

fn has(record: &Path, checkpoint: &str) -> bool {
    std::fs::read_to_string(record).unwrap_or_default().lines().any(|line| line == checkpoint)
}

const REALIZE: [&str; 3] = ["realize", "requirements.lock", "--offline"];

/// B25, B2: a user has found an object of a lower store and not said so yet when its owner's collection is about to decide.
/// It waits for him, and keeps what he took.
#[test]
fn the_collection_waits_for_who_has_taken_and_not_said_so() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    collectable(&mut owner);
    let taker = stopped_at(&user, &REALIZE, "lower-taken");
    let record = owner.write("collection.txt", "");
    let mut collector = start(&owner, &["gc", "--min-age", "0"], &record, None);
    let waits = wait_while_running(&mut collector, || has(&record, "gate-waits") || has(&record, "gc-marked"));
    assert!(waits && !has(&record, "gc-marked"), "the collection has decided without him");
    taker.signal(Signal::SIGCONT);
    taker.wait().success();
    collector.wait().success();
    assert!(object_of(&owner, "package").is_some(), "{:?}", owner.object_names());
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
}

/// B2: the other way round. The collection has read what is needed and is about to mark: a user who comes then waits, finds
/// the object gone, and gets it elsewhere.
#[test]
fn who_comes_while_the_dead_are_marked_finds_nothing() {
    let Some((mut owner, user)) = realized_by_owner(&[&wheel()]) else { return };
    collectable(&mut owner);
    user.write("requirements.lock", lock_of(&user, &[&wheel()]).text());
    let collector = stopped_at(&owner, &["gc", "--min-age", "0"], "gc-gate-closed");
    let record = user.write("taking.txt", "");
    let mut taker = start(&user, &REALIZE, &record, None);
    let waits = wait_while_running(&mut taker, || has(&record, "gate-waits") || has(&record, "lower-taken"));
    assert!(waits && !has(&record, "lower-taken"), "he took what is about to go");
    collector.signal(Signal::SIGCONT);
    collector.wait().success();
    taker.wait().success();
    assert!(object_of(&owner, "package").is_none() && object_of(&user, "package").is_some());
    assert_eq!(user.evaluate("import package", "package.__version__"), "1.0");
}

/// C1, B25: what a process of another user works with is neither exchanged by a repair nor by `optimise`, nor taken out.
#[test]
fn repairs_and_sharing_leave_what_others_work_with() {
    let twin = "EQUAL = 'short'\n";
    let files = ["first", "second"].map(|name| {
        let file = format!("{name}/twin.py");
        WheelBuilder::simple(name, "1.0")
            .file(&file, twin)
            .file(&format!("{name}/own.py"), format!("NAME = '{}'\n", name.repeat(20)))
            .build()
    });
    let Some((owner, user)) = realized_by_owner(&[&files[0], &files[1]]) else { return };
    let damaged = object_of(&owner, "first").expect("the tree");
    let taker = stopped_at(&user, &REALIZE, "environment-written");
    corrupt(&damaged.join("site/first/own.py"));
    owner.run(["optimise"]).success().says("in use");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().expect("it is there"));
    let before = inode(&damaged);
    owner.run(["verify", "--repair", "--offline"]).fails_with(8).prints("used by a running process");
    assert_eq!(inode(&damaged), before, "its folder was exchanged");
    taker.signal(Signal::SIGCONT);
    taker.wait().success();
    owner.run(["verify", "--repair", "--offline"]).success();
    owner.run(["optimise"]).success();
    owner.verify_clean();
    assert_eq!(user.evaluate("import first.own, second", "second.__version__"), "1.0");
}
