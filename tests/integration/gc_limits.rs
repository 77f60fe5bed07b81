//! Collections that do not take everything: by age of use, by amount, by the size of the store, by the room on the disk.

use pip_accel_tests::{LockWriter, TestEnv, WheelBuilder, host};

use crate::support::{env, exit, lock_of};

/// Three packages of about a megabyte, fetched a thousand seconds after each other, and needed by nothing any more.
fn three_dead() -> TestEnv {
    let mut env = env();
    for (position, name) in ["old", "middle", "new"].into_iter().enumerate() {
        env.travel(1000 * position as u64);
        let wheel = WheelBuilder::simple(name, "1.0").file(&format!("{name}/data.bin"), noise(name)).build();
        env.write(&format!("{name}.lock"), lock_of(&env, &[&wheel]).text());
        env.run(["realize", &format!("{name}.lock"), "--venv", name]).success();
    }
    for name in ["old", "middle", "new"] {
        std::fs::remove_dir_all(env.project().join(name)).expect("it is there");
    }
    env.travel(3000);
    env
}

/// A megabyte that can't be packed and that no other name gives.
fn noise(name: &str) -> Vec<u8> {
    let seed = name.bytes().fold(1_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (0..262_144_u32).flat_map(|index| (index ^ seed).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Which of the three packages have an unpacked tree or a wheel in the store.
fn there(env: &TestEnv) -> Vec<&'static str> {
    let names = env.object_names();
    let is_there = |name: &&str| names.iter().any(|object| object.contains(&format!("-{name}-1.0")));
    ["old", "middle", "new"].into_iter().filter(is_there).collect()
}

/// B19: what was used within the time that `--older-than` gives is spared, and the report says how much that is.
#[test]
fn an_age_of_use_spares_what_is_newer() {
    let env = three_dead();
    let planned = env.run(["gc", "--dry-run", "--min-age", "0", "--older-than", "1500s"]).success();
    assert!(planned.stdout.contains("-old-1.0") && !planned.stdout.contains("-new-1.0"), "{planned:?}");
    env.run(["gc", "--min-age", "0", "--older-than", "1500s"]).success().says("2 that nothing needs are spared");
    assert_eq!(there(&env), ["new"]);
    env.verify_clean();
}

/// B16, B22: the least recently used go first, until enough is freed; the rest is whole.
#[test]
fn amounts_stop_a_collection() {
    let env = three_dead();
    env.run(["gc", "--min-age", "0", "--max-freed", "1K"]).success().says("freed");
    let left = there(&env);
    assert_eq!(left.last(), Some(&"new"));
    assert!(env.object_names().len() >= 4, "{:?}", env.object_names());

    let report = env.run(["gc", "--min-age", "0", "--max-size", "3M", "--json"]).success().json();
    assert!(report["report"]["freed_bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(there(&env), ["new"], "a megabyte fits twice: unpacked, and as wheel");
    env.verify_clean();

    // The whole disk can't be free, so everything goes that may.
    env.run(["gc", "--min-age", "0", "--min-free", "1024T"]).success();
    assert!(env.object_names().is_empty(), "{:?}", env.object_names());
}

#[test]
fn amounts_that_are_none_are_usage_errors() {
    let env = env();
    for arguments in [["gc", "--max-freed", "much"], ["gc", "--max-size", "1Q"], ["gc", "--older-than", "tomorrow"]] {
        env.run(arguments).fails_with(exit::USAGE).explains().says(arguments[2]);
    }
}

/// What was deleted is named with what having it again would cost.
#[test]
fn a_report_says_what_rebuilding_costs() {
    let env = three_dead();
    let plan = env.run(["gc", "--dry-run", "--min-age", "0"]).success();
    plan.clone().says("to have them again: ");
    let plan = env.run(["gc", "--dry-run", "--min-age", "0", "--json"]).success().json();
    let dead = plan["plan"]["dead"].as_array().unwrap();
    let kinds: std::collections::BTreeSet<&str> =
        dead.iter().map(|object| object["rebuild"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["download", "unpack"]);
}

/// B4: a disk that gets full while packages are fetched: what nothing needs goes by itself when `min-free` asks for it.
#[test]
fn a_disk_that_gets_full_is_tidied_while_fetching() {
    let env = env();
    let wheels: Vec<_> = ["first", "second"]
        .into_iter()
        .map(|name| WheelBuilder::simple(name, "1.0").file(&format!("{name}/data.bin"), noise(name)).build())
        .collect();
    for wheel in &wheels {
        env.add(wheel);
        env.write(&format!("{}.lock", wheel.name), LockWriter::offline().pin(wheel).text());
    }
    std::fs::create_dir(env.store()).unwrap();
    // Ten megabytes for the store: one package takes two of them, and eight are to stay free.
    let script = "set -u\nmount -t tmpfs -o size=10m none \"$PIP_ACCEL_STORE\" || exit 77\n\
        export PIP_ACCEL_GC_MIN_AGE=0\n\
        \"$0\" realize first.lock --venv first || exit 10\n\
        rm -r first\n\
        PIP_ACCEL_MIN_FREE=8M \"$0\" realize second.lock --venv second || exit 11\n\
        ls \"$PIP_ACCEL_STORE/store\" | grep -q -- -first-1.0 && exit 12\n\
        second/bin/python -c 'import second' || exit 13\n\
        \"$0\" verify || exit 14\n\
        PIP_ACCEL_MIN_FREE=9M \"$0\" realize first.lock --venv first || exit 15\n";
    let mut command = env.program("unshare");
    command.args(if host::is_root() { &["-m"][..] } else { &["-rm"] });
    command.args(["bash", "-c", script]).arg(env.binary());
    let output = env.finish(command);
    if output.code == 77 || output.code == 1 {
        return pip_accel_tests::skip("no tmpfs can be mounted here");
    }
    let output = output.success();
    assert!(output.stderr.contains("the disk gets full: 2 objects that nothing needs are deleted"), "{output:?}");
    assert!(output.stderr.contains("still less than 9.0 MiB (min-free) of the disk is free"), "{output:?}");
}
