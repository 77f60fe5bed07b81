//! `system-packages = unpack`: what builds lack is unpacked into the store, without root and without touching the machine.
//!
//! Apt, the sandbox, the overlay, the compiler and the loader are the machine's own; the packages are the tests', from a
//! repository in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pip_accel_tests::{
    AptRepository, BuiltFile, DebBuilder, DebCompression, SdistBuilder, TestEnv, TreeDigest, host, skip,
};

use crate::store_repair::corrupt;
use crate::support::{as_root_and_user, env, exit, lock_of};

const UNPACK: [&str; 2] = ["--system-packages", "unpack"];

/// A world whose builds want `pip-accel-test-one.h` and `-lpipacceltestone`, which packages of its own repository have.
struct Machine {
    env: TestEnv,
    repository: AptRepository,
}

fn triplet() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}

impl Machine {
    /// `None` where there is no apt.
    fn new(mut env: TestEnv) -> Option<Self> {
        if host::program("apt-get").is_none() || host::program("cc").is_none() {
            skip("there is no apt or no compiler here");
            return None;
        }
        let repository = AptRepository::new(&env.base().join("repository"));
        env.set("APT_CONFIG", repository.configuration());
        env.set("PIP_ACCEL_MAKE_INDEX", "no");
        let rules = "[header]\n\"pip-accel-test-one.h\" = \"libone-dev\"\n\"pip-accel-test-two.h\" = \"libtwo-dev\"\n";
        env.set("PIP_ACCEL_SYSTEM_PACKAGE_RULES", env.write("rules.toml", rules));
        Some(Self { env, repository })
    }

    /// A shared library made now.
    fn library(&self, source: &str, soname: &str, further: &[&str]) -> Vec<u8> {
        let folder = self.env.base().join("libraries");
        fs::create_dir_all(&folder).expect("the test's own");
        let (code, library) = (folder.join(format!("{soname}.c")), folder.join(soname));
        fs::write(&code, source).expect("the test's own");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&code).arg(format!("-Wl,-soname,{soname}"));
        let status = command.arg(format!("-L{}", folder.display())).args(further).status();
        assert!(status.expect("a compiler").success(), "{soname}");
        fs::read(library).expect("it was made")
    }

    /// `libone-dev`, whose library needs one of another package, which lies in `/lib` as some still do.
    fn with_packages(mut self) -> Self {
        let folder = format!("usr/lib/{}", triplet());
        let two = self.library("int two(void) { return 2; }", "libpipacceltesttwo.so.2", &[]);
        // As some of Debian's have one, which would end the search.
        let link = ["-l:libpipacceltesttwo.so.2", "-Wl,--enable-new-dtags,-rpath,$ORIGIN"];
        let one = self.library("int two(void); int one(void) { return 40 + two(); }", "libpipacceltestone.so.1", &link);
        let packages = [
            DebBuilder::new("libone-dev", "1:1.0-1~test1")
                .depends("libone1 (= 1.0)")
                .file("./usr/include/pip-accel-test-one.h", "int one(void);\n")
                .file("./usr/share/man/man3/one.3", "a manual")
                .file("./var/lib/one", "state")
                .symlink(&format!("./{folder}/libpipacceltestone.so"), "libpipacceltestone.so.1")
                .postinst("#!/bin/sh\ntouch /tmp/pip-accel-test-a-script-was-run\n"),
            DebBuilder::new("libone1", "1.0")
                .depends("libtwo2")
                .file(&format!("./{folder}/libpipacceltestone.so.1"), one)
                .compression(DebCompression::Zstd),
            DebBuilder::new("libtwo2", "2.0+x")
                .file(&format!("./lib/{}/private/libpipacceltesttwo.so.2", triplet()), two)
                .postinst(&format!(
                    "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/lib/{0}/libpipacceltesttwo.so.2 two \\\n  \
                     /usr/lib/{0}/private/libpipacceltesttwo.so.2 10\n",
                    triplet()
                ))
                .compression(DebCompression::Gzip),
        ];
        packages.iter().for_each(|package| drop(self.repository.add(package)));
        self
    }

    /// An sdist whose C code wants these headers, and the library.
    fn sdist(&self, name: &str, headers: &[&str]) -> BuiltFile {
        let includes: String = headers.iter().map(|header| format!("#include <pip-accel-test-{header}.h>\n")).collect();
        let source = format!(
            "#include <Python.h>\n{includes}\
             static PyObject *answer(PyObject *self, PyObject *none) {{ return PyLong_FromLong(one()); }}\n\
             static PyMethodDef methods[] = {{{{\"answer\", answer, METH_NOARGS, 0}}, {{0, 0, 0, 0}}}};\n\
             static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, \"_c\", 0, -1, methods}};\n\
             PyMODINIT_FUNC PyInit__c(void) {{ return PyModule_Create(&module); }}\n"
        );
        let build = format!(
            "import subprocess, sysconfig\n\
             target = 'src/{name}/_c' + sysconfig.get_config_var('EXT_SUFFIX')\n\
             subprocess.run(['cc', '-shared', '-fPIC', '-I' + sysconfig.get_path('include'), '_c.c', '-o', target,\n\
             \x20   '-lpipacceltestone'], check=True)\n"
        );
        SdistBuilder::simple(name, "1.0").file("_c.c", source).during_build(&build).build()
    }

    fn lock(&self, files: &[&BuiltFile]) {
        self.env.write("requirements.lock", lock_of(&self.env, files).text());
    }

    fn layers(&self) -> Vec<String> {
        self.env.object_names().into_iter().filter(|name| name.ends_with("-layer")).collect()
    }

    fn answer(&self) -> String {
        self.env.evaluate("import package._c", "package._c.answer()")
    }
}

/// What the build lacks is fetched and laid over `/usr`, its result runs although the machine has none of it, the second
/// time needs no network and no apt, and what it loads lives as long as it does.
#[test]
fn a_build_that_lacks_packages_is_made_without_root() {
    as_root_and_user(|env| {
        let Some(machine) = Machine::new(env).map(Machine::with_packages) else { return };
        machine.lock(&[&machine.sdist("package", &["one"])]);
        let output = machine.env.realize(&UNPACK).success();
        output
            .says("missing header pip-accel-test-one.h")
            .says("package==1.0: unpacked libone-dev, libone1, libtwo2 over /usr (3 new in the store")
            .says("1 built");
        assert_eq!(machine.answer(), "42");
        assert!(!Path::new("/usr/include/pip-accel-test-one.h").exists(), "the machine stays as it is");
        assert!(!Path::new("/tmp/pip-accel-test-a-script-was-run").exists(), "no script is run");
        machine.env.verify_clean();

        let shown = machine.env.run(["show", "package"]).success();
        let shown = shown.prints("refers to: libone1==1.0").prints("refers to: libtwo2==2.0+x");
        assert!(!shown.stdout.contains("refers to: libone-dev"), "{shown:?}");
        machine.env.run(["show", "libone-dev"]).success().prints("the Debian package libone-dev 1:1.0-1~test1 (all");

        fs::remove_dir_all(machine.env.venv()).expect("the test's own");
        fs::remove_dir_all(machine.env.base().join("repository")).expect("the test's own");
        machine.env.realize(&["--offline"]).success().says("1 from the store, 0 fetched, 0 built");
        for arguments in [&["--offline"][..], &["--offline", "--system-packages", "unpack"]] {
            machine.env.realize(arguments).success().never_mentions("unpacked");
        }
        assert_eq!(machine.answer(), "42");
    });
}

/// What an environment loads is kept as long as it stands, what was only built with goes, and all of it with the environment.
#[test]
fn layers_live_as_long_as_what_loads_them() {
    let Some(mut machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    machine.env.realize(&UNPACK).success();
    assert_eq!(machine.layers().len(), 3);
    machine.env.travel(90 * 86_400);
    machine.env.run(["gc"]).success();
    let names = machine.layers();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!names.iter().any(|name| name.contains("libone-dev")), "{names:?}");
    assert_eq!(machine.answer(), "42");
    // What was built with and is gone is had anew when it is built again.
    machine.env.run(["why", "libone1"]).success().prints("package==1.0");
    fs::remove_dir_all(machine.env.venv()).expect("the test's own");
    machine.env.travel(180 * 86_400);
    machine.env.run(["gc"]).success();
    assert_eq!(machine.layers(), Vec::<String>::new());
    machine.env.verify_clean();
}

/// A damaged layer is found; the database can be made anew from what lies there.
#[test]
fn layers_are_objects_like_all_others() {
    let Some(machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    machine.env.realize(&UNPACK).success();
    for entry in fs::read_dir(machine.env.store().join("db")).expect("the database's folder") {
        fs::remove_file(entry.expect("an entry").path()).expect("the test's own");
    }
    machine.env.run(["verify", "--rebuild-db"]).success();
    assert_eq!(machine.layers().len(), 3);
    machine.env.run(["show", "package"]).success().prints("refers to: libone1==1.0");
    assert_eq!(machine.answer(), "42");
    machine.env.verify_clean();
}

/// C1: a damaged layer, which nothing else in the store could be made of, is fetched and unpacked again from the same bytes; other bytes
/// of the same version, or none, leave it as it is.
#[test]
fn a_damaged_layer_is_unpacked_again() {
    as_root_and_user(|env| {
        let Some(mut machine) = Machine::new(env).map(Machine::with_packages) else { return };
        machine.lock(&[&machine.sdist("package", &["one"])]);
        machine.env.realize(&UNPACK).success();
        let library = layer_of(&machine, "libone1").join(format!("usr/lib/{}/libpipacceltestone.so.1", triplet()));
        let whole = fs::read(&library).expect("a library");
        corrupt(&library);
        machine.env.run(["verify"]).fails_with(exit::STORE_DAMAGED).prints("wrong-content");
        machine
            .env
            .run(["verify", "--repair", "--offline"])
            .fails_with(exit::STORE_DAMAGED)
            .prints("the network is off");
        machine.env.run(["verify", "--repair"]).success().prints("made anew").says("1 of 1 damage repaired");
        assert_eq!(fs::read(&library).expect("a library"), whole);
        assert_eq!(machine.answer(), "42");
        machine.env.verify_clean();

        corrupt(&library);
        machine.repository.add(&DebBuilder::new("libone1", "1.0").file("./usr/lib/other", "other bytes"));
        machine.env.travel(2 * 86_400);
        machine.env.run(["verify", "--repair"]).fails_with(exit::STORE_DAMAGED).prints("libone1");
        assert_ne!(fs::read(&library).expect("it is left"), whole);
        machine.env.leave_damaged();
    });
}

/// What finds its libraries only in this store is not sent elsewhere.
#[test]
fn what_loads_layers_is_not_bundled() {
    let Some(machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    machine.env.realize(&UNPACK).success();
    let python = machine.env.python().to_string_lossy().into_owned();
    let bundle = ["bundle", "requirements.lock", "--python", &python, "-o", "bundle.tar"];
    let output = machine.env.run(bundle).fails_with(exit::ERROR).explains();
    output.says("package==1.0 loads libraries of packages that were unpacked into this store (libone1, libtwo2)");
    assert!(!machine.env.project().join("bundle.tar").exists());
}

/// Files of the tree of the layer of `package`.
fn layer_of(machine: &Machine, package: &str) -> PathBuf {
    let name = machine.layers().into_iter().find(|name| name.contains(&format!("-{package}-")));
    machine.env.objects().join(name.expect("the layer is there"))
}

/// Packages of all compressions are read; what is for people, and what lies elsewhere, is left out; `/lib` is `/usr/lib`;
/// setuid goes; absolute links lead to where they would in a system.
#[test]
fn a_layer_has_what_builds_look_for() {
    let Some(mut machine) = Machine::new(env()) else { return };
    let mut names = Vec::new();
    for (number, compression) in DebCompression::ALL.into_iter().enumerate() {
        let name = format!("libpart{number}");
        machine.repository.add(
            &DebBuilder::new(&name, "1.0")
                .compression(compression)
                .file_of_mode(&format!("./usr/bin/tool{number}"), "#!/bin/sh\n", 0o4755)
                .hard_link(&format!("./usr/bin/other{number}"), &format!("./usr/bin/tool{number}"))
                .symlink(&format!("./lib/link{number}"), "/lib/other")
                .file(&format!("./usr/share/doc/{name}/copyright"), "free")
                .file(&format!("./usr/share/doc/{name}/changelog"), "long"),
        );
        names.push(name);
    }
    let header = DebBuilder::new("libone-dev", "1.0").depends(&names.join(", "));
    machine.repository.add(&header.file("./usr/include/pip-accel-test-one.h", ""));
    let build =
        "import subprocess\nfor number in range(4):\n    subprocess.run([f'/usr/bin/tool{number}'], check=True)\n";
    let source = "#include <Python.h>\n#include <pip-accel-test-one.h>\n\
                  static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, \"_c\"};\n\
                  PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&module); }\n";
    // The tools are looked for after the header was found to be missing.
    let build = format!(
        "import os\nif os.path.exists('/usr/include/pip-accel-test-one.h'):\n    {}",
        build.replace('\n', "\n    ")
    );
    let sdist = SdistBuilder::simple("package", "1.0").c_extension("package._c", source).during_build(&build).build();
    machine.lock(&[&sdist]);
    machine.env.realize(&UNPACK).success();
    machine.env.python_code("import package._c").success();
    for (number, name) in names.iter().enumerate() {
        use std::os::unix::fs::PermissionsExt as _;
        let layer = layer_of(&machine, name);
        let tool = layer.join(format!("usr/bin/tool{number}")).metadata().expect("the tool").permissions().mode();
        assert_eq!(tool & 0o7777, 0o555);
        assert!(layer.join(format!("usr/bin/other{number}")).is_file());
        assert_eq!(fs::read_link(layer.join(format!("usr/lib/link{number}"))).expect("the link"), Path::new("other"));
        assert!(layer.join(format!("usr/share/doc/{name}/copyright")).is_file());
        assert!(!layer.join(format!("usr/share/doc/{name}/changelog")).exists());
    }
    machine.env.verify_clean();
}

/// Round after round until all is there; what does not help ends it.
#[test]
fn rounds_go_on_until_nothing_is_missing() {
    let Some(mut machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one", "two"])]);
    let output = machine.env.realize(&UNPACK).fails_with(exit::ERROR).explains();
    output.says("package==1.0: unpacked libone-dev").says("Unable to locate package libtwo-dev");
    machine.repository.add(&DebBuilder::new("libtwo-dev", "1.0").file("./usr/include/elsewhere/x.h", ""));
    machine.env.travel(2 * 86_400);
    let output = machine.env.realize(&UNPACK).fails_with(exit::BUILD_FAILED).explains();
    output.says("unpacked were libtwo-dev, and the header pip-accel-test-two.h is still missing");
    machine.repository.add(&DebBuilder::new("libtwo-dev", "1.1").file("./usr/include/pip-accel-test-two.h", ""));
    machine.env.travel(4 * 86_400);
    machine.env.realize(&UNPACK).success().says("libtwo-dev");
    assert_eq!(machine.answer(), "42");
}

/// A project that looks for a header, goes on without it, and says which way it went; `with` is run where the header is there.
fn optional(with: &str) -> BuiltFile {
    let build = format!(
        "import pathlib\n\
         try:\n    FOUND = bool(open('/usr/include/maxminddb.h'))\nexcept OSError:\n    FOUND = False\n\
         if FOUND:\n    {with}\n\
         pathlib.Path('src/maxminddb/found.py').write_text(f'FOUND = {{FOUND}}\\n')\n"
    );
    SdistBuilder::simple("maxminddb", "1.0").during_build(&build).build()
}

/// What a build could use is unpacked as well, since nobody has to be asked; where it can't be had, or the build fails with it, the
/// build without it stays, and is not tried again.
#[test]
fn what_a_build_can_use_is_unpacked_too() {
    if Path::new("/usr/include/maxminddb.h").exists() {
        return skip("libmaxminddb-dev is installed here");
    }
    let found = |machine: &Machine| machine.env.evaluate("import maxminddb.found", "maxminddb.found.FOUND");
    let with_header = || DebBuilder::new("libmaxminddb-dev", "1.0").file("./usr/include/maxminddb.h", "");

    let Some(mut machine) = Machine::new(env()) else { return };
    machine.repository.add(&with_header());
    machine.lock(&[&optional("pass")]);
    machine.env.realize(&[]).success().says("built without libmaxminddb").never_mentions("once more");
    assert_eq!(found(&machine), "False", "only `unpack` does it");
    let Some(mut machine) = Machine::new(env()) else { return };
    machine.repository.add(&with_header());
    machine.lock(&[&optional("pass")]);
    let output = machine.env.realize(&UNPACK).success();
    output.says("once more with libmaxminddb-dev, which it can use").says("unpacked libmaxminddb-dev").says("1 built");
    assert_eq!(found(&machine), "True");
    fs::remove_dir_all(machine.env.venv()).expect("the test's own");
    machine.env.realize(&["--offline"]).success().says("1 from the store, 0 fetched, 0 built");
    assert_eq!(found(&machine), "True");

    for (package, with, words) in
        [(Some(with_header()), "raise SystemExit(1)", "exit"), (None, "pass", "Unable to locate")]
    {
        let Some(mut machine) = Machine::new(env()) else { return };
        machine.repository.add(&package.unwrap_or_else(|| DebBuilder::new("libother-dev", "1.0")));
        machine.lock(&[&optional(with)]);
        let output = machine.env.realize(&UNPACK).success();
        output.says("it stays without libmaxminddb-dev").says(words).says("1 built");
        assert_eq!(found(&machine), "False");
        fs::remove_dir_all(machine.env.venv()).expect("the test's own");
        machine.env.realize(&UNPACK).success().says("0 built").never_mentions("libmaxminddb");
    }
}

/// Without a network, and what is not here: said, with the packages.
#[test]
fn offline_takes_what_is_there() {
    let Some(mut machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    machine.env.set("PIP_ACCEL_SYSTEM_PACKAGES", "unpack");
    let output = machine.env.realize(&["--offline"]).fails_with(exit::OFFLINE).explains();
    output.says("libone-dev are not in the store and the network is off");
    machine.env.realize(&[]).success();
    // A new release of the same project finds the layers that another run unpacked.
    assert_eq!(machine.answer(), "42");
}

/// Nothing of a package that is not what the list says, or that breaks a rule, gets into the store, or anywhere else.
#[test]
fn hostile_packages_are_refused() {
    let outside = "/tmp/pip-accel-test-escaped";
    let evil = |package: DebBuilder| package.file("./usr/include/pip-accel-test-one.h", "");
    let new = || DebBuilder::new("libone-dev", "1.0");
    let deep = format!("./usr/{}x", "d/".repeat(40));
    for (number, (package, words)) in [
        (evil(new().file("../../../../../../tmp/pip-accel-test-escaped", "x")), "unsafe name"),
        (evil(new().file("/tmp/pip-accel-test-escaped", "x")), "unsafe name"),
        (evil(new().device("./usr/lib/null")), "is a device"),
        (evil(new().hard_link("./usr/lib/shadow", "/etc/shadow")), "unsafe name"),
        (evil(new().hard_link("./usr/lib/shadow", "./usr/lib/other")), "no earlier file"),
        (evil(new().symlink("./usr/lib/out", "/tmp").file("./usr/lib/out/pip-accel-test-escaped", "x")), "no folder"),
        (evil(new()).file("./usr/include/pip-accel-test-one.h", "twice"), "comes twice"),
        (evil(new().file("./usr/bomb", vec![0; 200 << 20])), "times its size"),
        (evil(new()).cut_off(300), "cut off"),
        (evil(new().file("./usr/a\x1b[2Jb", "")), "control characters"),
        (evil(new().file(&deep, "").file(&deep.replace("d/x", "d"), "")), "comes twice"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some(mut machine) = Machine::new(env()) else { return };
        machine.repository.add(&package);
        machine.lock(&[&machine.sdist("package", &["one"])]);
        let output = machine.env.realize(&UNPACK).fails_with(exit::ERROR).explains();
        assert!(output.stderr.contains(words), "{number} {words}: {output:?}");
        assert!(!Path::new(outside).exists(), "{number}");
        assert_eq!(machine.layers(), Vec::<String>::new(), "{number}");
        machine.env.verify_clean();
    }
}

/// A file that is not the one of apt's list is refused, whoever changed it.
#[test]
fn other_bytes_than_the_lists_say_are_refused() {
    let Some(mut machine) = Machine::new(env()) else { return };
    let honest = DebBuilder::new("libone-dev", "1.0").file("./usr/include/pip-accel-test-one.h", "int one(void);\n");
    let path = machine.repository.add(&honest);
    let mut bytes = honest.build();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).expect("the test's own");
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let output = machine.env.realize(&UNPACK).fails_with(exit::ERROR).explains();
    assert!(output.stderr.to_lowercase().contains("hash"), "{output:?}");
    assert_eq!(machine.layers(), Vec::<String>::new());
}

/// A link in place of `/usr` itself, and one that would lead the overlay elsewhere, are left out.
#[test]
fn links_at_the_top_of_a_package_lead_nowhere() {
    let Some(mut machine) = Machine::new(env()) else { return };
    let secret = machine.env.base().join("secret");
    fs::create_dir_all(secret.join("include")).expect("the test's own");
    let before = TreeDigest::of(&secret);
    let package = DebBuilder::new("libone-dev", "1.0")
        .symlink("./usr", &secret.to_string_lossy())
        .symlink("./lib", "/etc")
        .file("./usr/include/pip-accel-test-one.h", "int one(void) { return 1; }\n");
    machine.repository.add(&package);
    machine.lock(&[&machine.sdist("package", &["one"])]);
    // The library is missing still, and nobody knows who has it.
    machine.env.realize(&UNPACK).fails_with(exit::BUILD_FAILED);
    let layer = layer_of(&machine, "libone-dev");
    assert!(layer.join("usr").symlink_metadata().expect("usr").is_dir());
    assert_eq!(TreeDigest::of(&secret), before);
}

/// As root, a package that would take the place of what still runs as root in the sandbox is not seen there.
#[test]
fn no_package_gets_to_run_as_root() {
    if !host::is_root() {
        return skip("this is about root");
    }
    let Some(mut machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    let proof = machine.env.base().join("proof");
    let evil = DebBuilder::new("libtwo-dev", "1.0")
        .file_of_mode("./usr/bin/setpriv", format!("#!/bin/sh\ntouch {}\nexit 9\n", proof.display()), 0o755)
        .file("./usr/include/pip-accel-test-two.h", "");
    machine.repository.add(&evil);
    machine.lock(&[&machine.sdist("package", &["two", "one"])]);
    let output = machine.env.realize(&UNPACK).fails_with(exit::BUILD_FAILED);
    output.says("libtwo-dev would replace what root runs in a sandbox, and is left out").says("is still missing");
    assert!(!proof.exists());
}

/// Without a sandbox there is nothing to lay over `/usr`: variables lead to the packages, and that is said.
#[test]
fn without_an_overlay_variables_lead_to_the_packages() {
    let Some(machine) = Machine::new(env()).map(Machine::with_packages) else { return };
    machine.lock(&[&machine.sdist("package", &["one"])]);
    let output = machine.env.realize(&["--no-sandbox", "--system-packages", "unpack"]).success();
    output.says("can't be laid over /usr (there is no sandbox)");
    assert_eq!(machine.answer(), "42");
    machine.env.verify_clean();
}
