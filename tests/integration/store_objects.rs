//! What becomes an object and what never does, whatever a line, an archive or a build delivers; and what objects that
//! refer to each other live by (scenarios A9, B7, B8, C7, C8).
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use pip_accel_tests::index_server::{ALWAYS, Fault, IndexServer};
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder};

use crate::index_support::content;
use crate::store_lifecycle::sqlite;
use crate::support::{as_root_and_user, env, exit, lock_of};

/// Modification time of everything in an object: 1980-01-01.
const OBJECT_MTIME: i64 = 315_532_800;
/// Objects of a chain; more than a recursion would bear is not needed to see one, more than a transaction takes is.
const CHAIN: usize = 500;

/// A9: a reader that stops short or fails in the middle leaves no object, no temporary file, and what was there before.
#[test]
fn a_reader_that_fails_leaves_nothing() {
    let wheel = WheelBuilder::simple("package", "1.0").file("package/noise.bin", content(1_000_000)).build();
    let path = format!("/files/{}", wheel.file_name);
    let size = wheel.bytes.len() as u64;
    for (fault, code) in [
        (Fault::DropAfter { bytes: size / 2, times: ALWAYS }, exit::ERROR),
        (Fault::Truncated { bytes: size / 2, times: ALWAYS }, exit::LOCK_REFUSED),
        (Fault::WrongBytes { times: ALWAYS }, exit::LOCK_REFUSED),
        (Fault::Stall { bytes: size / 2, times: ALWAYS }, exit::ERROR),
    ] {
        let mut env = env();
        env.lock(&[&WheelBuilder::simple("old", "1.0").build()]);
        env.realize(&[]).success();
        let before = env.object_names();
        env.add(&wheel);
        let server = IndexServer::start(&env.files()).with_fault(&path, Fault::IgnoreRange);
        server.add_fault(&path, fault);
        let lock = LockWriter::new().line(format!("--index-url {}", server.index_url())).pin(&wheel);
        env.write("requirements.lock", lock.text());
        env.set("PIP_ACCEL_TIMEOUT", "1");
        env.realize(&[]).fails_with(code).explains().says("package");
        assert_eq!(env.object_names(), before);
        env.verify_clean();
        env.python_code("import old").success();
    }
}

/// A9: the same for the readers of archives: a member whose bytes contradict its checksum, an archive that ends early.
#[test]
fn an_archive_that_fails_in_the_middle_leaves_nothing() {
    let noise = content(300_000);
    let wheel = WheelBuilder::simple("package", "1.0").file("package/noise.bin", &noise).build();
    let at = wheel.bytes.windows(64).position(|window| window == &noise[200_000..200_064]);
    let at = at.expect("noise can't be deflated and is stored as it is");
    let mut flipped = wheel.clone();
    flipped.bytes[at] ^= 1;
    let sdist = SdistBuilder::simple("package", "1.0").file("src/package/noise.bin", &noise).build();
    for file in [flipped, wheel.truncated(wheel.bytes.len() - 100), sdist.truncated(sdist.bytes.len() / 2)] {
        let env = env();
        env.lock(&[&file]);
        env.realize(&[]).fails_with(exit::ERROR).explains().says("package");
        assert!(env.object_names().iter().all(|name| !env.objects().join(name).join("site").exists()));
        assert!(!env.venv().exists());
        env.verify_clean();
    }
}

/// Row numbers of the trees (not the sources) of these projects, in the order of the names.
pub(crate) fn rows(env: &TestEnv, names: &[&str]) -> Vec<String> {
    let answer = sqlite(env, "SELECT name, id FROM object WHERE kind <> 'source'");
    let row = |name: &&str| {
        let (_, after) = answer.split_once(&format!("('{name}', ")).unwrap_or_else(|| panic!("{name}: {answer}"));
        after.split(')').next().unwrap_or_default().to_owned()
    };
    names.iter().map(row).collect()
}

/// Objects and their edges as a store has them whose packages refer to each other.
pub(crate) fn refer(env: &TestEnv, edges: &[(&String, &String)]) {
    let values: Vec<String> = edges.iter().map(|(from, to)| format!("({from}, {to})")).collect();
    sqlite(env, &format!("INSERT INTO reference (referrer, reference) VALUES {}", values.join(", ")));
}

/// B7: an object that refers to itself and two that refer to each other live while a root names one of them, and go.
#[test]
fn rings_of_objects_are_collected() {
    let env = env();
    let files = ["self", "one", "two"].map(|name| WheelBuilder::simple(name, "1.0").build());
    env.lock(&files.iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    let rows = rows(&env, &["self", "one", "two"]);
    let [own, one, two] = rows.as_slice() else { panic!("{rows:?}") };
    refer(&env, &[(own, own), (one, two), (two, one), (two, own)]);
    env.lock(&[&files[1]]);
    env.realize(&[]).success();
    env.collect().success();
    for name in ["self", "one", "two"] {
        assert!(env.object_names().iter().any(|path| path.contains(&format!("-{name}-1.0"))), "{name} is gone");
    }
    std::fs::remove_dir_all(env.venv()).unwrap();
    env.collect().success().prints("-self-1.0").prints("-one-1.0").prints("-two-1.0");
    assert_eq!(env.object_names(), Vec::<String>::new());
    env.verify_clean();
}

/// B8: a chain of 500 referrers lives by the root of its last and goes as a whole, the referrers no later than what
/// they refer to: whenever the collection is looked at, no object that is there lacks what it needs.
#[test]
fn a_chain_of_referrers_lives_and_dies_as_one() {
    let env = env();
    let names: Vec<String> = (0..CHAIN).map(|index| format!("link-{index:03}")).collect();
    let files: Vec<BuiltFile> = names.iter().map(|name| WheelBuilder::simple(name, "1.0").build()).collect();
    env.lock(&files.iter().collect::<Vec<_>>());
    env.realize(&[]).success();
    let rows = rows(&env, &names.iter().map(String::as_str).collect::<Vec<_>>());
    refer(&env, &rows.windows(2).map(|pair| (&pair[1], &pair[0])).collect::<Vec<_>>());
    env.lock(&[files.last().unwrap()]);
    env.realize(&[]).success();
    env.collect().success();
    let trees = || env.object_names().iter().filter(|name| env.objects().join(name).join("site").is_dir()).count();
    assert_eq!(trees(), CHAIN);
    env.verify_clean();
    std::fs::remove_dir_all(env.venv()).unwrap();
    let plan = env.run(["gc", "--dry-run", "--min-age", "0", "--json"]).success().json();
    let dead = plan["plan"]["dead"].as_array().unwrap().len();
    let report = env.run(["gc", "--min-age", "0", "--json"]).success().json();
    assert_eq!(report["report"]["deleted"].as_array().unwrap().len(), dead);
    assert_eq!((env.object_names(), &report["report"]["left"]), (Vec::new(), &serde_json::json!([])));
    assert_eq!(sqlite(&env, "SELECT count(*) FROM reference").trim(), "[(0,)]");
    env.verify_clean();
}

/// Python code that gives the member `name` of the wheel these mode bits, whatever the backend wanted.
fn with_member_mode(name: &str, mode: u32) -> String {
    format!(
        "import zipfile\nwrite = zipfile.ZipFile.writestr\n\
         def changed(self, member, data, *more):\n    if member.filename == {name:?}: member.external_attr = {mode} << 16\n\
         \x20   return write(self, member, data, *more)\nzipfile.ZipFile.writestr = changed\n"
    )
}

/// Python code that puts something else in the place of the wheel when it is written.
fn instead_of_wheel(code: &str) -> String {
    let indented: String = code.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "import os, socket, zipfile\nclose = zipfile.ZipFile.close\n\
         def changed(self):\n    path = self.filename\n    was_open = self.fp is not None\n    close(self)\n    if not was_open: return\n{indented}\
         zipfile.ZipFile.close = changed\n"
    )
}

/// C7: members of a built wheel that are no files are refused, and so are wheels that are none; nobody waits for a pipe.
#[test]
fn special_files_of_a_build_are_refused() {
    let (fifo, socket, device) = (0o010_644, 0o140_644, 0o020_644);
    let members = [fifo, socket, device].map(|mode| with_member_mode("odd/odd.bin", mode));
    let wheels = [
        "os.remove(path); os.mkfifo(path)",
        "os.remove(path); os.chdir(os.path.dirname(path)); socket.socket(socket.AF_UNIX).bind(os.path.basename(path))",
        "os.rename(path, path + '.old'); os.symlink(path + '.old', path)",
        "os.remove(path); os.mkdir(path)",
    ]
    .map(instead_of_wheel);
    for code in members.iter().chain(&wheels) {
        as_root_and_user(|env| {
            let sdist = SdistBuilder::simple("odd", "1.0").file("src/odd/odd.bin", "x").during_build(code).build();
            env.lock(&[&sdist]);
            env.realize(&[]).fails_with(exit::BUILD_FAILED).explains().says("odd");
            assert!(!env.venv().exists());
            assert!(env.object_names().iter().all(|name| !env.objects().join(name).join("site").exists()));
            env.verify_clean();
        });
    }
}

/// C7: what a build can't make at all: a device, and a file that gives away its owner's rights. Either is refused to it
/// or means nothing; what else it leaves in its folder is gone with it.
#[test]
fn odd_files_of_a_build_become_plain_ones_or_nothing() {
    let code = "import os, socket, stat\n\
        def attempt(what):\n    try: what()\n    except OSError as error: print('refused', error)\n\
        attempt(lambda: os.mknod('device', 0o666 | stat.S_IFCHR, os.makedev(1, 3)))\n\
        os.mkfifo('src/pipe')\nos.remove('src/pipe')\nos.mkfifo('left-behind')\n\
        socket.socket(socket.AF_UNIX).bind('left-socket')\n\
        open('setuid', 'w').close()\nattempt(lambda: os.chmod('setuid', 0o6755))\n\
        os.chmod('src/odd/__init__.py', 0o666)\nos.chmod('src/odd', 0o777)\n";
    let modes = with_member_mode("odd/tool", 0o106_777);
    as_root_and_user(|env| {
        let sdist = SdistBuilder::simple("odd", "1.0").file("src/odd/tool", "#!/bin/sh\necho ran\n");
        env.lock(&[&sdist.during_build(&format!("{code}{modes}")).build()]);
        env.realize(&[]).success();
        let tool = env.site_packages().join("odd/tool");
        assert_eq!(tool.metadata().unwrap().permissions().mode() & 0o7777, 0o555);
        env.finish(env.program(&tool)).success().prints("ran");
        assert_canonical(&env);
        env.verify_clean();
    });
}

/// C8: extended attributes, access lists and other owners. A build in the sandbox can set no attribute, one without can,
/// on the very file it delivers; that file belongs to the build's user, as root's builds have one of their own; and the
/// folders of the store hand an access list down to everything that is made in them. Nothing of it reaches an object.
#[test]
fn attributes_lists_and_owners_do_not_reach_objects() {
    let code = instead_of_wheel(
        "try: os.setxattr(path, 'user.from-the-build', b'x'); print('attribute set')\n\
         except OSError as error: print('attribute refused by', os.getuid())",
    );
    for (arguments, word) in [(&[][..], "attribute refused by 1000"), (&["--no-sandbox"], "attribute set")] {
        as_root_and_user(|env| {
            let wheel = WheelBuilder::simple("mode", "1.0")
                .executable("mode/tool", "#!/bin/sh\n")
                .data_script("mode-tool", "#!/bin/sh\n")
                .build();
            env.lock(&[]);
            env.realize(&[]).success();
            if !hand_down_attributes(&env) {
                return pip_accel_tests::skip("the temporary directory is on a file system without access lists");
            }
            let lock = lock_of(&env, &[&wheel, &SdistBuilder::simple("odd", "1.0").during_build(&code).build()]);
            env.write("requirements.lock", lock.text());
            env.realize(arguments).success();
            env.run(["log", "odd"]).success().prints(word);
            let seen = env.finish(list_attributes(&env, &env.store().join("tmp")));
            assert!(seen.stdout.contains("posix_acl_default"), "the store's folders hand nothing down: {seen:?}");
            assert_canonical(&env);
            env.verify_clean();
        });
    }
}

/// Gives the folders of the store a default access list and the set-group-ID bit; false where there are no such lists.
fn hand_down_attributes(env: &TestEnv) -> bool {
    // Version 2; owner, a user 4242, group, mask, others, each with all rights.
    let code = "import os, struct, sys\nanybody = 0xffffffff\n\
        acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *entry) for entry in\n\
        \x20   [(1, 7, anybody), (2, 7, 4242), (4, 7, anybody), (16, 7, anybody), (32, 5, anybody)])\n\
        for folder, _, _ in os.walk(sys.argv[1]):\n\
        \x20   try: os.setxattr(folder, 'system.posix_acl_default', acl)\n\
        \x20   except OSError: sys.exit(7)\n\
        \x20   os.chmod(folder, 0o2755)\n";
    let mut command = env.program(env.python());
    command.args(["-c", code]).arg(env.store());
    env.finish(command).code == 0
}

/// A program that prints the extended attributes of everything below `path`.
fn list_attributes(env: &TestEnv, path: &Path) -> std::process::Command {
    let code = "import os, sys\nfor folder, folders, names in os.walk(sys.argv[1]):\n\
                \x20   for path in [folder] + [os.path.join(folder, name) for name in names]:\n\
                \x20       found = os.listxattr(path, follow_symlinks=False)\n\
                \x20       if found: print(path, found)\n";
    let mut command = env.program(env.python());
    command.args(["-c", code]).arg(path);
    command
}

/// Asserts that modes, times, owners and attributes of all objects are the canonical ones.
#[track_caller]
fn assert_canonical(env: &TestEnv) {
    let owner = env.store().metadata().unwrap().uid();
    let mut seen = 0;
    for name in env.object_names() {
        check_canonical(&env.objects().join(&name), owner, &mut seen);
        let attributes = env.finish(list_attributes(env, &env.objects().join(&name))).success();
        assert_eq!(attributes.stdout, "", "{name}");
    }
    assert!(seen > 10, "only {seen} entries");
}

fn check_canonical(path: &Path, owner: u32, seen: &mut usize) {
    *seen += 1;
    let metadata = path.symlink_metadata().unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    let expected: &[u32] = if metadata.is_dir() { &[0o555] } else { &[0o444, 0o555] };
    assert!(metadata.is_symlink() || expected.contains(&mode), "{}: mode {mode:o}", path.display());
    assert_eq!(metadata.mtime(), OBJECT_MTIME, "{}", path.display());
    assert_eq!(metadata.uid(), owner, "{}", path.display());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            check_canonical(&entry.unwrap().path(), owner, seen);
        }
    }
}
