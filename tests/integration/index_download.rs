//! Downloads: hashes, resumption, repetition, limits and full disks.

use std::io::ErrorKind;
use std::time::Duration;

use pip_accel_builder::index::{DownloadError, IndexSettings, PublishedFile};
use pip_accel_tests::index_server::{ALWAYS, Fault, PageMode, sha256_of};
use url::Url;

use crate::index_support::{Files, Memory, WHEEL, WHEEL_PATH, client, content, download, find, settings};

const SIZE: usize = 1_000_000;

/// D17: a pull that is interrupted again and again resumes where it broke, more often than a single failure would be repeated.
#[tokio::test]
async fn a_broken_download_is_resumed() {
    let files = Files::with_wheel(SIZE);
    for traits in [None, Some(Fault::NoValidator)] {
        let server = files.serve().with_fault(WHEEL_PATH, Fault::DropAfter { bytes: 150_000, times: 6 });
        let validated = traits.is_none();
        if let Some(fault) = traits {
            server.add_fault(WHEEL_PATH, fault);
        }
        let mut sink = Memory::default();
        let got = download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap();
        assert_eq!((got, sink.bytes == content(SIZE)), (sha256_of(&content(SIZE)), true));
        assert_eq!((sink.restarts, sink.total), (0, Some(SIZE as u64)));
        assert_eq!(server.request_count(WHEEL_PATH), 7);
        let ranges: Vec<_> =
            server.requests().iter().filter_map(pip_accel_tests::index_server::Request::range_start).collect();
        assert_eq!(ranges, sink.retries);
        assert!(ranges.is_sorted_by(|left, right| left < right), "{ranges:?}");
        let conditional = server.requests().iter().filter(|request| request.header("if-range").is_some()).count();
        assert_eq!(conditional, if validated { 6 } else { 0 });
    }
}

/// A server that knows no ranges sends everything again; the sink forgets what it had.
#[tokio::test]
async fn a_server_without_ranges_starts_again() {
    let files = Files::with_wheel(SIZE);
    let server = files
        .serve()
        .with_fault(WHEEL_PATH, Fault::IgnoreRange)
        .with_fault(WHEEL_PATH, Fault::DropAfter { bytes: 150_000, times: 2 });
    let mut sink = Memory::default();
    download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap();
    assert_eq!((sink.bytes == content(SIZE), sink.restarts), (true, 2));
}

/// Endless repetition without progress ends, whatever the server sends each time.
#[tokio::test]
async fn no_progress_ends_the_download() {
    let files = Files::with_wheel(SIZE);
    let server = files
        .serve()
        .with_fault(WHEEL_PATH, Fault::IgnoreRange)
        .with_fault(WHEEL_PATH, Fault::DropAfter { bytes: 150_000, times: ALWAYS });
    let mut sink = Memory::default();
    let error = download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap_err();
    assert!(matches!(error, DownloadError::Transient { attempts: 4, .. }), "{error:?}");
    assert!(server.request_count(WHEEL_PATH) <= 5, "{}", server.request_count(WHEEL_PATH));
}

/// A file that was replaced between two attempts is got from its beginning (`If-Range`).
#[tokio::test]
async fn a_replaced_file_is_not_glued_to_the_old_one() {
    let files = Files::with_wheel(SIZE);
    let server = files
        .serve()
        .with_mode(PageMode::JsonWithoutHashes)
        .with_fault(WHEEL_PATH, Fault::DropAfter { bytes: 150_000, times: 1 });
    let replaced = content(SIZE / 2);
    let (path, new) = (files.directory.path().join(WHEEL), replaced.clone());
    let at_retry = move || std::fs::write(path, new).unwrap();
    let mut sink = Memory { at_retry: Some(Box::new(at_retry)), ..Memory::default() };
    // The size that the index announced was the old one's.
    let client = client(settings(&server));
    let file = PublishedFile { size: None, ..find(&client, WHEEL).await };
    client.download(&file, &[sha256_of(&replaced)], &mut sink).await.unwrap();
    assert_eq!((sink.bytes == replaced, sink.restarts), (true, 1));
}

/// D18: flipped bytes and truncated files are asked for once more, past caches, and then are an error.
#[tokio::test]
async fn wrong_bytes_are_refused() {
    let files = Files::with_wheel(SIZE);
    for fault in [|times| Fault::WrongBytes { times }, |times| Fault::Truncated { bytes: 999, times }] {
        let server = files.serve().with_mode(PageMode::Html).with_fault(WHEEL_PATH, fault(1));
        let mut sink = Memory::default();
        download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap();
        assert_eq!((sink.bytes == content(SIZE), sink.restarts), (true, 1));
        assert_eq!(server.requests()[2].header("cache-control"), Some("no-cache"));

        let server = files.serve().with_mode(PageMode::Html).with_fault(WHEEL_PATH, fault(ALWAYS));
        let error = download(&client(settings(&server)), &content(SIZE), &mut Memory::default()).await.unwrap_err();
        let DownloadError::HashMismatch { expected, got, .. } = error else { panic!("{error:?}") };
        assert_eq!(expected, [sha256_of(&content(SIZE))]);
        assert_ne!(got, expected[0]);
        assert_eq!(server.request_count(WHEEL_PATH), 2);
    }
}

/// A hash that the index announces and the lock does not have is refused before anything is downloaded.
#[tokio::test]
async fn an_announced_hash_is_compared_first() {
    let files = Files::with_wheel(SIZE);
    let server = files.serve();
    let error = download(&client(settings(&server)), b"something else", &mut Memory::default()).await.unwrap_err();
    assert!(matches!(error, DownloadError::HashMismatch { got, .. } if got == sha256_of(&content(SIZE))));
    assert_eq!(server.request_count(WHEEL_PATH), 0);
}

/// A file must have the hash its index announces even if it has another one of the lock: it is another file then.
#[tokio::test]
async fn the_announced_hash_counts_too() {
    let files = Files::with_wheel(SIZE);
    let announced = sha256_of(b"another file of the release");
    let server = files.serve().with_announced_sha256(WHEEL, announced);
    let client = client(settings(&server));
    let file = find(&client, WHEEL).await;
    let expected = [announced, sha256_of(&content(SIZE))];
    let error = client.download(&file, &expected, &mut Memory::default()).await.unwrap_err();
    assert!(matches!(error, DownloadError::HashMismatch { expected, .. } if expected == [announced]));
}

/// Transient statuses are repeated; 401, 403 and 404 are told apart and are not.
#[tokio::test]
async fn statuses_are_told_apart() {
    let files = Files::with_wheel(SIZE);
    let status = |status, times| Fault::Status { status, retry_after: None, times };
    let server = files.serve().with_fault(WHEEL_PATH, status(503, 2)).with_fault(WHEEL_PATH, status(429, 1));
    download(&client(settings(&server)), &content(SIZE), &mut Memory::default()).await.unwrap();
    assert_eq!(server.request_count(WHEEL_PATH), 4);
    for code in [401, 403, 404, 410, 400, 500] {
        let server = files.serve().with_fault(WHEEL_PATH, status(code, ALWAYS));
        let error = download(&client(settings(&server)), &content(SIZE), &mut Memory::default()).await.unwrap_err();
        let is_right = match error {
            DownloadError::Unauthorized { status, .. } => status == code && matches!(code, 401 | 403),
            DownloadError::NotFound { .. } => matches!(code, 404 | 410),
            DownloadError::Request { .. } => code == 400,
            DownloadError::Transient { attempts, .. } => code == 500 && attempts == 4,
            _ => false,
        };
        assert!(is_right, "{code}");
        assert_eq!(server.request_count(WHEEL_PATH), if code == 500 { 4 } else { 1 });
    }
}

/// A connection that goes silent is given up and resumed.
#[tokio::test]
async fn silence_is_a_broken_connection() {
    let files = Files::with_wheel(SIZE);
    let server = files.serve().with_fault(WHEEL_PATH, Fault::Stall { bytes: 100_000, times: 1 });
    let impatient = IndexSettings { timeout: Duration::from_millis(200), ..settings(&server) };
    let mut sink = Memory::default();
    download(&client(impatient), &content(SIZE), &mut sink).await.unwrap();
    assert_eq!((sink.bytes == content(SIZE), sink.restarts, sink.retries.len()), (true, 0, 1));
}

/// A body without length that is cut off is noticed by the size that the index announced.
#[tokio::test]
async fn a_cut_body_without_length_is_resumed() {
    let files = Files::with_wheel(SIZE);
    let server = files
        .serve()
        .with_fault(WHEEL_PATH, Fault::NoLength)
        .with_fault(WHEEL_PATH, Fault::DropAfter { bytes: 150_000, times: 1 });
    let mut sink = Memory::default();
    download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap();
    assert_eq!((sink.bytes == content(SIZE), sink.restarts), (true, 0));
}

/// A file larger than its index says is cut off, whether or not the server announces its length.
#[tokio::test]
async fn more_bytes_than_announced_are_refused() {
    let files = Files::with_wheel(SIZE);
    for fault in [Fault::NoLength, Fault::NoValidator] {
        let server = files.serve().with_fault(WHEEL_PATH, fault);
        let client = client(settings(&server));
        let file = PublishedFile { size: Some(1000), ..find(&client, WHEEL).await };
        let mut sink = Memory::default();
        let error = client.download(&file, &[], &mut sink).await.unwrap_err();
        assert!(matches!(error, DownloadError::TooLarge { limit: 1000, .. }), "{error:?}");
        assert!(sink.bytes.len() <= 1000);
    }
}

/// A full disk is seen as what it is and ends the download.
#[tokio::test]
async fn a_full_disk_is_not_the_servers_fault() {
    let files = Files::with_wheel(SIZE);
    let server = files.serve();
    let mut sink = Memory { room: Some(SIZE / 2), ..Memory::default() };
    let error = download(&client(settings(&server)), &content(SIZE), &mut sink).await.unwrap_err();
    assert!(matches!(error, DownloadError::Sink { source, .. } if source.kind() == ErrorKind::StorageFull));
    assert_eq!(server.request_count(WHEEL_PATH), 1);
}

/// Local files go the same way: hashed, measured, and named when they are missing.
#[tokio::test]
async fn local_files_are_checked_too() {
    let files = Files::with_wheel(3_000_000);
    let client = client(IndexSettings::default());
    let local = |name: &str| {
        let url = Url::from_file_path(files.directory.path().join(name)).unwrap();
        PublishedFile::direct(url).unwrap()
    };
    let mut sink = Memory::default();
    let digest = sha256_of(&content(3_000_000));
    assert_eq!(client.download(&local(WHEEL), &[digest], &mut sink).await.unwrap(), digest);
    assert_eq!((sink.bytes == content(3_000_000), sink.total), (true, Some(3_000_000)));
    let wrong = client.download(&local(WHEEL), &[sha256_of(b"x")], &mut Memory::default()).await.unwrap_err();
    assert!(matches!(wrong, DownloadError::HashMismatch { got, .. } if got == digest));
    let missing = client.download(&local("missing-1.0.zip"), &[], &mut Memory::default()).await.unwrap_err();
    assert!(matches!(missing, DownloadError::NotFound { .. }));
    std::fs::create_dir(files.directory.path().join("folder-1.0.zip")).unwrap();
    let folder = client.download(&local("folder-1.0.zip"), &[], &mut Memory::default()).await.unwrap_err();
    assert!(matches!(folder, DownloadError::Read { .. }));
}

/// A direct URL may carry its own credentials; they are not shown.
#[tokio::test]
async fn a_direct_url_brings_its_credentials() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_basic_auth("/", "me", "s3cret");
    let mut url = server.file_url(WHEEL);
    url.set_username("me").unwrap();
    url.set_password(Some("s3cret")).unwrap();
    let direct = |url: &Url| PublishedFile::direct(url.clone()).unwrap();
    let client = client(settings(&server));
    client.download(&direct(&url), &[], &mut Memory::default()).await.unwrap();
    url.set_password(Some("s3cret-and-wrong")).unwrap();
    let error = client.download(&direct(&url), &[], &mut Memory::default()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Unauthorized { status: 401, .. }));
    assert!(!format!("{error:?} {error}").contains("s3cret"));
}

/// Files that an archive tool would inflate on the way arrive as they are.
#[tokio::test]
async fn bytes_are_never_decoded() {
    let files = Files::with_wheel(100);
    let server = files.serve().with_gzip_pages();
    download(&client(settings(&server)), &content(100), &mut Memory::default()).await.unwrap();
    let request = server.requests().into_iter().find(|request| request.path == WHEEL_PATH).unwrap();
    assert_eq!(request.header("accept-encoding"), Some("identity"));
}
