//! The files of the sandbox's `/etc`: constant, so that a build cannot depend on who runs it.

use super::spec::Network;

/// One generated file: absolute path in the sandbox and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EtcFile {
    /// Where it is.
    pub(super) path: &'static str,
    /// What it holds.
    pub(super) content: &'static str,
}

const fn file(path: &'static str, content: &'static str) -> EtcFile {
    EtcFile { path, content }
}

/// Home folders do not exist: what a build writes into `~` would be lost or leak into the next one.
const PASSWD: EtcFile = file(
    "/etc/passwd",
    "root:x:0:0:root:/homeless:/usr/sbin/nologin\n\
     builder:x:1000:1000:builder:/homeless:/bin/sh\n\
     nobody:x:65534:65534:nobody:/homeless:/usr/sbin/nologin\n",
);
const GROUP: EtcFile = file("/etc/group", "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n");
const HOSTS: EtcFile = file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
const NSSWITCH_ALONE: EtcFile =
    file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\n");
const NSSWITCH_NETWORK: EtcFile =
    file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n");

/// The generated files for a kind of network. With the host's network, its own `hosts` file is bound instead.
pub(super) fn files(network: Network) -> Vec<EtcFile> {
    match network {
        Network::None => vec![PASSWD, GROUP, HOSTS, NSSWITCH_ALONE],
        Network::Shared => vec![PASSWD, GROUP, NSSWITCH_NETWORK],
    }
}

/// Bound from the host, read-only, where they exist: how programs in `/usr` find their libraries, and Debian's links
/// behind `cc`, `c++`, `awk` and many others.
pub(super) const FROM_HOST: [&str; 4] =
    ["/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"];

/// Bound with the host's network only: names, services and certificates. Not `/etc/ssl` as a whole, which holds
/// private keys.
pub(super) const FROM_HOST_NETWORK: [&str; 12] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates/extracted",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
];
