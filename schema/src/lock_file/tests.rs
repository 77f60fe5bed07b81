//! Tables of what is read and refused, and the properties that hold for any text.

use proptest::prelude::*;

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn items(text: &str) -> Vec<LockItem> {
    parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn one(text: &str) -> LockRequirement {
    match items(text).as_slice() {
        [LockItem::Requirement(requirement)] => requirement.clone(),
        other => panic!("{text:?}: {other:?}"),
    }
}

fn options(text: &str) -> Vec<LockOption> {
    let option = |item| match item {
        LockItem::Option(_, option) => option,
        other => panic!("{text:?}: {other:?}"),
    };
    items(text).into_iter().map(option).collect()
}

fn refusal(text: &str) -> LockSyntaxError {
    parse(text).expect_err(text)
}

#[test]
fn pins_in_every_spelling() {
    for text in ["foo==1.0", "Foo == 1.0", "foo (==1.0)", "foo===1.0", "foo==1.0 # via x", "foo==1.0,"] {
        let target = one(text).target;
        let RequirementTarget::Pin { name, version } = target else { panic!("{text}: {target:?}") };
        assert_eq!((name.as_str(), version.as_str()), ("foo", "1.0"), "{text}");
    }
}

#[test]
fn hashes_in_every_spelling() {
    let joined = format!("foo==1.0 --hash=sha256:{B} --hash sha256:{A} \\\n  --hash='sha256:{A}'\n  # via bar\n");
    let requirement = one(&joined);
    assert_eq!(requirement.hashes, [A.parse().expect("a digest"), B.parse().expect("a digest")]);
    assert!(!requirement.has_other_hashes);
    let other = one(&format!("foo==1.0 --hash=sha512:{A}{B}"));
    assert!(other.hashes.is_empty() && other.has_other_hashes);
    let fragment = one(&format!("foo @ https://h/foo-1.0.tar.gz#sha256={A}&subdirectory=x --hash=sha256:{B}"));
    assert_eq!(fragment.hashes.len(), 2);
    let bare = one(&format!("https://h/foo-1.0.tar.gz#sha256={A}&egg=foo[x] ; os_name == 'posix'"));
    assert_eq!(bare.hashes.len(), 1);
    assert_eq!(bare.extras, ["x"]);
    assert_eq!(bare.marker.as_deref(), Some("os_name == 'posix'"));
    for bad in [
        "foo==1 --hash=sha256:abc".to_owned(),
        format!("foo==1 --hash=md5:{}", &A[..32]),
        format!("foo==1 --hash={A}"),
        "foo==1 --hash".to_owned(),
        format!("--hash=sha256:{A}"),
        format!("foo==1 \\\n# comment\n  --hash=sha256:{A}"),
        format!("foo==1 --hash=sha256:{A} bar"),
        "https://h/foo.zip#sha256=abc".to_owned(),
    ] {
        refusal(&bad);
    }
}

#[test]
fn extras_and_markers() {
    let requirement = one("foo[b, a] == 1.0 ; python_version < \"3;#\" and os_name != '#'  # why; not");
    assert_eq!(requirement.extras, ["a", "b"]);
    assert_eq!(requirement.marker.as_deref(), Some("python_version < \"3;#\" and os_name != '#'"));
    assert_eq!(one("foo==1;os_name=='x'").marker.as_deref(), Some("os_name=='x'"));
    assert_eq!(one("foo==1 ;").marker, None);
}

#[test]
fn what_pins_nothing_is_said_to_be_unpinned() {
    for (text, expected) in [
        ("foo", ""),
        ("foo>=1", ">=1"),
        ("foo==1.*", "==1.*"),
        ("foo==1.0,>=0.9", "==1.0,>=0.9"),
        ("foo (~=1.0)", "~=1.0"),
    ] {
        let RequirementTarget::Unpinned { name, specifier } = one(text).target else { panic!("{text}") };
        assert_eq!((name.as_str(), specifier.as_str()), ("foo", expected), "{text}");
    }
}

#[test]
fn direct_locations() {
    for (text, name, location) in [
        ("foo @ https://u:${P}@h/foo-1.0-py3-none-any.whl", Some("foo"), "https://u:${P}@h/foo-1.0-py3-none-any.whl"),
        ("foo[x]@https://h/f.zip", Some("foo"), "https://h/f.zip"),
        ("foo @ file:///a/b.whl ; os_name == 'x'", Some("foo"), "file:///a/b.whl"),
        ("foo @ ./b.whl", Some("foo"), "./b.whl"),
        ("https://h/f.whl", None, "https://h/f.whl"),
        ("file:./f.whl", None, "file:./f.whl"),
        ("FILE:///f.whl", None, "FILE:///f.whl"),
        ("git+https://h/r.git@main#egg=foo", Some("foo"), "git+https://h/r.git@main#egg=foo"),
        ("./my dir/x.whl ; os_name == 'x'", None, "./my dir/x.whl"),
        ("/abs/x.tar.gz", None, "/abs/x.tar.gz"),
        ("../x", None, "../x"),
        ("sub/dir", None, "sub/dir"),
        ("x-1.0.tar.gz", None, "x-1.0.tar.gz"),
        ("${WHEELS}/x-1.0-py3-none-any.whl", None, "${WHEELS}/x-1.0-py3-none-any.whl"),
        ("./x-1.0-py3-none-any.whl[a,b]", None, "./x-1.0-py3-none-any.whl"),
    ] {
        let RequirementTarget::Direct { name: got, location: got_location } = one(text).target else {
            panic!("{text}")
        };
        assert_eq!(got.as_ref().map(PackageName::as_str), name, "{text}");
        assert_eq!(got_location, location, "{text}");
    }
    assert_eq!(one("./x-1.0-py3-none-any.whl[b,a]").extras, ["a", "b"]);
}

#[test]
fn option_lines() {
    use LockOption::*;
    for (text, expected) in [
        ("-i https://h/simple", IndexUrl("https://h/simple".to_owned())),
        ("-ihttps://h/simple", IndexUrl("https://h/simple".to_owned())),
        ("--index-url=https://h/simple", IndexUrl("https://h/simple".to_owned())),
        ("--index-url \"https://${U}:${P}@h/simple\"", IndexUrl("https://${U}:${P}@h/simple".to_owned())),
        ("--extra-index-url https://h", ExtraIndexUrl("https://h".to_owned())),
        ("--no-index", NoIndex),
        ("-f './my wheels'", FindLinks("./my wheels".to_owned())),
        ("--trusted-host=h:80", TrustedHost("h:80".to_owned())),
        ("-r other.txt  # why", Include("other.txt".to_owned())),
        ("-rother.txt", Include("other.txt".to_owned())),
        ("--constraint c.txt", Constraint("c.txt".to_owned())),
        ("--no-binary :all:", NoBinary(FormatSelection::All)),
        ("--only-binary=:none:", OnlyBinary(FormatSelection::None)),
        ("--require-hashes", Ignored("--require-hashes".to_owned())),
        ("--use-feature fast-deps", Ignored("--use-feature".to_owned())),
    ] {
        assert_eq!(options(text), [expected], "{text}");
    }
    assert_eq!(options("--no-index -f x").len(), 2);
    let packages = FormatSelection::Packages(vec!["a-b".parse().expect("a name"), "c".parse().expect("a name")]);
    assert_eq!(options("--no-binary :none:,A_b,c"), [NoBinary(FormatSelection::None), NoBinary(packages)]);
    let RequirementTarget::Editable { location } = one("-e git+https://h/r.git#egg=x").target else { panic!() };
    assert_eq!(location, "git+https://h/r.git#egg=x");
}

#[test]
fn unknown_and_misplaced_options_are_refused_with_their_line() {
    for text in [
        "a==1\n--frobnicate",
        "a==1\n--index https://h",
        "a==1\n-z x",
        "a==1\n-i",
        "a==1\n--index-url=",
        "a==1\n--no-index=1",
        "a==1\nb==1 --no-index",
        "a==1\nb==1 --config-settings k",
        "a==1\n--config-settings k=v",
        "a==1\n-r x y",
        "a==1\n-f 'x",
        "a==1\n-",
        "a==1\n--",
        "a==1\n--no-binary -x-",
    ] {
        assert_eq!(refusal(text).line, 2, "{text}");
    }
    assert!(!refusal("https://user:secret@h/x y z").to_string().contains("secret"));
    assert!(!refusal("-i https://user:secret@h/x https://user:secret@h/x").to_string().contains("secret"));
}

#[test]
fn build_blocks() {
    let text = format!(
        "lxml==5.3.0 --hash=sha256:{A}\n\
         #: somebody's comment\n\
         #: build lxml==5.3.0\n\
         #:   Cython==3.0.11 --hash=sha256:{A} \\\n\
         #:      --hash=sha256:{B}\n\
         #:   setuptools==75.1.0 ; python_version > '3' --hash=sha256:{B}\n\
         #: build other==1\n\
         a==1\n"
    );
    let items = items(&text);
    let [LockItem::Requirement(_), LockItem::Build(lxml), LockItem::Build(other), LockItem::Requirement(_)] =
        items.as_slice()
    else {
        panic!("{items:?}")
    };
    assert_eq!((lxml.line, lxml.name.as_str(), lxml.version.as_str()), (3, "lxml", "5.3.0"));
    assert_eq!(lxml.requirements.iter().map(|r| (r.line, r.hashes.len())).collect::<Vec<_>>(), [(4, 2), (6, 1)]);
    assert!(other.requirements.is_empty());
    for bad in
        ["#: build lxml", "#: build lxml>=1", "#: build a==1\n#: -r x", "#: build a==1\n#: ===", "#: build a[b]==1"]
    {
        refusal(bad);
    }
}

#[test]
fn an_empty_lock_has_no_items() {
    for text in ["", "\n\n", "# only a comment\n", "\u{feff}", "\r\n"] {
        assert_eq!(items(text), [], "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2000 } else { 10_000 }))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_near_lock_makes_it_panic(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("foo"), Just("=="), Just("1.0"), Just("["), Just("]"), Just("("), Just(")"), Just(";"), Just(" "),
                Just("--hash="), Just("sha256:"), Just(A), Just("#"), Just("#: build "), Just("\n"), Just("\\"),
                Just("\r"), Just("@"), Just("https://"), Just("file:"), Just("./"), Just("-r"), Just("-e "), Just("'"),
                Just("\""), Just("${X}"), Just(","), Just("é"), Just("\u{feff}"), Just("--no-binary "), Just(":all:"),
            ],
            0..24,
        )
    ) {
        let text = parts.concat();
        let lines = text.matches(['\n', '\r']).count() + 1;
        match parse(&text) {
            Ok(items) => for item in items {
                if let LockItem::Requirement(requirement) = item {
                    prop_assert!((1..=lines).contains(&requirement.line));
                    prop_assert!(requirement.hashes.is_sorted());
                }
            },
            Err(error) => prop_assert!((1..=lines).contains(&error.line)),
        }
    }

    #[test]
    fn line_ends_do_not_matter(names in proptest::collection::vec("[a-z]{1,8}==[0-9]{1,3}( # via x)?", 0..8)) {
        let unix = names.join("\n");
        prop_assert_eq!(parse(&unix), parse(&unix.replace('\n', "\r\n")));
    }
}

/// Locks as the tools wrote them: pins with their markers and numbers of hashes.
#[test]
fn locks_of_other_tools_are_read() {
    let summary = |text: &str| {
        let describe = |item| match item {
            LockItem::Requirement(LockRequirement {
                target: RequirementTarget::Pin { name, version },
                marker,
                hashes,
                extras,
                ..
            }) => {
                let marker = marker.map_or_else(String::new, |marker| format!(" ; {marker}"));
                format!("{name}{extras:?}=={version}{marker} {}", hashes.len())
            }
            other => format!("{other:?}"),
        };
        items(text).into_iter().map(describe).collect::<Vec<_>>()
    };
    assert_eq!(
        summary(include_str!("corpus/uv-universal.txt")),
        [
            "Option(3, IndexUrl(\"https://index.example/simple\"))",
            "Option(4, NoBinary(Packages([PackageName(\"idna\")])))",
            "babel[]==2.18.0 2",
            "colorama[]==0.4.6 ; sys_platform == 'win32' 2",
            "idna[]==3.20 2",
            "jinja2[]==3.1.6 2",
            "markupsafe[]==3.0.4 151",
        ]
    );
    assert_eq!(summary(include_str!("corpus/uv-export.txt")).len(), 5);
    let pip_tools = summary(include_str!("corpus/pip-tools.txt"));
    assert_eq!(pip_tools[..2], ["Option(1, FindLinks(\"./wheels\"))", "Option(2, TrustedHost(\"h.example\"))"]);
    assert_eq!(pip_tools[2..].len(), 4);
    let freeze = summary(include_str!("corpus/pip-freeze.txt"));
    assert_eq!(freeze[5], "pyproject-hooks[]==1.3.3 0");
}
