//! Bundles that were broken on the way or made to harm: refused, nothing registered (scenarios D1, D2, D5, D13).

use std::io::Write as _;
use std::path::Path;

use pip_accel_tests::{TreeDigest, WheelBuilder};

use crate::bundles::{BUNDLE, assert_nothing_registered, bundle, members, wheel};
use crate::support::{env, exit};

/// What somebody does to the members.
type Change<'a> = dyn Fn(&mut Members) + 'a;

/// Names and contents of an archive's members.
type Members = Vec<(String, Vec<u8>)>;

/// D5, D11: one bit flipped anywhere, and nothing is registered; so it is when the end is missing, or something follows it.
#[test]
fn a_flipped_bit_or_a_missing_end_is_seen() {
    let near = env();
    near.lock(&[&WheelBuilder::simple("small", "1.0").build()]);
    bundle(&near, BUNDLE, &["--sources"]).success();
    bundle(&near, "bundle.tar.zst", &["--sources"]).success();
    let far = env();
    for file in [BUNDLE, "bundle.tar.zst"] {
        let bytes = std::fs::read(near.project().join(file)).unwrap();
        // Steps that are prime meet every place of a block.
        let step = if file == BUNDLE { 211 } else { 53 };
        for position in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1 << (position % 8);
            far.write(file, &flipped);
            far.run(["unbundle", file]).fails_with(exit::ERROR).explains();
            assert!(far.object_names().is_empty(), "bit {position} of {file}");
        }
        for length in (0..bytes.len()).step_by(step * 5).chain([bytes.len() - 1, bytes.len() - 600]) {
            far.write(file, &bytes[..length]);
            far.run(["unbundle", file]).fails_with(exit::ERROR).explains();
            assert!(far.object_names().is_empty(), "{length} bytes of {file}");
        }
        far.write(file, [&bytes[..], b"more"].concat());
        far.run(["unbundle", file]).fails_with(exit::ERROR).explains();
    }
    assert_nothing_registered(&far, "after all of them");
    far.write("not-a-bundle", "text\n".repeat(1000));
    far.run(["unbundle", "not-a-bundle"]).fails_with(exit::ERROR).explains().says("not a bundle");
    far.run(["unbundle", "nowhere"]).fails_with(exit::USAGE).explains();
}

/// Writes an archive of these members, with a manifest and a seal that fit.
fn write_bundle(path: &Path, manifest: &serde_json::Value, rest: &[(String, Vec<u8>)]) {
    let text = serde_json::to_vec(manifest).expect("it works here");
    let seal = format!("{}\n", blake3_of(&text));
    let mut archive = tar::Builder::new(std::fs::File::create(path).expect("it works here"));
    let first = [("pip-accel-bundle.json".to_owned(), text), ("pip-accel-bundle.b3".to_owned(), seal.into_bytes())];
    for (name, content) in first.iter().chain(rest) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(315_532_800);
        header.set_entry_type(tar::EntryType::Regular);
        archive.append_data(&mut header, name, &content[..]).expect("it works here");
    }
    archive.finish().expect("it works here");
}

fn blake3_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// D1, D2, D13: a manifest that lies, leads out or announces more than there can be; every digest that a forger can
/// compute is right.
#[test]
fn a_hostile_manifest_is_refused() {
    let near = env();
    near.lock(&[&wheel()]);
    bundle(&near, BUNDLE, &["--sources"]).success();
    let mut rest = members(&near.project().join(BUNDLE));
    let original: serde_json::Value = serde_json::from_slice(&rest.remove(0).1).unwrap();
    rest.remove(0);
    let tree = usize::from(original["objects"][0]["link_plan"].is_null());
    let far = env();
    let path = far.project().join(BUNDLE);
    write_bundle(&path, &original, &rest);
    let check = |what: &str, manifest: &serde_json::Value, says: &str| {
        let mut manifest = manifest.clone();
        reseal(&mut manifest["objects"][tree]);
        write_bundle(&path, &manifest, &rest);
        let base = TreeDigest::of(&far.home());
        far.run(["unbundle", BUNDLE]).fails_with(exit::ERROR).explains().says(says);
        base.assert_unchanged(&far.home());
        assert!(far.object_names().is_empty(), "{what}");
    };
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = original.clone();
        change(&mut manifest);
        manifest
    };
    let entry = |path: &str| serde_json::json!({"path": path, "kind": "directory"});
    for name in ["../evil", "/tmp/pip-accel-evil", "site/../../evil", "a\u{0}b", "a\\..\\b", "site//x", "."] {
        let hostile = with(&|manifest| push(&mut manifest["objects"][tree]["manifest"], entry(name)));
        check(name, &hostile, "can't be read");
    }
    for (name, says) in [
        ("absent/below", "below something"),
        ("site/first/__init__.py/below", "below something"),
        ("manifest.json", "can't be in a tree"),
        ("SITE", "tree that is refused"),
        ("\u{17f}ite", "tree that is refused"),
        ("site/line\nend", "tree that is refused"),
    ] {
        let hostile = with(&|manifest| push(&mut manifest["objects"][tree]["manifest"], entry(name)));
        check(name, &hostile, says);
    }
    for target in ["/etc/passwd", "../../../etc", "first/../../../x", ""] {
        let link = serde_json::json!({"path": "site/link", "kind": "symlink", "target": target});
        check(target, &with(&|manifest| push(&mut manifest["objects"][tree]["manifest"], link.clone())), "can't be in");
    }
    sizes(&original, tree, &check);
    plans(&original, tree, &check);
    lies(&original, tree, &check);
}

/// D13: sizes that no content has.
fn sizes(original: &serde_json::Value, tree: usize, check: &dyn Fn(&str, &serde_json::Value, &str)) {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = original.clone();
        change(&mut manifest);
        manifest
    };
    let size = |size: u64| {
        with(&|manifest| {
            let entries = manifest["objects"][tree]["manifest"].as_array_mut().expect("a list");
            let file = entries.iter_mut().find(|entry| entry["path"] == "site/first/__init__.py");
            file.expect("it is there")["size"] = size.into();
        })
    };
    check("2^31", &size((1 << 31) + 1), "stands where");
    check("2^43", &size(1 << 43), "are free");
    check("2^63", &size(1 << 63), "over the limit");
    check("2^64-1", &size(u64::MAX), "over the limit");
}

/// D2: link plans that name what the tree does not have, or lead out of the environment.
fn plans(original: &serde_json::Value, tree: usize, check: &dyn Fn(&str, &serde_json::Value, &str)) {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = original.clone();
        change(&mut manifest);
        manifest
    };
    for (name, says) in [("../escape", "leaves its folder"), ("python", "interpreter"), ("a/b", "leaves its folder")] {
        let change = |manifest: &mut serde_json::Value| {
            manifest["objects"][tree]["link_plan"]["entry_points"][0]["name"] = name.into();
        };
        check(name, &with(&change), says);
    }
    let plan = |key: &'static str, value: serde_json::Value| {
        with(&|manifest| manifest["objects"][tree]["link_plan"][key] = value.clone())
    };
    check("link", &plan("site_links", serde_json::json!([{"path": "other.py"}])), "which it does not have");
    check("folder", &plan("site_directories", serde_json::json!(["other"])), "which it does not have");
    check("dist-info", &plan("dist_info", "../x.dist-info".into()), "metadata folder");
}

/// What a forger says of objects, references and answers.
fn lies(original: &serde_json::Value, tree: usize, check: &dyn Fn(&str, &serde_json::Value, &str)) {
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = original.clone();
        change(&mut manifest);
        manifest
    };
    let zeros = "0".repeat(64);
    let id = "a".repeat(32);
    check("sha", &with(&|manifest| manifest["objects"][tree]["provenance"]["sha256"] = zeros.as_str().into()), "id");
    check("name", &with(&|manifest| manifest["objects"][tree]["name"] = "other".into()), "not called after");
    check("plan", &with(&|manifest| manifest["objects"][tree]["link_plan"] = ().into()), "link plan");
    let reference = serde_json::json!([id]);
    let refers = with(&|manifest| manifest["objects"][tree]["references"] = reference.clone());
    check("reference", &refers, "which is not before it");
    check("root", &with(&|manifest| push(&mut manifest["roots"], id.as_str().into())), "is not there");
    let twice = with(&|manifest| {
        let object = manifest["objects"][tree].clone();
        push(&mut manifest["objects"], object);
    });
    check("twice", &twice, "twice");
    check("page", &with(&|manifest| manifest["pages"][0]["path"] = "packages/x".into()), "no page");
    check("format", &with(&|manifest| manifest["format"] = 2.into()), "has format 2");
    let answer = with(&|manifest| {
        manifest["facts"]["selections"][0]["selection"]["sha256"] = zeros.as_str().into();
    });
    check("answer", &answer, "SHA-256 its lock does not have");
    check("facts", &with(&|manifest| manifest["facts"] = 7.into()), "facts");
}

/// D1, D5: members that are missing, more, out of order, or of another kind.
#[test]
fn members_that_the_manifest_does_not_have_are_refused() {
    let near = env();
    near.lock(&[&wheel()]);
    bundle(&near, BUNDLE, &["--sources"]).success();
    let mut rest = members(&near.project().join(BUNDLE));
    let manifest: serde_json::Value = serde_json::from_slice(&rest.remove(0).1).unwrap();
    rest.remove(0);
    let far = env();
    let path = far.project().join(BUNDLE);
    let last = rest.len() - 1;
    let changes: [(&str, &Change<'_>); 6] = [
        ("missing", &|rest| drop(rest.remove(last))),
        ("more", &|rest| rest.push(("files/more".to_owned(), Vec::new()))),
        ("order", &|rest| rest.swap(last, last - 1)),
        ("twice", &|rest| rest.insert(last, rest[last].clone())),
        ("name", &|rest| rest[last].0 = "files/../../evil".replace("..", "x")),
        ("content", &|rest| rest[last].1.iter_mut().for_each(|byte| *byte ^= 1)),
    ];
    for (what, change) in changes {
        let mut rest = rest.clone();
        change(&mut rest);
        write_bundle(&path, &manifest, &rest);
        far.run(["unbundle", BUNDLE]).fails_with(exit::ERROR).explains();
        assert_nothing_registered(&far, what);
    }
    write_bundle(&path, &manifest, &rest);
    far.run(["unbundle", BUNDLE]).success();
}

fn push(list: &mut serde_json::Value, value: serde_json::Value) {
    list.as_array_mut().expect("it works here").push(value);
}

/// Computes the content digest anew, as a forger would.
fn reseal(object: &mut serde_json::Value) {
    use pip_accel_schema::manifest::Manifest;
    if let Ok(manifest) = serde_json::from_value::<Manifest>(object["manifest"].clone()) {
        object["content_digest"] = serde_json::to_value(manifest.content_digest()).expect("it works here");
    }
}

/// D1: a few kilobytes that unpack to gigabytes.
#[test]
fn a_bomb_is_refused() {
    let far = env();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_path("pip-accel-bundle.json").unwrap();
    header.set_size(255 << 20);
    header.set_mode(0o644);
    header.set_mtime(315_532_800);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    let block = vec![b' '; 1 << 20];
    (0..255).for_each(|_| encoder.write_all(&block).unwrap());
    far.write("bomb.tar.zst", encoder.finish().unwrap());
    far.run(["unbundle", "bomb.tar.zst"]).fails_with(exit::ERROR).explains().says("over the limit of 400");
    assert_nothing_registered(&far, "a bomb");
}
