//! What files a project has: formats, places, credentials, proxies, certificates and failures of index pages.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use pip_accel_builder::index::{
    FileOrigin, FindLinks, IndexClient, IndexError, IndexSettings, PageError, PublishedFile, RequestError, SetupError,
};
use pip_accel_tests::index_server::{ALWAYS, Fault, IndexServer, PageMode, authority_file, sha256_of};
use url::Url;

use crate::index_support::{Files, PAGE_PATH, WHEEL, client, content, find, project, settings};

async fn demo_files(client: &IndexClient) -> Result<Vec<PublishedFile>, IndexError> {
    client.project_files(&project("demo")).await.map(|files| files.to_vec())
}

fn names(files: &[PublishedFile]) -> Vec<&str> {
    files.iter().map(|file| file.file_name.as_str()).collect()
}

/// JSON and HTML say the same about the same files.
#[tokio::test]
async fn json_and_html_are_equal() {
    let files = Files::with_wheel(100);
    files.write("demo-1.0+local.1.tar.gz", b"sdist");
    files.write("other-1.0.tar.gz", b"another project");
    let mut answers = Vec::new();
    for mode in [PageMode::Negotiated, PageMode::Json, PageMode::Html] {
        let server = files
            .serve()
            .with_mode(mode)
            .with_yanked(WHEEL, "broken & <b>old</b>")
            .with_requires_python("demo-1.0+local.1.tar.gz", ">=3.8,<4");
        let mut found = demo_files(&client(settings(&server))).await.unwrap();
        for file in &mut found {
            assert_eq!(file.url.expose().as_str(), server.file_url(&file.file_name).as_str());
            file.url = Url::parse("https://same.example/").unwrap().into();
            file.size = None;
        }
        answers.push(found);
    }
    let [negotiated, json, html] = answers.as_slice() else { panic!("three answers") };
    assert_eq!((negotiated, json), (json, html));
    assert_eq!(names(json), ["demo-1.0+local.1.tar.gz", WHEEL]);
    assert_eq!(json[1].sha256, Some(sha256_of(&content(100))));
    assert_eq!(json[1].yanked.as_deref(), Some("broken & <b>old</b>"));
    assert_eq!(json[0].requires_python.as_deref(), Some(">=3.8,<4"));
}

/// The client prefers JSON and says so with q-values; size, time and missing hashes are understood.
#[tokio::test]
async fn json_is_asked_for_first() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_upload_time(WHEEL, "2024-01-02T03:04:05Z");
    let file = find(&client(settings(&server)), WHEEL).await;
    assert_eq!((file.size, file.upload_time.as_deref()), (Some(100), Some("2024-01-02T03:04:05Z")));
    let accept = server.requests()[0].header("accept").unwrap().to_owned();
    assert!(accept.starts_with("application/vnd.pypi.simple.v1+json,") && accept.contains("text/html; q="), "{accept}");
    for mode in [PageMode::JsonWithoutHashes, PageMode::HtmlWithoutHashes] {
        let server = files.serve().with_mode(mode);
        assert_eq!(find(&client(settings(&server)), WHEEL).await.sha256, None);
    }
}

/// A compressed page is inflated.
#[tokio::test]
async fn gzip_pages_are_inflated() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_gzip_pages();
    assert_eq!(find(&client(settings(&server)), WHEEL).await.sha256, Some(sha256_of(&content(100))));
}

/// A project is asked for once in the life of a client, whoever asks at the same time; a failure is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn each_project_is_asked_for_once() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_fault(PAGE_PATH, Fault::Status { status: 401, retry_after: None, times: 1 });
    let client = client(settings(&server));
    assert!(demo_files(&client).await.is_err_and(|error| error.is_unauthorized()));
    let name = project("demo");
    let answers = futures_util::future::join_all((0..20).map(|_| client.project_files(&name))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|files| files.len() == 1)));
    assert_eq!(server.request_count(PAGE_PATH), 2);
    // The refusal may have cost its connection.
    assert!(server.connection_count() <= 2, "connections are kept");
}

/// Files of several indexes and `--find-links` places come in their order; an index without the project is no error.
#[tokio::test]
async fn places_are_merged_in_order() {
    let (first, second, local) = (Files::with_wheel(1), Files::with_wheel(2), Files::with_wheel(3));
    let page = Files::with_wheel(4);
    local.write("demo-2.0.tar.gz", b"x");
    local.write("demo-more-2.0.tar.gz", b"x");
    page.write("other-2.0.tar.gz", b"x");
    let (one, two, pages, empty) = (first.serve(), second.serve(), page.serve(), first.serve());
    let empty = empty.with_fault(PAGE_PATH, Fault::Status { status: 404, retry_after: None, times: ALWAYS });
    let client = client(IndexSettings {
        extra_index_urls: vec![empty.index_url(), two.index_url()],
        find_links: vec![
            FindLinks::Path(local.directory.path().to_owned()),
            FindLinks::Url(Url::from_directory_path(local.directory.path()).unwrap()),
            FindLinks::Url(pages.find_links_url()),
        ],
        ..settings(&one)
    });
    let found = demo_files(&client).await.unwrap();
    let sdist = "demo-2.0.tar.gz";
    assert_eq!(names(&found), [WHEEL, WHEEL, WHEEL, sdist, WHEEL, sdist, WHEEL]);
    assert_eq!(found[1].url.expose().port(), Some(two.port()));
    assert!(found[2].url.is_file() && found[4].url.is_file());
    assert_eq!((found[0].origin, found[6].origin), (FileOrigin::Index, FileOrigin::FindLinks));
    assert_eq!(found[6].sha256, Some(sha256_of(&content(4))));
    assert_eq!(client.project_files(&project("other")).await.unwrap().len(), 1);
    assert_eq!(pages.request_count("/links/"), 1, "a page of links is read once");
    assert_eq!(client.project_files(&project("nobody-has-it")).await.unwrap().len(), 0);
}

/// A `file:` index works with pages, with plain directories, and without the project.
#[tokio::test]
async fn an_index_may_be_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let simple = directory.path().join("sim ple");
    std::fs::create_dir_all(simple.join("demo")).unwrap();
    std::fs::create_dir_all(simple.join("plain")).unwrap();
    let hash = sha256_of(b"x");
    let page = format!("<a href='../../files/{WHEEL}#sha256={hash}'>x</a><a href='https://h.example/demo-2.zip'>y</a>");
    std::fs::write(simple.join("demo/index.html"), page).unwrap();
    std::fs::write(simple.join("plain/plain-1.0.tar.gz"), "x").unwrap();
    let index_url = Url::from_file_path(&simple).unwrap();
    let client = client(IndexSettings { index_url: Some(index_url), ..IndexSettings::default() });
    let found = demo_files(&client).await.unwrap();
    assert_eq!(names(&found), [WHEEL, "demo-2.zip"]);
    assert_eq!(found[0].url.expose().to_file_path().unwrap(), directory.path().join("files").join(WHEEL));
    assert_eq!(found[0].sha256, Some(hash));
    assert_eq!(names(&client.project_files(&project("plain")).await.unwrap()), ["plain-1.0.tar.gz"]);
    assert_eq!(client.project_files(&project("absent")).await.unwrap().len(), 0);
}

/// A place of `--find-links` that is not there is an error that names it.
#[tokio::test]
async fn a_missing_find_links_directory_is_named() {
    let missing = std::path::PathBuf::from("/no/such/directory");
    let find_links = vec![FindLinks::Path(missing.clone())];
    let client = client(IndexSettings { find_links, ..IndexSettings::default() });
    assert!(matches!(demo_files(&client).await, Err(IndexError::Read { path, .. }) if path == missing));
}

/// 500, 503, 429 and broken connections are tried again, 401, 403, 404 and 400 are not.
#[tokio::test]
async fn only_transient_errors_are_repeated() {
    let files = Files::with_wheel(100);
    let server = files.serve();
    for status in [500, 503, 429] {
        let retry_after = (status == 429).then(|| "0".to_owned());
        server.add_fault(PAGE_PATH, Fault::Status { status, retry_after, times: 1 });
    }
    assert_eq!(demo_files(&client(settings(&server))).await.unwrap().len(), 1);
    assert_eq!(server.request_count(PAGE_PATH), 4);
    for status in [401, 403, 404, 400] {
        let server = files.serve().with_fault(PAGE_PATH, Fault::Status { status, retry_after: None, times: ALWAYS });
        assert_eq!(demo_files(&client(settings(&server))).await.is_ok(), status == 404, "{status}");
        assert_eq!(server.request_count(PAGE_PATH), 1, "{status}");
    }
    let server = files.serve().with_fault(PAGE_PATH, Fault::DropAfter { bytes: 20, times: 2 });
    assert_eq!(demo_files(&client(settings(&server))).await.unwrap().len(), 1);
    assert_eq!(server.request_count(PAGE_PATH), 3);
}

/// An index that is down, silent, or asks to come back in an hour ends in an error that says how often it was tried.
#[tokio::test]
async fn the_client_gives_up() {
    let files = Files::with_wheel(100);
    let attempts = |error: IndexError| match error {
        IndexError::Request { source: RequestError::Exhausted { attempts, .. }, .. } => attempts,
        other => panic!("{other:?}"),
    };
    let busy = Fault::Status { status: 503, retry_after: None, times: ALWAYS };
    let server = files.serve().with_fault(PAGE_PATH, busy);
    assert_eq!(attempts(demo_files(&client(settings(&server))).await.unwrap_err()), 4);
    assert_eq!(server.request_count(PAGE_PATH), 4);

    let later = Fault::Status { status: 429, retry_after: Some("3600".to_owned()), times: ALWAYS };
    let server = files.serve().with_fault(PAGE_PATH, later);
    assert_eq!(attempts(demo_files(&client(settings(&server))).await.unwrap_err()), 1);

    let server = files.serve().with_fault(PAGE_PATH, Fault::Stall { bytes: 10, times: ALWAYS });
    let impatient = IndexSettings { timeout: Duration::from_millis(50), retries: 1, ..settings(&server) };
    assert_eq!(attempts(demo_files(&client(impatient)).await.unwrap_err()), 2);

    let gone = settings(&files.serve());
    assert_eq!(attempts(demo_files(&client(gone)).await.unwrap_err()), 4);
}

/// Rubbish with status 200 is an error and not an empty project.
#[tokio::test]
async fn rubbish_pages_are_refused() {
    let files = Files::with_wheel(100);
    for (content_type, body) in [
        ("text/html", b"\x00\xff\xfe rubbish".to_vec()),
        ("application/vnd.pypi.simple.v1+json", b"{\"files\": [".to_vec()),
        ("image/png", b"<html></html>".to_vec()),
    ] {
        let rubbish = Fault::Content { content_type: content_type.to_owned(), body, times: ALWAYS };
        let server = files.serve().with_fault(PAGE_PATH, rubbish);
        let error = demo_files(&client(settings(&server))).await.unwrap_err();
        let IndexError::Page { source, .. } = error else { panic!("{error:?}") };
        match content_type {
            "text/html" => assert!(matches!(source, PageError::NotHtml)),
            "image/png" => assert!(matches!(source, PageError::ContentType(_))),
            _ => assert!(matches!(source, PageError::Json(_))),
        }
        assert_eq!(server.request_count(PAGE_PATH), 1);
    }
}

/// Credentials of the index URL go to pages and files of that origin, and nowhere else.
#[tokio::test]
async fn credentials_come_from_the_url_and_stay_with_their_host() {
    let files = Files::with_wheel(100);
    let other = files.serve();
    let server = files.serve().with_basic_auth("/", "me@corp", "p w/%");
    let with_login = server.index_url_with_login("me@corp", Some("p w/%"));
    let client = client(IndexSettings { index_url: Some(with_login), ..settings(&server) });
    let file = find(&client, WHEEL).await;
    assert_eq!(file.url.expose().username(), "");
    let mut sink = crate::index_support::Memory::default();
    client.download(&file, &[], &mut sink).await.unwrap();
    assert_eq!(sink.bytes, content(100));
    // The same file, redirected to another origin: it gets no credentials.
    server.add_fault(&format!("/files/{WHEEL}"), Fault::Redirect { to: other.file_url(WHEEL).into() });
    client.download(&file, &[], &mut crate::index_support::Memory::default()).await.unwrap();
    assert_eq!(other.requests().len(), 1);
    assert_eq!(other.requests()[0].header("authorization"), None);
}

/// Without or with wrong credentials the answer is "unauthorized", and shows no secret anywhere.
#[tokio::test]
async fn secrets_are_never_shown() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_basic_auth("/", "me", "right");
    let with_login = server.index_url_with_login("s3cret-user", Some("s3cret-password"));
    let settings = IndexSettings { index_url: Some(with_login), ..settings(&server) };
    let mut shown = format!("{settings:?}");
    let client = client(settings);
    shown.push_str(&format!("{client:?}"));
    let error = demo_files(&client).await.unwrap_err();
    assert!(error.is_unauthorized());
    shown.push_str(&format!("{error:?} {error}"));
    let mut next = error.source();
    while let Some(source) = next {
        shown.push_str(&format!(" {source:?} {source}"));
        next = source.source();
    }
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("****@127.0.0.1"), "{shown}");
    assert_eq!(server.request_count(PAGE_PATH), 1);
}

/// An index that says 403 does not hide the files of the others; alone it is an error.
#[tokio::test]
async fn a_forbidden_project_may_be_elsewhere() {
    let files = Files::with_wheel(100);
    let forbidden = Fault::Status { status: 403, retry_after: None, times: ALWAYS };
    let (server, other) = (files.serve().with_fault(PAGE_PATH, forbidden), files.serve());
    let both = IndexSettings { extra_index_urls: vec![other.index_url()], ..settings(&server) };
    assert_eq!(demo_files(&client(both)).await.unwrap().len(), 1);
    assert!(demo_files(&client(settings(&server))).await.is_err_and(|error| error.is_unauthorized()));
}

/// Credentials from netrc; a missing file is an empty one.
#[tokio::test]
async fn credentials_come_from_netrc() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_basic_auth("/", "me", "from netrc");
    let netrc = files.write(".netrc", b"machine 127.0.0.1\r\n login me\r\n password \"from netrc\"\r\n");
    let with_netrc = IndexSettings { netrc: Some(netrc), ..settings(&server) };
    assert_eq!(demo_files(&client(with_netrc)).await.unwrap().len(), 1);
    let missing = IndexSettings { netrc: Some("/no/such/netrc".into()), ..settings(&server) };
    assert!(demo_files(&client(missing)).await.is_err_and(|error| error.is_unauthorized()));
}

/// The keyring program is asked once for the password of a user name, by URL and then by host.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_keyring_program() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_basic_auth("/", "me", "from keyring");
    let log = files.directory.path().join("keyring.log");
    let host = format!("127.0.0.1:{}", server.port());
    let script =
        format!("#!/bin/sh\necho \"$@\" >> '{}'\n[ \"$2\" = '{host}' ] && echo 'from keyring'\n", log.display());
    let keyring = files.write("keyring", script.as_bytes());
    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o755)).unwrap();
    let with_keyring = IndexSettings {
        index_url: Some(server.index_url_with_login("me", None)),
        keyring: Some(keyring),
        ..settings(&server)
    };
    let client = client(with_keyring.clone());
    assert_eq!(demo_files(&client).await.unwrap().len(), 1);
    assert_eq!(client.project_files(&project("other")).await.unwrap().len(), 0);
    let asked = std::fs::read_to_string(log).unwrap();
    assert_eq!(asked, format!("get {} me\nget {host} me\n", server.index_url()));
    let absent = IndexSettings { keyring: Some("/no/such/keyring".into()), ..with_keyring };
    assert!(demo_files(&crate::index_support::client(absent)).await.is_err_and(|error| error.is_unauthorized()));
}

/// Redirects are followed, links refer to where they end, and a circle ends.
#[tokio::test]
async fn redirects_are_followed_to_an_end() {
    let files = Files::with_wheel(100);
    let target = files.serve();
    let to = target.url("simple/demo/").into();
    let server = files.serve().with_fault(PAGE_PATH, Fault::Redirect { to });
    let file = find(&client(settings(&server)), WHEEL).await;
    assert_eq!(file.url.expose().as_str(), target.file_url(WHEEL).as_str());

    let server = files.serve().with_fault(PAGE_PATH, Fault::Redirect { to: PAGE_PATH.to_owned() });
    let error = demo_files(&client(settings(&server))).await.unwrap_err();
    assert!(matches!(error, IndexError::Request { source: RequestError::Redirects { .. }, .. }), "{error:?}");
    assert_eq!(server.request_count(PAGE_PATH), 11);

    let server = files.serve().with_fault(PAGE_PATH, Fault::Redirect { to: "file:///etc/passwd".to_owned() });
    let error = demo_files(&client(settings(&server))).await.unwrap_err();
    assert!(matches!(error, IndexError::Request { source: RequestError::RedirectTarget { .. }, .. }), "{error:?}");
}

/// An explicit proxy is asked with the whole URL; its bad settings show no secret.
#[tokio::test]
async fn a_proxy_is_used() {
    let files = Files::with_wheel(100);
    let proxy = files.serve();
    let through_proxy = IndexSettings {
        index_url: Some(Url::parse("http://index.invalid/simple/").unwrap()),
        proxy: Some(format!("http://proxy-user:s3cret@127.0.0.1:{}", proxy.port())),
        ..settings(&proxy)
    };
    let file = find(&client(through_proxy.clone()), WHEEL).await;
    assert_eq!(file.url.expose().as_str(), format!("http://index.invalid/files/{WHEEL}"));
    let request = &proxy.requests()[0];
    assert_eq!(request.target, "http://index.invalid/simple/demo/");
    assert!(request.header("proxy-authorization").is_some_and(|value| value.starts_with("Basic ")));

    let bad = IndexSettings { proxy: Some("http://user:s3cret@:bad".to_owned()), ..through_proxy };
    let error = demo_files(&client(bad)).await.unwrap_err();
    let mut shown = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(current) = next {
        shown.push_str(&current.to_string());
        next = current.source();
    }
    assert!(shown.contains("proxy") && !shown.contains("s3cret"), "{shown}");
}

/// An unknown certificate is refused at once; a CA file or a trusted host lets it pass; HTTP/2 is offered.
#[tokio::test]
async fn certificates_are_checked() {
    let files = Files::with_wheel(100);
    let server = IndexServer::start_tls(files.directory.path());
    // The second where this machine has no authorities at all.
    let error = demo_files(&client(settings(&server))).await.unwrap_err();
    let is_right = matches!(
        error,
        IndexError::Request {
            source: RequestError::Certificate { .. } | RequestError::Setup(SetupError::NoAuthorities { .. }),
            ..
        }
    );
    assert!(is_right, "{error:?}");
    assert!(server.connection_count() <= 1, "no repetition changes a certificate");

    let with_authority = IndexSettings { ca_file: Some(authority_file()), ..settings(&server) };
    assert_eq!(demo_files(&client(with_authority)).await.unwrap().len(), 1);
    assert!(server.offered_protocols().contains(&"h2".to_owned()));

    let with_trust = |host: String| IndexSettings { trusted_hosts: vec![host], ..settings(&server) };
    assert_eq!(demo_files(&client(with_trust("127.0.0.1".to_owned()))).await.unwrap().len(), 1);
    assert_eq!(demo_files(&client(with_trust(format!("127.0.0.1:{}", server.port())))).await.unwrap().len(), 1);
    assert!(demo_files(&client(with_trust("127.0.0.1:1".to_owned()))).await.is_err());

    for (text, name) in [("no certificate", "bad.pem"), ("", "empty.pem")] {
        let bad = IndexSettings { ca_file: Some(files.write(name, text.as_bytes())), ..settings(&server) };
        assert!(demo_files(&client(bad)).await.is_err(), "{name}");
    }
}

/// The system's authorities count, `SSL_CERT_FILE` included; a machine without any still reads `http:` and says what
/// is missing for `https:`. The environment is that of a process, so the test runs itself again, with a filter that
/// matches nothing as the mark.
#[tokio::test]
async fn authorities_come_from_the_system() {
    const NAME: &str = "index_client::authorities_come_from_the_system";
    let files = Files::with_wheel(100);
    let server = IndexServer::start_tls(files.directory.path());
    let answer = demo_files(&client(settings(&server))).await;
    let is_marked = |mark: &str| std::env::args().any(|argument| argument == mark);
    if is_marked("mark-trusted") {
        assert_eq!(answer.unwrap().len(), 1);
    } else if is_marked("mark-none") {
        let IndexError::Request { source, .. } = answer.unwrap_err() else { panic!("no request was made") };
        assert!(matches!(source, RequestError::Setup(SetupError::NoAuthorities { .. })), "{source:?}");
        assert_eq!(demo_files(&client(settings(&files.serve()))).await.unwrap().len(), 1);
        let with_authority = IndexSettings { ca_file: Some(authority_file()), ..settings(&server) };
        assert_eq!(demo_files(&client(with_authority)).await.unwrap().len(), 1);
    } else {
        for (mark, authorities) in [("mark-trusted", authority_file()), ("mark-none", "/dev/null".into())] {
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, mark])
                .env("SSL_CERT_FILE", authorities)
                .env("SSL_CERT_DIR", files.directory.path())
                .output()
                .unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && shown.contains("1 passed"), "{mark}: {shown}");
        }
    }
}

/// No more requests are under way than the settings allow.
#[tokio::test(flavor = "multi_thread")]
async fn concurrency_is_bounded() {
    let files = Files::with_wheel(100);
    let server = files.serve();
    let names: Vec<_> = (0..12).map(|number| project(&format!("p{number}"))).collect();
    for name in &names {
        files.write(&format!("{name}-1.0.tar.gz"), b"x");
        let pause = Fault::Slow { chunk_bytes: 100, pause: Duration::from_millis(5) };
        server.add_fault(&format!("/simple/{name}/"), pause);
    }
    let client = client(IndexSettings { concurrency: 3, ..settings(&server) });
    let answers = futures_util::future::join_all(names.iter().map(|name| client.project_files(name))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|files| files.len() == 1)));
    assert!(server.concurrency_peak() <= 3, "{}", server.concurrency_peak());
    assert!(server.concurrency_peak() > 1, "nothing was parallel");
}
