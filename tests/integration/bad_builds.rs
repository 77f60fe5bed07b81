//! Builds that can't begin or fail: the rows of `docs/bad-input.md` about them. The environment that was there stays, and
//! nothing half built is in the store.

use pip_accel_tests::{BuiltFile, Output, SdistBuilder, TestEnv, TreeDigest, WheelBuilder, host, skip};

use crate::support::{env, exit, lock_of};

/// Realizes `lock` over an old environment and asserts the refusal and that it left no trace.
#[track_caller]
fn refused(env: &TestEnv, (lock, arguments): (&str, &[&str]), code: i32) -> Output {
    env.lock(&[&WheelBuilder::simple("old", "1.0").build()]);
    env.realize(&[]).success();
    let venv = TreeDigest::of(&env.venv());
    env.write("requirements.lock", lock);
    let output = env.realize(arguments).fails_with(code).explains();
    venv.assert_unchanged(&env.venv());
    env.python_code("import old").success();
    let is_built = |name: &String| name.contains("-package-1.0-") && !name.ends_with("-sdist");
    assert!(!env.object_names().iter().any(is_built), "{:?}", env.object_names());
    env.verify_clean();
    output
}

#[test]
fn offline_build_requirements_that_were_never_resolved_are_named() {
    let env = env();
    let sdist = SdistBuilder::simple("package", "1.0").build_requires("helper>=1").build_requires("other").build();
    env.add(&WheelBuilder::simple("helper", "1.0").build());
    let lock = lock_of(&env, &[&sdist]).text();
    refused(&env, (&lock, &["--offline"]), exit::OFFLINE)
        .says("the build requirements of `package==1.0` (helper>=1, other) were never resolved here")
        .says("pip-accel fetch");
    assert_eq!(env.builds(), 0);
}

/// What was resolved once is enough without a network.
#[test]
fn offline_build_requirements_that_were_resolved_are_used() {
    if host::uv().is_none() {
        return skip("PIP_ACCEL_TEST_UV is not set and there is no uv on PATH");
    }
    let env = env();
    let sdist = SdistBuilder::simple("package", "1.0").build_requires("helper").build();
    env.add(&WheelBuilder::simple("helper", "1.0").build());
    env.write("requirements.lock", lock_of(&env, &[&sdist]).text());
    env.run(["fetch", "requirements.lock", "--python", &env.python().to_string_lossy()]).success();
    assert_eq!(env.builds(), 0);
    env.realize(&["--offline"]).success().says("1 built");
}

#[test]
fn build_requirements_without_a_solution_are_refused_with_the_resolvers_words() {
    if host::uv().is_none() {
        return skip("PIP_ACCEL_TEST_UV is not set and there is no uv on PATH");
    }
    for requirement in ["no-such-project", "helper>=2"] {
        let env = env();
        env.add(&WheelBuilder::simple("helper", "1.0").build());
        let sdist = SdistBuilder::simple("package", "1.0").build_requires(requirement).build();
        let name = requirement.split([' ', '>']).next().unwrap_or_default();
        refused(&env, (&lock_of(&env, &[&sdist]).text(), &[]), exit::BUILD_FAILED)
            .says("the build requirements of `package==1.0` can't be resolved: the resolver found no solution")
            .says(name)
            .says("`#: build` lines");
        assert_eq!(env.builds(), 0);
    }
}

/// What an sdist writes there is a requirement of a release and nothing else: no option of the resolver, and no URL, in
/// which it would put its variables.
#[test]
fn build_requirements_that_are_none_never_reach_the_resolver() {
    for (requirement, says) in [
        ("helper\n--no-binary helper", "a build requirement can't be read"),
        ("--index-url https://evil.example/simple/", "a build requirement can't be read"),
        (
            "helper @ https://evil.example/${UV_DEFAULT_INDEX}.whl",
            "is a file or URL, and build requirements are releases",
        ),
    ] {
        let mut env = env();
        // Nothing that could be run: it is refused before.
        env.set("PIP_ACCEL_UV", "/nowhere/uv");
        let sdist = SdistBuilder::simple("package", "1.0").build_requires(requirement).build();
        refused(&env, (&lock_of(&env, &[&sdist]).text(), &[]), exit::BUILD_FAILED)
            .says("the build requirements of `package==1.0` can't be resolved: ")
            .says(says);
    }
}

fn two_that_need_each_other() -> (BuiltFile, BuiltFile) {
    let package = SdistBuilder::simple("package", "1.0").build_requires("helper").build();
    let helper = SdistBuilder::simple("helper", "1.0").build_requires("package").build();
    (package, helper)
}

#[test]
fn sdists_that_need_each_other_are_refused() {
    let env = env();
    let (package, helper) = two_that_need_each_other();
    let lock = lock_of(&env, &[&package, &helper])
        .line("#: build package==1.0")
        .line(format!("#:   helper==1.0 {}", helper.hash_option()))
        .line("#: build helper==1.0")
        .line(format!("#:   package==1.0 {}", package.hash_option()));
    let output = refused(&env, (&lock.text(), &[]), exit::BUILD_FAILED).says("remove --no-binary");
    let both =
        ["package", "helper"].map(|name| format!("building `{name}==1.0` needs a build of `{name}==1.0` itself"));
    assert!(both.iter().any(|sentence| output.stderr.contains(sentence)), "{output:?}");
    assert_eq!(env.builds(), 0);
}

/// The same without locked build requirements: uv waits for itself.
#[test]
fn a_resolver_that_waits_for_itself_is_ended() {
    if host::uv().is_none() {
        return skip("PIP_ACCEL_TEST_UV is not set and there is no uv on PATH");
    }
    let mut env = env();
    env.set("PIP_ACCEL_BUILD_SILENCE_TIMEOUT", "4");
    let (package, helper) = two_that_need_each_other();
    refused(&env, (&lock_of(&env, &[&package, &helper]).text(), &[]), exit::BUILD_FAILED)
        .says("can't be resolved: the resolver found no solution (it was ended after 4 s")
        .says("need each other");
}

#[test]
fn an_sdist_whose_own_metadata_contradict_its_file_name_is_refused() {
    for (name, version) in [("other", "1.0"), ("package", "2.0")] {
        let env = env();
        let sdist = SdistBuilder::simple("package", "1.0").tells(name, version).build();
        refused(&env, (&lock_of(&env, &[&sdist]).text(), &[]), exit::BUILD_FAILED)
            .says(&format!("sdist `package-1.0.tar.gz` says it is {name} {version}"));
        assert_eq!(env.builds(), 0);
    }
}

#[test]
fn c_code_that_does_not_compile_shows_what_the_compiler_says() {
    let env = env();
    let sdist =
        SdistBuilder::simple("package", "1.0").c_extension("package._c", "#include <no/such/header.h>\n").build();
    refused(&env, (&lock_of(&env, &[&sdist]).text(), &[]), exit::BUILD_FAILED)
        .says("the build of `package==1.0` failed: the build backend exited with status 1")
        .says("no/such/header.h")
        .says("pip-accel log package==1.0");
    env.run(["log", "package"]).success().prints("no/such/header.h");
}

/// Build requirements find their own files by their metadata, as the wheels of CMake and Ninja do, though folders are links.
#[test]
fn build_requirements_know_their_files() {
    let env = env();
    env.add(&WheelBuilder::simple("helper", "1.0").file("helper/data/bin/tool", "a tool").build());
    let build = "from importlib.metadata import distribution\n\
                 files = {str(file): file.locate() for file in distribution('helper').files}\n\
                 assert open(files['helper/data/bin/tool']).read() == 'a tool', files\n\
                 assert len(files) == len(distribution('helper').files), files\n\
                 assert all(file.locate().is_file() for file in distribution('helper').files), files\n";
    let sdist = SdistBuilder::simple("package", "1.0").build_requires("helper").during_build(build).build();
    env.write("requirements.lock", lock_of(&env, &[&sdist]).text());
    env.realize(&[]).success().says("1 built");
}
