//! Getting in: credentials, proxies and certificates, by the program and an index that insists on them.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests; clippy looks only at the functions with #[test]"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pip_accel_tests::index_server::{Fault, IndexServer, authority_file, client_certificate_file};
use pip_accel_tests::{BuiltFile, LockWriter, Output, Proxy, SdistBuilder, TestEnv, WheelBuilder};
use url::Url;

use crate::support::{as_root_and_user, env, exit};

pub(crate) const USER: &str = "reader";
/// Also what it looks like in a URL; its Basic form is looked for as well.
pub(crate) const PASSWORD: &str = "s3cr3t-w0rd";
/// A host that no resolver knows: only a proxy can lead there.
const ELSEWHERE: &str = "index.invalid";
/// An address of this machine that is none of the loopback device's, which is never reached through a proxy.
const ANY_ADDRESS: &str = "0.0.0.0";

fn package() -> BuiltFile {
    WheelBuilder::simple("package", "1.0").build()
}

/// An index with `package` (a wheel) and `built` (an sdist), and a lock that says nothing of where they are.
fn indexed(env: &TestEnv) -> IndexServer {
    let files = [package(), SdistBuilder::simple("built", "1.0").build()];
    let lock = files.iter().fold(LockWriter::new(), |lock, file| {
        env.add(file);
        lock.pin(file)
    });
    env.write("requirements.lock", lock.text());
    IndexServer::start(&env.files())
}

/// The same, for whoever has the password.
fn guarded(env: &TestEnv) -> IndexServer {
    indexed(env).with_basic_auth("/", USER, PASSWORD)
}

/// Whether any file below `directory` holds `text`.
fn holds(directory: &Path, text: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match path.symlink_metadata().unwrap() {
            metadata if metadata.is_dir() => holds(&path, text),
            metadata if metadata.is_file() => {
                std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
            }
            _ => path.read_link().is_ok_and(|target| target.to_string_lossy().contains(text)),
        }
    })
}

/// Realizes, and asserts that it worked and that the password is in no output of any command, no file and no log.
#[track_caller]
fn realizes_without_telling(env: &TestEnv, arguments: &[&str]) -> Output {
    let mut all = vec!["--json", "-vv"];
    all.extend(arguments);
    let basic = data_encoding::BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes());
    let output = env.realize(&all).success();
    env.python_code("import package, built").success();
    let commands: [&[&str]; 8] = [
        &["status", "--json"],
        &["show", "package", "--json"],
        &["show", "built"],
        &["log", "built"],
        &["roots", "--json"],
        &["config", "show"],
        &["doctor", "-v"],
        &["gc", "--json"],
    ];
    let outputs = commands.iter().map(|command| env.run(*command));
    for output in std::iter::once(output.clone()).chain(outputs) {
        output.never_mentions(PASSWORD).never_mentions(&basic);
    }
    for place in [env.store(), env.venv(), env.base().join("tmp")] {
        assert!(!holds(&place, PASSWORD) && !holds(&place, &basic), "the password is in {}", place.display());
    }
    output
}

/// A `keyring` on PATH that knows the password, and the file where it notes what it was asked.
pub(crate) fn with_keyring(env: &mut TestEnv) -> std::path::PathBuf {
    let programs = env.base().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let (program, notes) = (programs.join("keyring"), env.base().join("asked"));
    let script =
        format!("#!/bin/sh\necho \"$@\" >> '{}'\n[ \"$1 $3\" = 'get {USER}' ] && echo '{PASSWORD}'\n", notes.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    env.set("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", programs.display()));
    notes
}

#[test]
fn a_password_in_any_index_url_opens_it() {
    for place in ["lock", "option", "variable", "file", "pip"] {
        let mut env = env();
        let server = guarded(&env);
        let url = server.index_url_with_login(USER, Some(PASSWORD)).to_string();
        let mut arguments = Vec::new();
        match place {
            "lock" => {
                let lock = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
                env.write("requirements.lock", format!("--index-url {url}\n{lock}"));
            }
            "option" => arguments.extend(["--index-url", &url]),
            "variable" => env.set("PIP_ACCEL_INDEX_URL", &url),
            "file" => std::fs::write(env.base().join("pip-accel.conf"), format!("index-url = \"{url}\"\n")).unwrap(),
            _ => {
                env.unset("PIP_INDEX_URL");
                let path = env.write("pip.conf", format!("[global]\nindex-url = {url}\n"));
                env.set("PIP_CONFIG_FILE", path);
            }
        }
        realizes_without_telling(&env, &arguments);
    }
}

/// The variable in a URL of the lock is what keeps the password out of it.
#[test]
fn a_password_in_a_variable_of_the_lock_opens_the_index() {
    let mut env = env();
    let server = guarded(&env);
    let lock = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    let index = format!("--index-url http://{USER}:${{INDEX_PASSWORD}}@127.0.0.1:{}/simple/\n", server.port());
    env.write("requirements.lock", index + &lock);
    env.realize(&[]).fails_with(exit::ERROR).explains().says("INDEX_PASSWORD").says("credentials");
    env.set("INDEX_PASSWORD", PASSWORD);
    realizes_without_telling(&env, &[]);
}

#[test]
fn a_direct_url_with_a_password_leaves_none_behind() {
    let env = env();
    let server = guarded(&env);
    let mut lock = LockWriter::new().line("--no-index");
    for file in [package(), SdistBuilder::simple("built", "1.0").build()] {
        let mut url: Url = server.file_url(&file.file_name);
        url.set_username(USER).unwrap();
        url.set_password(Some(PASSWORD)).unwrap();
        lock = lock.line(format!("{} @ {url} {}", file.name, file.hash_option()));
    }
    env.write("requirements.lock", lock.text());
    realizes_without_telling(&env, &[]);
    let direct = std::fs::read_to_string(env.site_packages().join("package-1.0.dist-info/direct_url.json")).unwrap();
    assert!(direct.contains(server.file_url(&package().file_name).as_str()), "{direct}");
}

#[test]
fn netrc_opens_the_index_from_each_of_its_places() {
    for place in ["home", "NETRC", "PIP_ACCEL_NETRC"] {
        let mut env = env();
        let server = guarded(&env);
        env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
        env.realize(&[]).fails_with(exit::ERROR).explains().says("credentials");
        let path = if place == "home" { env.home().join(".netrc") } else { env.base().join("other-netrc") };
        std::fs::write(&path, format!("machine 127.0.0.1\nlogin {USER}\npassword {PASSWORD}\n")).unwrap();
        if place != "home" {
            env.set(place, &path);
        }
        realizes_without_telling(&env, &[]);
    }
}

/// The program is asked for a user name that has no password, once in a run; pip's own setting for it counts too.
#[test]
fn a_keyring_opens_the_index() {
    for (name, value) in [("PIP_ACCEL_KEYRING", "keyring"), ("PIP_KEYRING_PROVIDER", "subprocess")] {
        let mut env = env();
        let server = guarded(&env);
        let notes = with_keyring(&mut env);
        env.set("PIP_ACCEL_INDEX_URL", server.index_url_with_login(USER, None).as_str());
        env.realize(&[]).fails_with(exit::ERROR).explains().says("keyring");
        assert!(!notes.exists(), "nobody said that there is a keyring");
        env.set(name, value);
        realizes_without_telling(&env, &[]);
        // `realize` and `doctor`, each once for two projects and their files.
        assert_eq!(std::fs::read_to_string(notes).unwrap(), format!("get {} {USER}\n", server.index_url()).repeat(2));
    }
}

/// The resolver of build requirements gets the password, and what it says of a failure is shown without it.
#[test]
fn the_resolver_gets_the_password_and_tells_nobody() {
    if pip_accel_tests::host::uv().is_none() {
        return pip_accel_tests::skip("there is no uv; run `make setup`");
    }
    as_root_and_user(|env| {
        let built = SdistBuilder::simple("built", "1.0").build_requires("helper>=1").during_build("import helper\n");
        let unbuildable = SdistBuilder::simple("unbuildable", "1.0").build_requires("nobody-has-this>=1").build();
        let (built, package) = (built.build(), package());
        env.add(&WheelBuilder::simple("helper", "1.0").build());
        for file in [&built, &package, &unbuildable] {
            env.add(file);
        }
        let server = IndexServer::start(&env.files()).with_basic_auth("/", USER, PASSWORD);
        let index = format!("--index-url {}", server.index_url_with_login(USER, Some(PASSWORD)));
        let lock = || LockWriter::new().line(&index);
        env.write("requirements.lock", lock().pin(&unbuildable).text());
        let output = env.realize(&["-vv"]).fails_with(exit::BUILD_FAILED).explains().says("nobody-has-this");
        output.never_mentions(PASSWORD);
        env.write("requirements.lock", lock().pin(&built).pin(&package).text());
        realizes_without_telling(&env, &[]);
        assert_eq!(env.builds(), 1);
    });
}

#[test]
fn a_wrong_password_is_said_once_and_not_shown() {
    let mut env = env();
    let server = guarded(&env);
    env.set("PIP_ACCEL_RETRIES", "5");
    let url = server.index_url_with_login(USER, Some("wr0ng-w0rd"));
    let output = env.realize(&["--index-url", url.as_str(), "-vv"]).fails_with(exit::ERROR).explains();
    output.says("401").says("credentials").never_mentions("wr0ng-w0rd");
    // The first refusal ends the run; each page was asked for once at most.
    assert!((1..=2).contains(&server.requests().len()), "{:?}", server.requests());
    assert!(["package", "built"].iter().all(|name| server.request_count(&format!("/simple/{name}/")) <= 1));
    assert!(!env.venv().exists());
    assert!(!holds(&env.store(), "wr0ng-w0rd"));
}

#[test]
fn a_redirect_to_another_host_gets_no_credentials() {
    let env = env();
    let (server, other) = (guarded(&env), IndexServer::start(&env.files()));
    for name in ["package", "built"] {
        let to = other.url(&format!("simple/{name}/")).into();
        server.add_fault(&format!("/simple/{name}/"), Fault::Redirect { to });
    }
    let url = server.index_url_with_login(USER, Some(PASSWORD));
    realizes_without_telling(&env, &["--index-url", url.as_str()]);
    assert!(server.requests().iter().all(|request| request.header("authorization").is_some()));
    let requests = other.requests();
    assert!(requests.len() >= 4, "two pages and two files: {requests:?}");
    assert!(requests.iter().all(|request| request.header("authorization").is_none()), "{requests:?}");
}

/// Every way to name a proxy leads through it, with its login, in whole URLs for `http:`.
#[test]
fn a_proxy_is_taken_from_each_of_its_places() {
    for place in ["PIP_ACCEL_PROXY", "PIP_PROXY", "pip.conf", "HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let mut env = env();
        let server = indexed(&env);
        let proxy = Proxy::start_with_login(server.port(), USER, PASSWORD);
        env.set("PIP_ACCEL_INDEX_URL", format!("http://{ELSEWHERE}/simple/"));
        let url = proxy.url(&format!("{USER}:{PASSWORD}@"));
        if place == "pip.conf" {
            let path = env.write("pip.conf", format!("[global]\nproxy = {url}\n"));
            env.set("PIP_CONFIG_FILE", path);
        } else {
            env.set(place, url);
        }
        realizes_without_telling(&env, &[]);
        assert!(!proxy.requests().is_empty(), "{place}");
        for request in server.requests() {
            assert!(request.target.starts_with(&format!("http://{ELSEWHERE}/")), "{place}: {request:?}");
        }
    }
}

/// `https:` goes through a tunnel: the proxy learns the host, and neither path nor password.
#[test]
fn a_proxy_of_https_is_a_tunnel() {
    for place in ["PIP_ACCEL_PROXY", "PIP_PROXY", "HTTPS_PROXY"] {
        let mut env = env();
        drop(indexed(&env));
        let server = IndexServer::start_tls(&env.files()).with_basic_auth("/", USER, PASSWORD);
        let proxy = Proxy::start(server.port());
        env.set("PIP_ACCEL_CA_FILE", authority_file());
        env.set("PIP_ACCEL_INDEX_URL", format!("https://{USER}:{PASSWORD}@{ELSEWHERE}/simple/"));
        env.set(place, proxy.url(""));
        realizes_without_telling(&env, &[]);
        let requests = proxy.requests();
        assert!(!requests.is_empty(), "{place}");
        for request in requests {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("CONNECT", "index.invalid:443"));
            assert_eq!(request.header("authorization"), None);
        }
    }
}

#[test]
fn a_proxy_that_wants_a_login_is_named() {
    let mut env = env();
    let server = indexed(&env);
    let proxy = Proxy::start_with_login(server.port(), USER, PASSWORD);
    env.set("PIP_ACCEL_INDEX_URL", format!("http://{ELSEWHERE}/simple/"));
    env.set("PIP_ACCEL_PROXY", proxy.url("reader:wr0ng-w0rd@"));
    let output = env.realize(&[]).fails_with(exit::ERROR).explains().says("407").says("PIP_ACCEL_PROXY");
    output.never_mentions("wr0ng-w0rd");
    assert_eq!(server.requests().len(), 0);
}

/// What NO_PROXY names is asked directly, whoever named the proxy; the loopback device always is.
#[test]
fn no_proxy_leads_past_it() {
    for place in ["PIP_ACCEL_PROXY", "HTTP_PROXY"] {
        for (host, no_proxy, is_proxied) in
            [(ANY_ADDRESS, "", true), (ANY_ADDRESS, "x.example,0.0.0.0", false), ("127.0.0.1", "", false)]
        {
            let mut env = env();
            let server = indexed(&env);
            let proxy = Proxy::start(server.port());
            env.set("PIP_ACCEL_INDEX_URL", format!("http://{host}:{}/simple/", server.port()));
            env.set(place, proxy.url(""));
            env.set("NO_PROXY", no_proxy);
            env.realize(&[]).success();
            assert_eq!(proxy.requests().is_empty(), !is_proxied, "{place} {host} {no_proxy}");
            assert!(!server.requests().is_empty());
        }
    }
}

/// Each way to name an authority makes its index usable, and the system's store is not needed for it.
#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let places = ["PIP_ACCEL_CA_FILE", "PIP_CERT", "pip.conf", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    for place in places {
        let mut env = env();
        drop(indexed(&env));
        let server = IndexServer::start_tls(&env.files());
        env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
        if place == "pip.conf" {
            let path = env.write("pip.conf", format!("[global]\ncert = {}\n", authority_file().display()));
            env.set("PIP_CONFIG_FILE", path);
        } else {
            env.set(place, authority_file());
        }
        env.realize(&[]).success();
        env.python_code("import package, built").success();
    }
}

/// A host whose certificate need not be right is named in the lock, or to pip.
#[test]
fn a_trusted_host_needs_no_authority() {
    let mut env = env();
    drop(indexed(&env));
    let server = IndexServer::start_tls(&env.files());
    let lock = std::fs::read_to_string(env.project().join("requirements.lock")).unwrap();
    env.write("requirements.lock", format!("--index-url {}\n--trusted-host 127.0.0.1\n{lock}", server.index_url()));
    env.realize(&[]).success();
    env.write("requirements.lock", format!("--index-url {}\n{lock}", server.index_url()));
    env.set("PIP_TRUSTED_HOST", format!("127.0.0.1:{}", server.port()));
    env.realize(&["--venv", "other"]).success();
}

#[test]
fn a_certificate_that_cannot_be_checked_is_an_error_with_a_remedy() {
    let mut env = env();
    drop(indexed(&env));
    let server = IndexServer::start_tls(&env.files());
    env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
    env.set("PIP_ACCEL_RETRIES", "5");
    // Another name than the certificate's, and an authority that nobody knows: the same to whoever reads it.
    env.realize(&[]).fails_with(exit::ERROR).explains().says("PIP_ACCEL_CA_FILE");
    assert_eq!(server.requests().len(), 0);
    env.set("PIP_ACCEL_CA_FILE", authority_file());
    env.set("PIP_ACCEL_INDEX_URL", format!("https://{ANY_ADDRESS}:{}/simple/", server.port()));
    env.realize(&[]).fails_with(exit::ERROR).explains().says("certificate").says("not trusted");
    assert_eq!(server.requests().len(), 0);
    for (name, content) in [("empty.pem", ""), ("rubbish.pem", "no certificate")] {
        env.set("PIP_ACCEL_CA_FILE", env.write(name, content));
        env.realize(&[]).fails_with(exit::ERROR).explains().says(name).says("PIP_ACCEL_CA_FILE");
    }
    env.set("PIP_ACCEL_CA_FILE", "/nowhere/ca.pem");
    env.realize(&[]).fails_with(exit::ERROR).explains().says("/nowhere/ca.pem").says("PIP_ACCEL_CA_FILE");
    assert!(!env.venv().exists());
}

/// An index that lets in whoever shows the certificate; what else is needed to ask it is set.
fn mutual(env: &mut TestEnv) -> IndexServer {
    drop(indexed(env));
    let server = IndexServer::start_mutual_tls(&env.files());
    env.set("PIP_ACCEL_CA_FILE", authority_file());
    env.set("PIP_ACCEL_INDEX_URL", server.index_url().as_str());
    server
}

/// SRC-14: each way to name a client certificate opens the index that asks for one.
#[test]
fn a_client_certificate_opens_the_index() {
    for place in ["PIP_ACCEL_CLIENT_CERT", "PIP_CLIENT_CERT", "pip.conf", "file"] {
        let mut env = env();
        let server = mutual(&mut env);
        env.realize(&[]).fails_with(exit::ERROR).explains().says("client certificate").says("PIP_ACCEL_CLIENT_CERT");
        assert_eq!(server.requests().len(), 0);
        let path = client_certificate_file();
        match place {
            "pip.conf" => {
                let path = env.write("pip.conf", format!("[global]\nclient-cert = {}\n", path.display()));
                env.set("PIP_CONFIG_FILE", path);
            }
            "file" => {
                let text = format!("client-cert = '{}'\n", path.display());
                std::fs::write(env.base().join("pip-accel.conf"), text).unwrap();
            }
            _ => env.set(place, path),
        }
        env.realize(&[]).success();
        env.python_code("import package, built").success();
    }
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_named() {
    let mut env = env();
    let server = mutual(&mut env);
    let whole = std::fs::read_to_string(client_certificate_file()).unwrap();
    let (certificate, key) = whole.split_at(whole.find("-----BEGIN PRIVATE").unwrap());
    for (name, content) in [("empty.pem", ""), ("certificate.pem", certificate), ("key.pem", key)] {
        env.set("PIP_ACCEL_CLIENT_CERT", env.write(name, content));
        env.realize(&[]).fails_with(exit::ERROR).explains().says(name).says("PIP_ACCEL_CLIENT_CERT");
    }
    env.set("PIP_ACCEL_CLIENT_CERT", "/nowhere/client.pem");
    env.realize(&[]).fails_with(exit::ERROR).explains().says("/nowhere/client.pem");
    // The server's own certificate is none of the clients' authority.
    let read = |name: &str| std::fs::read_to_string(authority_file().with_file_name(name)).unwrap();
    env.set("PIP_ACCEL_CLIENT_CERT", env.write("other.pem", read("server.pem") + &read("server.key")));
    env.realize(&[]).fails_with(exit::ERROR).explains().says("client certificate").says("PIP_ACCEL_CLIENT_CERT");
    assert_eq!(server.requests().len(), 0);
    assert!(!env.venv().exists());
}

/// The resolver of build requirements shows it too; no sdist runs beside the key, and nothing of it stays behind.
#[test]
fn the_resolver_gets_the_client_certificate() {
    if pip_accel_tests::host::uv().is_none() {
        return pip_accel_tests::skip("there is no uv; run `make setup`");
    }
    as_root_and_user(|mut env| {
        let server = mutual(&mut env);
        let built = SdistBuilder::simple("built", "2.0").build_requires("helper>=1").during_build("import helper\n");
        let unlucky = SdistBuilder::simple("unlucky", "1.0").build_requires("package-of-source>=1").build();
        let built = built.build();
        env.add(&WheelBuilder::simple("helper", "1.0").build());
        env.add(&SdistBuilder::simple("package-of-source", "1.0").build());
        env.add(&unlucky);
        env.add(&built);
        // Readable for its owner alone, as keys are.
        let path = env.write("client.pem", std::fs::read(client_certificate_file()).unwrap());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        env.set("PIP_ACCEL_CLIENT_CERT", &path);
        env.write("requirements.lock", LockWriter::new().pin(&built).text());
        env.realize(&[]).success();
        env.python_code("import built").success();
        assert_eq!(server.request_count("/simple/helper/"), 2, "the resolver's and ours: {:?}", server.requests());
        env.write("requirements.lock", LockWriter::new().pin(&unlucky).text());
        let output = env.realize(&[]).fails_with(exit::BUILD_FAILED).explains();
        output.says("runs no sdist").never_mentions("PRIVATE KEY");
        for place in [env.store(), env.base().join("tmp")] {
            assert!(!holds(&place, "PRIVATE KEY"), "the key is in {}", place.display());
        }
    });
}
