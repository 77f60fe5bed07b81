//! A model test: random operations on a store, killed at random checkpoints, against a model of the store in memory.
//!
//! The model knows which packages every environment and every pin has, which trees the store has and which of these
//! are damaged. It is compared with the disk after each operation. Failing sequences are kept in `model.seeds`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use pip_accel_tests::{BuiltFile, Output, SdistBuilder, TestEnv, WheelBuilder, host};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::operations::KILLED;
use crate::store_repair::{corrupt, tree};
use crate::support::{env, exit, lock_of};

/// Packages there are; the last one is built from an sdist.
const PACKAGES: u8 = 5;
/// Places of environments.
const PLACES: u8 = 3;
/// Longest sequence.
const STEPS_MAX: usize = 14;
/// Sequences in the ordinary suite: about twenty seconds.
const CASES: u32 = 8;
/// Sequences for `make torture`.
const CASES_THOROUGH: u32 = 400;
/// Set for `make torture`.
const THOROUGH: &str = "PIP_ACCEL_TEST_THOROUGH";

type Packages = BTreeSet<u8>;

#[derive(Debug, Clone)]
enum Step {
    Realize(u8, Packages),
    Delete(u8),
    Fetch(Packages),
    Pin(u8, Packages),
    Unpin(u8),
    Bundle(Packages),
    Unbundle,
    Gc,
    Corrupt(u8),
    Repair,
    Optimise,
    RebuildDatabase,
}

/// The model.
#[derive(Debug, Default)]
struct Model {
    environments: BTreeMap<u8, Packages>,
    pins: BTreeMap<String, Packages>,
    /// What the lock file that was fetched keeps.
    fetched: Packages,
    /// Trees in the store, needed or not.
    there: Packages,
    damaged: Packages,
    /// What the bundle on the disk holds.
    bundled: Option<Packages>,
}

impl Model {
    fn live(&self) -> Packages {
        let roots = self.environments.values().chain(self.pins.values()).chain([&self.fetched]);
        roots.flatten().copied().collect()
    }
}

fn packages() -> impl Strategy<Value = Packages> {
    proptest::collection::btree_set(0..PACKAGES, 1..=3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..PLACES, packages()).prop_map(|(place, packages)| Step::Realize(place, packages)),
        2 => (0..PLACES).prop_map(Step::Delete),
        1 => packages().prop_map(Step::Fetch),
        2 => (0..2_u8, packages()).prop_map(|(pin, packages)| Step::Pin(pin, packages)),
        1 => (0..2_u8).prop_map(Step::Unpin),
        1 => packages().prop_map(Step::Bundle),
        2 => Just(Step::Unbundle),
        4 => Just(Step::Gc),
        2 => (0..PACKAGES).prop_map(Step::Corrupt),
        2 => Just(Step::Repair),
        1 => Just(Step::Optimise),
        1 => Just(Step::RebuildDatabase),
    ]
}

/// A step, and the checkpoint at which it is killed before it is repeated.
fn steps() -> impl Strategy<Value = Vec<(Step, Option<u8>)>> {
    proptest::collection::vec((step(), proptest::option::weighted(0.4, 1..12_u8)), 1..=STEPS_MAX)
}

fn name(package: u8) -> String {
    format!("package-{package}")
}

fn file(package: u8) -> BuiltFile {
    let module = format!("package_{package}");
    let value = format!("NAME = '{module}', 'and more, so that the file is long enough to be shared with others'\n");
    if package + 1 == PACKAGES {
        return SdistBuilder::simple(&name(package), "1.0").build();
    }
    let shared = "SHARED = 'what every package has, long enough to be shared between all of them at once'\n";
    let wheel = WheelBuilder::simple(&name(package), "1.0").file(&format!("{module}/value.py"), value);
    wheel.file(&format!("{module}/shared.py"), shared).file(&format!("{module}/short.py"), "X = 1\n").build()
}

/// A store, and the model of it.
struct World {
    env: TestEnv,
    files: Vec<BuiltFile>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut env = env();
        // What stood there before is another test's subject.
        env.set("PIP_ACCEL_GENERATIONS", "0");
        env.run(["gc"]).success();
        Self { env, files: (0..PACKAGES).map(file).collect(), model: Model::default() }
    }

    fn lock(&self, name: &str, packages: &Packages) {
        let files: Vec<&BuiltFile> = packages.iter().map(|package| &self.files[usize::from(*package)]).collect();
        self.env.write(name, lock_of(&self.env, &files).text());
    }

    /// Runs a command that is killed at its n-th checkpoint, looks at what that leaves, and repeats it.
    fn run(&self, arguments: &[&str], kill_at: Option<u8>) -> Output {
        let mut command = self.env.command(arguments);
        if let Some(time) = kill_at {
            command.env("PIP_ACCEL_TEST_KILL_AT", format!("*:{time}"));
        }
        let output = self.env.finish(command);
        if output.code != KILLED || kill_at.is_none() {
            return output;
        }
        // Between two databases there is none; and of a damage nobody knows whether it was repaired or collected yet.
        if arguments != ["verify", "--rebuild-db"] && self.model.damaged.is_empty() {
            self.check_whole();
        }
        self.env.run(arguments)
    }

    /// Nothing is damaged but what was damaged on purpose.
    fn check_whole(&self) {
        if self.model.damaged.is_empty() {
            self.env.run(["verify"]).success();
            self.env.check_invariants();
        } else {
            self.env.run(["verify"]).fails_with(exit::STORE_DAMAGED);
        }
    }

    fn step(&mut self, step: &Step, kill_at: Option<u8>) {
        match step {
            Step::Realize(place, packages) => self.realize(*place, packages, kill_at),
            Step::Delete(place) => {
                if self.model.environments.remove(place).is_some() {
                    fs::remove_dir_all(self.env.project().join(format!("venv-{place}"))).expect("it is there");
                }
            }
            Step::Fetch(packages) => {
                self.lock("fetched.lock", packages);
                self.run(&["fetch", "fetched.lock"], kill_at).success();
                // An sdist is not built for that; where it was, the tree is kept.
                let has_tree = |package: &&u8| **package + 1 < PACKAGES || self.model.there.contains(package);
                self.model.fetched = packages.iter().filter(has_tree).copied().collect();
                self.model.there.extend(&self.model.fetched);
            }
            Step::Pin(pin, packages) => self.pin(*pin, packages, kill_at),
            Step::Unpin(pin) => {
                let pin = format!("pin-{pin}");
                if self.model.pins.remove(&pin).is_some() {
                    // Killed when it was done already: then there is none to remove any more.
                    let output = self.run(&["roots", "remove", &pin], kill_at);
                    assert!(output.code == 0 || kill_at.is_some(), "{output:?}");
                }
            }
            Step::Bundle(packages) => self.bundle(packages, kill_at),
            Step::Unbundle => {
                if let Some(packages) = self.model.bundled.clone() {
                    self.run(&["unbundle", "bundle.tar", "--pin", "bundled"], kill_at).success();
                    self.model.there.extend(&packages);
                    self.model.pins.insert("bundled".to_owned(), packages);
                }
            }
            Step::Gc => {
                self.run(&["gc", "--min-age", "0"], kill_at).success();
                self.model.there = self.model.live();
                self.model.damaged = &self.model.damaged & &self.model.there;
            }
            Step::Corrupt(package) => {
                if self.model.there.contains(package) && self.model.damaged.insert(*package) {
                    let module = format!("package_{package}");
                    let site = tree(&self.env, &name(*package)).join("site").join(&module);
                    let value = site.join("value.py");
                    corrupt(&if value.exists() { value } else { site.join("__init__.py") });
                }
            }
            Step::Repair => {
                let files = self.env.files();
                let files = files.to_str().expect("temporary directories are ASCII");
                self.run(&["verify", "--repair", "--no-index", "--find-links", files], kill_at).success();
                self.model.damaged.clear();
            }
            Step::Optimise => drop(self.run(&["optimise"], kill_at).success()),
            // It registers nothing that is damaged: that is another test's subject.
            Step::RebuildDatabase if !self.model.damaged.is_empty() || self.model.there.is_empty() => {}
            Step::RebuildDatabase => drop(self.run(&["verify", "--rebuild-db"], kill_at).success()),
        }
    }

    fn realize(&mut self, place: u8, packages: &Packages, kill_at: Option<u8>) {
        let venv = format!("venv-{place}");
        self.lock("realized.lock", packages);
        self.run(&["realize", "realized.lock", "--venv", &venv], kill_at).success();
        self.model.there.extend(packages);
        self.model.environments.insert(place, packages.clone());
    }

    fn pin(&mut self, pin: u8, packages: &Packages, kill_at: Option<u8>) {
        let pin = format!("pin-{pin}");
        self.lock("pinned.lock", packages);
        let output = self.run(&["roots", "pin", "pinned.lock", &pin], kill_at);
        if packages.is_subset(&self.model.there) {
            output.success();
            self.model.pins.insert(pin, packages.clone());
        } else {
            output.fails_with(exit::OFFLINE);
        }
    }

    fn bundle(&mut self, packages: &Packages, kill_at: Option<u8>) {
        self.lock("bundled.lock", packages);
        let output = self.run(&["bundle", "bundled.lock", "-o", "bundle.tar"], kill_at);
        if packages.is_disjoint(&self.model.damaged) {
            output.success();
            self.model.bundled = Some(packages.clone());
        } else {
            // What is there stays: wrong bytes never travel.
            assert_ne!(output.code, 0, "{output:?}");
        }
        self.model.there.extend(packages);
    }

    /// Compares the disk with the model.
    fn check(&self) {
        self.check_whole();
        let has = |package: &u8| {
            let label = format!("-package-{package}-1.0");
            let names = self.env.object_names();
            names.iter().any(|object| object.contains(&label) && self.env.objects().join(object).join("site").exists())
        };
        let there: Packages = (0..PACKAGES).filter(has).collect();
        assert_eq!(there, self.model.there, "trees in the store; right: the model");
        for (place, packages) in &self.model.environments {
            self.check_environment(*place, packages);
        }
        let listed = self.env.run(["roots"]).success().stdout;
        let pins: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_prefix("pin ")).collect();
        assert_eq!(pins, self.model.pins.keys().map(String::as_str).collect(), "pins; right: the model");
    }

    fn check_environment(&self, place: u8, packages: &Packages) {
        let library = self.env.project().join(format!("venv-{place}/lib"));
        let python = fs::read_dir(&library).expect("an environment").flatten().next().expect("a version").path();
        for package in 0..PACKAGES {
            let part = python.join("site-packages").join(format!("package_{package}"));
            assert_eq!(part.exists(), packages.contains(&package), "{}", part.display());
            let value = part.join("value.py");
            if value.exists() && !self.model.damaged.contains(&package) {
                let text = fs::read_to_string(&value).expect("it is text");
                assert!(text.contains(&format!("'package_{package}'")), "{}: {text}", value.display());
            }
        }
    }
}

fn config() -> ProptestConfig {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/model.seeds");
    ProptestConfig {
        cases: if host::variable(THOROUGH).is_some() { CASES_THOROUGH } else { CASES },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(seeds))),
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// A4, B1, B9, C1, D7: whatever is done in whatever order, and killed in between, the store is what the model says.
    #[test]
    fn the_store_is_what_its_model_says(steps in steps()) {
        let mut world = World::new();
        for (step, kill_at) in &steps {
            world.step(step, *kill_at);
            world.check();
        }
        world.step(&Step::Repair, None);
        world.step(&Step::Gc, None);
        world.check();
        world.env.verify_clean();
    }
}
