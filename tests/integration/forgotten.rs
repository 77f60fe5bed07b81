//! A test file that is not listed in `main.rs` would never run.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_file_of_this_folder_is_a_module_of_main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    let listed: BTreeSet<String> = main
        .lines()
        .filter_map(|line| {
            line.trim().trim_start_matches("// ").strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
        })
        .collect();
    let present: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "main")
        .collect();
    assert_eq!(listed, present, "left: listed in main.rs; right: files in the folder");
}
