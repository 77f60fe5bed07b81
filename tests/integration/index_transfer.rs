//! What comes over the line, by the program: HTTP/2, broken connections, repetition, formats of pages, withdrawn files.

use std::time::{Duration, Instant};

use pip_accel_tests::index_server::{ALWAYS, Fault, IndexServer, PageMode, authority_file};
use pip_accel_tests::{BuiltFile, LockWriter, SdistBuilder, TestEnv, WheelBuilder};

use crate::index_support::content;
use crate::support::{env, exit};

const PAGE: &str = "/simple/package/";

fn package() -> BuiltFile {
    WheelBuilder::simple("package", "1.0").build()
}

/// An index with these files, and a lock that pins them and names the index.
fn indexed(env: &TestEnv, files: &[&BuiltFile]) -> IndexServer {
    let server = IndexServer::start(&env.files());
    let lock =
        files.iter().fold(LockWriter::new().line(format!("--index-url {}", server.index_url())), |lock, file| {
            env.add(file);
            lock.pin(file)
        });
    env.write("requirements.lock", lock.text());
    server
}

fn status(status: u16, times: u32) -> Fault {
    Fault::Status { status, retry_after: None, times }
}

/// An index that speaks nothing else is used, and its files come at the same time through one connection: none is sent
/// before all four have been asked for.
#[test]
fn files_share_a_connection_of_http2() {
    let mut env = env();
    let files: Vec<BuiltFile> =
        (0..4).map(|index| WheelBuilder::simple(&format!("part-{index}"), "1.0").build()).collect();
    drop(indexed(&env, &files.iter().collect::<Vec<_>>()));
    let server = IndexServer::start_http2(&env.files()).with_gate("/files/", files.len());
    let lock = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    let (_, pins) = lock.split_once('\n').unwrap();
    env.write("requirements.lock", format!("--index-url {}\n{pins}", server.index_url()));
    env.set("PIP_ACCEL_CA_FILE", authority_file());
    env.set("PIP_ACCEL_TIMEOUT", "60");
    env.realize(&[]).success();
    env.python_code("import part_0, part_1, part_2, part_3").success();
    assert!(server.streams_peak() >= files.len(), "{} streams at most", server.streams_peak());
}

/// D17: a connection that breaks costs what was lost with it, not the whole file again.
#[test]
fn a_broken_download_goes_on_where_it_broke() {
    let env = env();
    let wheel = WheelBuilder::simple("package", "1.0").file("package/noise.bin", content(2_000_000)).build();
    let server = indexed(&env, &[&wheel]);
    let path = format!("/files/{}", wheel.file_name);
    let size = wheel.bytes.len() as u64;
    server.add_fault(&path, Fault::DropAfter { bytes: size / 2, times: 1 });
    env.realize(&[]).success();
    env.python_code("import package").success();
    let ranges: Vec<_> = server.requests().iter().filter(|request| request.path == path).cloned().collect();
    assert_eq!(ranges.len(), 2);
    assert!(ranges[0].range_start().is_none() && ranges[1].range_start().is_some_and(|start| start > 0), "{ranges:?}");
    assert!(server.body_bytes() < size + size / 2, "{} bytes for {size}", server.body_bytes());
    env.verify_clean();
}

/// What another attempt will not change is asked for once; what may pass, again.
#[test]
fn only_what_may_pass_is_repeated() {
    for (code, exit, word) in [
        (404, exit::LOCK_REFUSED, "no index has"),
        (401, exit::ERROR, "credentials"),
        (403, exit::ERROR, "credentials"),
        (400, exit::ERROR, "400"),
    ] {
        let mut env = env();
        env.set("PIP_ACCEL_RETRIES", "5");
        let server = indexed(&env, &[&package()]).with_fault(PAGE, status(code, ALWAYS));
        env.realize(&[]).fails_with(exit).explains().says(word);
        assert_eq!(server.request_count(PAGE), 1, "{code}");
    }
    for (code, word) in [(404, "does not exist"), (401, "credentials")] {
        let mut env = env();
        env.set("PIP_ACCEL_RETRIES", "5");
        let path = format!("/files/{}", package().file_name);
        let server = indexed(&env, &[&package()]).with_fault(&path, status(code, ALWAYS));
        env.realize(&[]).fails_with(exit::ERROR).explains().says(word);
        assert_eq!(server.request_count(&path), 1, "{code}");
        env.verify_clean();
    }
    let env = env();
    let server = indexed(&env, &[&package()]).with_fault(PAGE, status(500, 1));
    env.realize(&[]).success();
    assert_eq!(server.request_count(PAGE), 2);
}

#[test]
fn a_busy_index_is_asked_again_when_it_said() {
    let env = env();
    let path = format!("/files/{}", package().file_name);
    let busy = || Fault::Status { status: 503, retry_after: Some("1".to_owned()), times: 1 };
    let server = indexed(&env, &[&package()]).with_fault(PAGE, busy()).with_fault(&path, busy());
    let started = Instant::now();
    env.realize(&[]).success();
    assert!(started.elapsed() >= Duration::from_secs(2), "it came back after {:?}", started.elapsed());
    assert_eq!((server.request_count(PAGE), server.request_count(&path)), (2, 2));
}

/// PEP 592: who pinned it gets it, and is told.
#[test]
fn a_withdrawn_release_is_used_with_a_warning() {
    for mode in [PageMode::Json, PageMode::Html] {
        let env = env();
        let server =
            indexed(&env, &[&package()]).with_mode(mode).with_yanked(&package().file_name, "breaks <everything>");
        env.realize(&[]).success().says("package==1.0 was withdrawn by its author: breaks <everything>");
        env.python_code("import package").success();
        assert_eq!(server.request_count(PAGE), 1);
    }
}

/// PEP 503: an index without JSON, with and without hashes in its links, which are relative to the page.
#[test]
fn an_index_of_html_pages_works() {
    for mode in [PageMode::Html, PageMode::HtmlWithoutHashes, PageMode::JsonWithoutHashes] {
        let env = env();
        let sdist = SdistBuilder::simple("built", "1.0").build();
        let server = indexed(&env, &[&package(), &sdist]).with_mode(mode);
        env.realize(&[]).success();
        env.python_code("import package, built").success();
        assert_eq!(server.request_count(PAGE), 1, "{mode:?}");
    }
}

/// A page of links and a directory of the same name serve where there is no index, by option as well as in the lock.
#[test]
fn find_links_takes_pages_and_directories() {
    let env = env();
    let server = indexed(&env, &[&package()]);
    let pins = LockWriter::new().pin(&package()).text();
    let (page, directory) = (server.find_links_url().to_string(), env.files().display().to_string());
    let url = format!("file://{directory}");
    for (index, place) in [page.as_str(), &directory, &url, "../files"].into_iter().enumerate() {
        // A store for each, so that the file has to come from that place.
        let store = env.base().join(format!("store-{index}"));
        let store = store.to_str().unwrap();
        env.write("requirements.lock", &pins);
        let venv = format!("venv-{index}");
        env.realize(&["--no-index", "--find-links", place, "--venv", &venv, "--store", store]).success();
        env.write("requirements.lock", format!("--no-index\n--find-links {place}\n{pins}"));
        let (venv, store) = (format!("venv-lock-{index}"), format!("{store}-lock"));
        env.realize(&["--venv", &venv, "--store", &store]).success();
    }
    assert_eq!((server.request_count("/links/"), server.request_count(PAGE)), (2, 0));
}

/// Files of another host, and pages that moved there.
#[test]
fn links_and_redirects_lead_to_other_hosts() {
    let env = env();
    let files = IndexServer::start(&env.files());
    let server = indexed(&env, &[&package()]).with_files_base(files.url("files/").as_str());
    env.realize(&[]).success();
    assert_eq!((files.requests().len(), server.requests().len()), (1, 1));
    let moved = IndexServer::start(&env.files());
    server.add_fault(PAGE, Fault::Redirect { to: moved.url("simple/package/").into() });
    let store = env.base().join("other-store");
    env.realize(&["--venv", "other", "--store", store.to_str().unwrap()]).success();
    // The page's relative links lead on from where it was found.
    assert_eq!((moved.requests().len(), server.requests().len()), (2, 2));
}
