//! Locks in folders of their own: what is merged, refused, included.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::python::testing::marker_variables as variables;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

struct Files(TempDir);

impl Files {
    /// Writes files; `A` and `B` after `sha256:` stand for digests. The lock is `r.lock`.
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let text = text.replace("sha256:A", &format!("sha256:{A}")).replace("sha256:B", &format!("sha256:{B}"));
            fs::write(path, text).expect("a file");
        }
        Self(folder)
    }

    fn load(&self) -> Result<LoadedLock, LockError> {
        let environment = |name: &str| (name == "TOKEN").then(|| "s3cret".to_owned());
        load(&self.0.path().join("r.lock"), &Choice::default(), &environment)
    }

    /// The message with the folder's name left out.
    fn shown(&self, error: &LockError) -> String {
        error.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }

    fn refusal(&self) -> String {
        self.shown(&self.load().expect_err("a refusal"))
    }
}

fn lock(text: &str) -> LoadedLock {
    let files = Files::new(&[("r.lock", text)]);
    files.load().unwrap_or_else(|error| panic!("{}", files.shown(&error)))
}

fn refusal(text: &str) -> String {
    Files::new(&[("r.lock", text)]).refusal()
}

fn names(requirements: &[LockedRequirement]) -> Vec<String> {
    requirements.iter().map(LockedRequirement::to_string).collect()
}

#[test]
fn an_empty_lock_is_a_lock() {
    for text in ["", "# nothing\n", "\u{feff}\r\n"] {
        let lock = lock(text);
        assert!(lock.requirements.is_empty());
        assert!(lock.select(&variables("3.11")).expect("no contradiction").is_empty());
    }
}

#[test]
fn everything_that_is_not_locked_is_refused_at_once() {
    let message = refusal(
        "good==1 --hash=sha256:A\nflask>=2\nbare\npinned==1\nother==1 --hash=sha512:\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
         aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
         -e ./src\nrepo @ git+https://user:secret@h/r.git@main\nu @ https://user:secret@h/u-1.zip\n\
         ./none.whl --hash=sha256:A\nx @ ftp://h/x.whl\nm==1 ; nonsense --hash=sha256:A\n\
         https://h/what.exe --hash=sha256:A\n",
    );
    let expected = [
        "the lock is refused:",
        "  r.lock:2: `flask>=2` is not pinned to one version",
        "  r.lock:3: `bare` is not pinned to one version",
        "  r.lock:4: `pinned==1` has no hash",
        "  r.lock:5: `other==1` has no hash that can be used; pip-accel needs sha256",
        "  r.lock:6: there is no file `./src` (looked for at ./src)",
        "  r.lock:7: `git+https://****@h/r.git@main` names no full commit (40 hexadecimal digits), \
         so what it means may change",
        "  r.lock:8: `u @ https://****@h/u-1.zip` has no hash",
        "  r.lock:9: there is no file `./none.whl` (looked for at ./none.whl)",
        "  r.lock:10: `ftp://h/x.whl` is neither http(s) nor a local file",
        "  r.lock:11: `nonsense` is not an environment marker: there is no variable `nonsense`",
        "  r.lock:12: `https://h/what.exe` is not the file name of a wheel or an sdist",
        "lock it with `pip-accel lock requirements.in -o requirements.lock`",
    ];
    assert_eq!(message.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn local_files_need_a_hash_and_are_told_theirs() {
    let name = "dir/foo_bar-1.0-py3-none-any.whl";
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let files = Files::new(&[("r.lock", &format!("./{name}\n")), (name, "")]);
    assert_eq!(
        files.refusal(),
        format!(
            "the lock is refused:\n  r.lock:1: `./{name}` has no hash; \
             if the file is the right one, add `--hash=sha256:{empty}`"
        )
    );
    for line in [
        format!("./{name} --hash=sha256:{empty}"),
        format!("foo-bar @ file:{name}#sha256={empty}"),
        format!("{name} --hash=sha256:{empty} # comment"),
    ] {
        let files = Files::new(&[("r.lock", line.as_str()), (name, "")]);
        let lock = files.load().unwrap_or_else(|error| panic!("{line}: {error}"));
        let [requirement] = lock.requirements.as_slice() else { panic!("{line}") };
        let LockedTarget::LocalFile(path) = &requirement.target else { panic!("{line}") };
        assert!(path.is_file(), "{line}");
        assert_eq!(requirement.name.as_ref().map(PackageName::as_str), Some("foo-bar"), "{line}");
        assert_eq!(requirement.version.as_ref().map(PackageVersion::as_str), Some("1.0"), "{line}");
    }
    let files = Files::new(&[("r.lock", "./dir\n"), (name, "")]);
    assert!(files.refusal().contains("is a folder without"));
}

#[test]
fn the_same_pin_twice_is_one_and_two_versions_are_refused() {
    let merged = lock("a[x]==1.0 --hash=sha256:A --hash=sha256:B\nA[y]==1.0.0 --hash=sha256:B\n");
    let [requirement] = merged.requirements.as_slice() else { panic!("{merged:?}") };
    assert_eq!(requirement.hashes, [B.parse().expect("a digest")]);
    assert_eq!(requirement.extras, ["x", "y"]);
    let message = refusal("a==1 --hash=sha256:A\n\na==2 --hash=sha256:A\n");
    assert!(message.contains("r.lock:3: `a` is locked differently at"), "{message}");
    assert!(message.contains("a==1 there, a==2 here"), "{message}");
    assert!(refusal("a==1 --hash=sha256:A\na==1 --hash=sha256:B\n").contains("no hash in common"));
    let url = "a @ https://h/a-1.zip#sha256:A\n".replace("sha256:A", &format!("sha256={A}"));
    assert_eq!(lock(&format!("{url}{url}")).requirements.len(), 1);
    assert!(refusal(&format!("{url}a==1 --hash=sha256:A\n")).contains("locked differently"));
}

#[test]
fn versions_for_different_markers_live_together() {
    let lock = lock(
        "a==1 ; python_version < '3.9' --hash=sha256:A\n\
         a==2 ; python_version >= '3.9' --hash=sha256:A\n\
         a==2 ; python_version >= '3.12' --hash=sha256:A\n\
         a==3 ; python_version >= '3.13' --hash=sha256:A\n\
         w==1 ; sys_platform == 'win32' --hash=sha256:A\n",
    );
    assert_eq!(lock.requirements.len(), 5);
    for (version, expected) in [("3.8", "a==1"), ("3.9", "a==2"), ("3.12", "a==2")] {
        assert_eq!(names(&lock.select(&variables(version)).expect("no contradiction")), [expected], "{version}");
    }
    assert!(matches!(lock.select(&variables("3.13")), Err(LockError::Refused { .. })));
}

#[test]
fn other_files_are_included_beside_the_one_that_names_them() {
    let files = Files::new(&[
        ("r.lock", "-r sub/one.txt\nc==1 --hash=sha256:A\n--find-links wheels\n"),
        ("sub/one.txt", "a==1 --hash=sha256:A\n-r two.txt\n-f file:../x\n-f https://${TOKEN}@h/links\n"),
        ("sub/two.txt", "b==1 --hash=sha256:A\n"),
    ]);
    let lock = files.load().expect("a lock");
    assert_eq!(names(&lock.requirements), ["a==1", "b==1", "c==1"]);
    assert_eq!(lock.files.len(), 3);
    assert!(lock.requirements[1].span.to_string().ends_with("sub/two.txt:1"));
    let folder = files.0.path();
    assert_eq!(
        lock.options.find_links,
        [
            FindLinks::Path(folder.join("sub/../x")),
            FindLinks::Url(SourceUrl::new("https://s3cret@h/links".to_owned())),
            FindLinks::Path(folder.join("wheels")),
        ]
    );
}

#[test]
fn includes_that_never_end_are_refused() {
    let files = Files::new(&[("r.lock", "-r a.txt\n"), ("a.txt", "\n-r ./r.lock\n")]);
    assert_eq!(files.refusal(), "a.txt:2: `./r.lock` includes itself");
    let many: Vec<(String, String)> =
        (0..30).map(|index| (format!("{index}.txt"), format!("-r {}.txt", index + 1))).collect();
    let mut all: Vec<(&str, &str)> = many.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.push(("r.lock", "-r 0.txt"));
    all.push(("30.txt", ""));
    assert!(Files::new(&all).refusal().contains("files deep"));
    let doubling: Vec<(String, String)> =
        (0..15).map(|index| (format!("{index}.txt"), format!("-r {0}.txt\n-r {0}.txt", index + 1))).collect();
    let mut all: Vec<(&str, &str)> = doubling.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.push(("r.lock", "-r 0.txt"));
    all.push(("15.txt", ""));
    assert!(Files::new(&all).refusal().contains("files in all"));
    assert!(refusal("-r https://h/r.txt").contains("is not a local file"));
    let missing = Files::new(&[("r.lock", "\n-r none.txt")]).load();
    assert!(
        matches!(missing, Err(LockError::Include { span, reason: IncludeProblem::Unreadable { .. } }) if span.line == 2)
    );
}

#[test]
fn constraints_only_constrain() {
    let with = |lock: &str, constraints: &str| {
        let files = Files::new(&[("r.lock", &format!("-c c.txt\n{lock}")), ("c.txt", constraints)]);
        files.load().map_err(|error| files.shown(&error)).map(|lock| names(&lock.requirements))
    };
    assert_eq!(with("a==1 --hash=sha256:A\n", "a==1.0\nb==2 --hash=sha256:A\n"), Ok(vec!["a==1".to_owned()]));
    assert_eq!(with("a==1 --hash=sha256:A\n", "a>=1,<2\na==2 ; python_version < '2'\n"), Ok(vec!["a==1".to_owned()]));
    let message = with("a==1 --hash=sha256:A\n", "\na==2\n").expect_err("a contradiction");
    assert!(message.contains("r.lock:2: `a==1` is not what the constraint at"), "{message}");
    assert!(message.contains("c.txt:2 allows: `a==2`"), "{message}");
    let message = with("a==1\n", "a==1 --hash=sha256:A\n").expect_err("a hash in a constraint proves nothing");
    assert!(message.contains("`a==1` has no hash"), "{message}");
    assert!(with("", "-e .\n").expect_err("no constraint").contains("a constraint must be"));
    let files =
        Files::new(&[("r.lock", "-c c.txt\na==1 --hash=sha256:A\n"), ("c.txt", "a==2 ; python_version >= '3'\n")]);
    assert!(files.load().expect("a lock").select(&variables("3.9")).is_err());
}

#[test]
fn options_and_variables() {
    let lock = lock(
        "--index-url https://u:${TOKEN}@h/simple\n--extra-index-url https://${UNSET}@h\n--no-binary a\n\
         --only-binary :all:\n--trusted-host h:80\nu @ https://${TOKEN}@h/u-1.zip --hash=sha256:A\n",
    );
    assert_eq!(lock.options.index_url.as_ref().map(SourceUrl::expose), Some("https://u:s3cret@h/simple"));
    assert_eq!(lock.options.extra_index_urls[0].expose(), "https://${UNSET}@h");
    assert_eq!(lock.unset_variables, ["UNSET"]);
    assert_eq!(lock.options.trusted_hosts, ["h:80"]);
    assert!(!lock.options.formats.allowed(&"b".parse().expect("a name")).sdists);
    assert!(!format!("{lock:?}").contains("s3cret"));
    let LockedTarget::Url(url) = &lock.requirements[0].target else { panic!("{lock:?}") };
    assert_eq!(url.expose(), "https://s3cret@h/u-1.zip");
    let none = self::lock("-i https://h\n--no-index\n--extra-index-url https://h\n");
    assert!(none.options.no_index && none.options.index_url.is_none() && none.options.extra_index_urls.is_empty());
}

#[test]
fn build_locks_take_releases_only() {
    for (line, shown) in [
        ("b @ https://user:secret@h.example/b-1.0-py3-none-any.whl --hash=sha256:A", "https://****@h.example/b-1.0"),
        ("b @ file:///b-1.0.tar.gz --hash=sha256:A", "`file:///b-1.0.tar.gz`"),
        ("./b-1.0-py3-none-any.whl --hash=sha256:A", "`./b-1.0-py3-none-any.whl`"),
    ] {
        let message = refusal(&format!("a==1 --hash=sha256:A\n#: build a==1\n#:   {line}\n"));
        assert!(message.contains("r.lock:3: `") && message.contains(shown), "{message}");
        assert!(message.contains("`NAME==VERSION --hash=sha256:…`") && !message.contains("secret"), "{message}");
    }
}

#[test]
fn build_locks_must_be_locked_too() {
    let text = "a==1 --hash=sha256:A\n#: build a==1\n#:   cython==3 --hash=sha256:A\n#:   x==1 ; python_version < '3.9' --hash=sha256:B\n";
    let lock = lock(text);
    let build = lock.build_lock(&"a".parse().expect("a name"), &"1.0".parse().expect("a version")).expect("a build");
    assert_eq!(names(&build.requirements), ["cython==3", "x==1"]);
    assert_eq!(names(&build.select(&variables("3.9"))), ["cython==3"]);
    assert_eq!(self::lock(&format!("{text}{text}")).build_locks.len(), 1);
    let message = refusal(&format!("{text}#: build a==1.0\n#:   cython>=3\n"));
    assert!(message.contains("r.lock:6: `cython>=3` is not pinned"), "{message}");
    assert!(message.contains("r.lock:5: the build of a 1.0 is locked differently at"), "{message}");
}

#[test]
fn the_digest_speaks_of_what_the_environment_holds() {
    let base = lock("a==1 --hash=sha256:A\nb==1 --hash=sha256:B\n").digest;
    for same in [
        "# comment\nb==1 --hash=sha256:B\na==1   --hash=sha256:A\n",
        "-i https://user:secret@h/simple\n-f https://h\n--trusted-host h\na==1 --hash=sha256:A\nb==1 --hash=sha256:B\n",
        "a==1 --hash=sha256:A --hash=sha256:A\r\nb==1 --hash=sha256:B\r\na==1 --hash=sha256:A\r\n",
    ] {
        assert_eq!(lock(same).digest, base, "{same}");
    }
    for other in [
        "a==1 --hash=sha256:A\n",
        "a==1 --hash=sha256:A\nb==1 --hash=sha256:A\n",
        "a==1 --hash=sha256:A\nb==2 --hash=sha256:B\n",
        "a==1 --hash=sha256:A\nb[x]==1 --hash=sha256:B\n",
        "a==1 --hash=sha256:A\nb==1 ; os_name == 'posix' --hash=sha256:B\n",
        "--no-binary b\na==1 --hash=sha256:A\nb==1 --hash=sha256:B\n",
        "a==1 --hash=sha256:A\nb==1 --hash=sha256:B\n#: build a==1\n#: c==1 --hash=sha256:A\n",
    ] {
        assert_ne!(lock(other).digest, base, "{other}");
    }
    let url = |user: &str| lock(&format!("a @ https://{user}h/a-1.zip#sha256={A}\n")).digest;
    assert_eq!(url("user:secret@"), url(""));
}

#[test]
fn encodings() {
    let load_bytes = |bytes: &[u8]| {
        let files = Files::new(&[]);
        fs::write(files.0.path().join("r.lock"), bytes).expect("a file");
        files.load().map(|lock| names(&lock.requirements)).map_err(|error| files.shown(&error))
    };
    let text = format!("\u{feff}a==1 --hash=sha256:{A}\r\n");
    assert_eq!(load_bytes(text.as_bytes()), Ok(vec!["a==1".to_owned()]));
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(load_bytes(&wide), Ok(vec!["a==1".to_owned()]));
    assert_eq!(load_bytes(b"# x\n# \xe9\n"), Err("r.lock:2 is not UTF-8; save the lock as UTF-8".to_owned()));
    assert!(load_bytes(b"a==1\0").expect_err("NUL").contains("r.lock:1: the control character U+0000"));
    assert!(load_bytes(&[0xff, 0xfe, 0x00, 0xd8]).is_err());
    let missing = load(Path::new("/does/not/exist"), &Choice::default(), &|_| None);
    assert!(matches!(missing, Err(LockError::Read { .. })));
    assert!(matches!(load(Path::new("/"), &Choice::default(), &|_| None), Err(LockError::Read { .. })));
}
