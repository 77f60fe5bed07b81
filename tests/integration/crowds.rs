//! Many processes at once on one store, left alone and killed at random: nothing fails, nothing that is needed is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use pip_accel_tests::{BuiltFile, SdistBuilder, TestEnv, WheelBuilder, host};

use crate::support::{env, lock_of};

/// How long the crowd is at work.
const CROWD: Duration = Duration::from_secs(60);
/// Processes that realize, that collect, and that verify.
const REALIZING: usize = 16;
const COLLECTING: usize = 4;
/// Rounds of kills in the ordinary suite.
const ROUNDS: u32 = 200;
/// For `make torture`: so many minutes instead.
const MINUTES: &str = "PIP_ACCEL_TEST_MINUTES";
/// Locks that share packages.
const LOCKS: usize = 6;
/// Packages that are built.
const SDISTS: usize = 3;

fn minutes() -> Option<Duration> {
    let minutes: u64 = host::variable(MINUTES)?.to_str()?.parse().ok()?;
    Some(Duration::from_secs(60 * minutes))
}

fn wheel(number: usize, version: usize) -> BuiltFile {
    let module = format!("wheel_{number}");
    let text = format!("VALUE = '{module} {version}, in a file that is long enough to be shared with others'\n");
    let wheel = WheelBuilder::simple(&format!("wheel-{number}"), &format!("{version}.0"));
    wheel.file(&format!("{module}/part.py"), text).build()
}

fn sdists() -> Vec<BuiltFile> {
    (0..SDISTS).map(|number| SdistBuilder::simple(&format!("built-{number}"), "1.0").build()).collect()
}

/// `lock-0` to `lock-5`, each with all sdists and three of the wheels; `base.lock` has the sdists alone.
fn write_locks(env: &TestEnv) {
    let sdists = sdists();
    env.write("base.lock", lock_of(env, &sdists.iter().collect::<Vec<_>>()).text());
    for lock in 0..LOCKS {
        let wheels: Vec<BuiltFile> = (0..3).map(|next| wheel((lock + next) % LOCKS, 1)).collect();
        env.write(&format!("lock-{lock}"), lock_of(env, &sdists.iter().chain(&wheels).collect::<Vec<_>>()).text());
    }
}

/// The parts of an environment are what its lock says, by reading them.
fn assert_parts(env: &TestEnv, venv: &str, lock: usize) {
    let library = env.project().join(venv).join("lib");
    let python = std::fs::read_dir(library).expect("an environment").flatten().next().expect("a version").path();
    for next in 0..3 {
        let module = format!("wheel_{}", (lock + next) % LOCKS);
        let part = python.join("site-packages").join(&module).join("part.py");
        let text = std::fs::read_to_string(&part).unwrap_or_else(|error| panic!("{}: {error}", part.display()));
        assert!(text.contains(&format!("'{module} 1,")), "{}: {text}", part.display());
    }
}

/// One of sixteen: an environment of its own that stays, and one that becomes another one all the time.
fn realize_until(env: &TestEnv, number: usize, end: Instant) -> usize {
    let base = format!("base-{number}");
    env.run(["realize", "base.lock", "--venv", &base]).success();
    let venv = format!("venv-{number}");
    let mut rounds = 0;
    while Instant::now() < end {
        let lock = (number + rounds) % LOCKS;
        env.run(["realize", &format!("lock-{lock}"), "--venv", &venv]).success();
        assert_parts(env, &venv, lock);
        if rounds % 5 == 4 {
            std::fs::remove_dir_all(env.project().join(&venv)).expect("it was made just now");
        }
        rounds += 1;
    }
    rounds
}

fn repeat_until(env: &TestEnv, arguments: &[&str], end: Instant) -> usize {
    let mut rounds = 0;
    while Instant::now() < end {
        env.run(arguments).success();
        rounds += 1;
    }
    rounds
}

/// A1, A7, B2, B3: sixteen realize locks that share packages while four collect without mercy and one verifies: nothing
/// fails, nothing live is lost, and each build ran once.
#[test]
fn a_crowd_of_all_kinds_gets_along() {
    let mut env = env();
    env.set("PIP_ACCEL_GENERATIONS", "0");
    write_locks(&env);
    // There has to be a store before one can be verified.
    env.run(["fetch", "base.lock"]).success();
    let (env, end) = (&env, Instant::now() + minutes().unwrap_or(CROWD));
    std::thread::scope(|scope| {
        let realizing: Vec<_> =
            (0..REALIZING).map(|number| scope.spawn(move || realize_until(env, number, end))).collect();
        for _ in 0..COLLECTING {
            scope.spawn(move || repeat_until(env, &["gc", "--min-age", "0"], end));
        }
        let verifying = scope.spawn(move || repeat_until(env, &["verify"], end));
        let rounds: usize = realizing.into_iter().map(|each| each.join().expect("it says above what failed")).sum();
        assert!(rounds >= REALIZING, "only {rounds} rounds");
        assert!(verifying.join().expect("it says above what failed") > 0);
    });
    assert_eq!(env.builds(), SDISTS, "a build ran more than once");
    for number in 0..REALIZING {
        let python = env.project().join(format!("base-{number}/bin/python"));
        let mut command = env.program(python);
        command.args(["-c", "import built_0, built_1, built_2"]);
        env.finish(command).success();
    }
    env.collect().success();
    env.verify_clean();
}

/// Numbers that differ from run to run, and can be had again from the first one.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What is killed.
const VICTIMS: [&[&str]; 12] = [
    &["realize", "lock-0", "--venv", "victim"],
    &["realize", "lock-1", "--venv", "victim"],
    &["rollback", "--venv", "victim"],
    &["gc", "--min-age", "0"],
    &["fetch", "lock-2"],
    &["bundle", "lock-3", "-o", "new.tar"],
    &["unbundle", "bundle.tar", "--pin", "bundled"],
    &["optimise"],
    &["verify", "--repair", "--offline"],
    &["roots", "pin", "base.lock", "pinned"],
    &["gc", "--min-age", "0", "--older-than", "0s"],
    &["detach", "wheel-1", "--venv", "victim"],
];

/// Keeps the store busy until it is told to stop.
fn make_load(env: &TestEnv, stop: &AtomicBool) {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        env.run(["realize", &format!("lock-{}", rounds % LOCKS), "--venv", "load"]).success();
        assert_parts(env, "load", rounds % LOCKS);
        env.run(["gc", "--min-age", "0"]).success();
        rounds += 1;
    }
}

/// Starts the victim, kills it somewhere in the time it usually takes, looks at the store and lets it run again.
fn kill_one(env: &TestEnv, arguments: &[&str], usual: &mut Duration, random: &mut Random) {
    let undisturbed = arguments[0] != "rollback" && arguments[0] != "detach";
    let started = Instant::now();
    let process = env.spawn(arguments);
    let moment = usual.as_micros() as u64 * random.below(110) / 100;
    // Nothing is waited for but the moment itself: the channel never receives.
    let (_keep, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_micros(moment)).is_err());
    process.signal(Signal::SIGKILL);
    let killed = process.wait();
    env.run(["verify"]).success();
    let started_again = Instant::now();
    let again = env.run(arguments);
    // There may be nothing to go back to, or no such package.
    assert!(again.code == 0 || !undisturbed, "{again:?}\nafter {:?}: {killed:?}", started.elapsed());
    assert!(!again.stderr.contains("panicked"), "{again:?}");
    *usual = (*usual + started_again.elapsed()) / 2;
}

/// A5, A7: two hundred processes of all kinds are killed at random moments while another one works: after each the store
/// is whole and the operation succeeds when it is repeated.
#[test]
fn killed_at_random_under_load() {
    let env = env();
    write_locks(&env);
    env.run(["bundle", "lock-4", "-o", "bundle.tar"]).success();
    for lock in 0..2 {
        env.run(["realize", &format!("lock-{lock}"), "--venv", "victim"]).success();
    }
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let mut usual = [Duration::from_millis(100); VICTIMS.len()];
    let (end, stop) = (minutes().map(|minutes| Instant::now() + minutes), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| make_load(&env, &stop));
        let mut rounds = 0;
        while !load.is_finished() && end.map_or(rounds < ROUNDS, |end| Instant::now() < end) {
            let victim = random.below(VICTIMS.len() as u64) as usize;
            kill_one(&env, VICTIMS[victim], &mut usual[victim], &mut random);
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        load.join().expect("it says above what failed");
    });
    env.run(["realize", "lock-5", "--venv", "victim", "--reattach"]).success();
    assert_parts(&env, "victim", 5);
    env.collect().success();
    env.verify_clean();
}
