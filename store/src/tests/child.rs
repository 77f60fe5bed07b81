//! Processes that tests start, stop and kill: this test binary again, in one role.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::*;
use crate::testing::{open_with_hook, park_at, rebuild_with_hook};

const ROLE: &str = "PIP_ACCEL_STORE_TEST_ROLE";
const ROOT: &str = "PIP_ACCEL_STORE_TEST_ROOT";

/// A process in a role; killed, at the latest, when dropped.
pub(super) struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    output: BufReader<std::process::ChildStderr>,
    seen: String,
}

impl Helper {
    /// Starts this binary in `role` on the store at `root`.
    pub(super) fn start(role: &str, root: &Path) -> Self {
        let exe = std::env::current_exe().expect("this binary");
        let mut command = Command::new(exe);
        command.args(arguments());
        Self::spawn(command, role, root)
    }

    /// Starts `command`, which is to run a copy of this binary with [`arguments`].
    pub(super) fn spawn(mut command: Command, role: &str, root: &Path) -> Self {
        command.env(ROLE, role).env(ROOT, root);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let output = BufReader::new(child.stderr.take().expect("a pipe"));
        let stdin = child.stdin.take();
        Self { child, stdin, output, seen: String::new() }
    }

    /// Waits until the process says `line`.
    pub(super) fn wait_for(&mut self, line: &str) {
        loop {
            let mut read = String::new();
            assert_ne!(self.output.read_line(&mut read).expect("output"), 0, "ended before `{line}`:\n{}", self.seen);
            self.seen.push_str(&read);
            if read.trim_end() == line {
                return;
            }
        }
    }

    /// Kills the process in the middle of whatever it does.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// Lets a process that waits for its end go, and waits for it. Returns what it said.
    pub(super) fn finish(mut self) -> String {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("output");
        self.seen.push_str(&rest);
        assert!(self.child.wait().expect("reaped").success(), "the process failed:\n{}", self.seen);
        std::mem::take(&mut self.seen)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What this binary must be called with to take a role.
pub(super) fn arguments() -> [&'static str; 5] {
    ["--exact", "tests::child::role", "--ignored", "--nocapture", "--test-threads=1"]
}

/// Says a line to the parent.
pub(super) fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("a parent that listens");
}

/// Waits until the parent lets go.
fn wait_for_parent() {
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the end of the input");
}

#[test]
#[ignore = "a role for processes that other tests start"]
#[expect(clippy::disallowed_methods, reason = "the role comes from the parent test, by the environment")]
fn role() {
    let role = std::env::var(ROLE).expect("a role");
    let root = PathBuf::from(std::env::var_os(ROOT).expect("a store"));
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    match role {
        "publish" => publish_and_say(&root, argument),
        "park-publish" => {
            let store = Arc::new(open_with_hook(options(&root), park_at(argument.to_owned())).expect("a store"));
            publish_forty(&store.lease().expect("a lease"));
        }
        "park-publish-protected" => {
            let options = OpenOptions { protect: Protect::Immutable, ..options(&root) };
            let store = Arc::new(open_with_hook(options, park_at(argument.to_owned())).expect("a store"));
            publish_forty(&store.lease().expect("a lease"));
        }
        "park-gc" => {
            let store = open_with_hook(options(&root), park_at(argument.to_owned())).expect("a store");
            store.gc_apply(&no_age(), &mut |_| {}).expect("collected");
        }
        "park-rebuild" => {
            let hook = park_at(argument.to_owned());
            rebuild_with_hook(options(&root), crate::VerifyDepth::Full, hook).expect("rebuilt");
        }
        "park-repair" => {
            let store = Arc::new(open_with_hook(options(&root), park_at(argument.to_owned())).expect("a store"));
            super::repair::repair_by_publishing(&store);
        }
        "park-optimise" => {
            let store = open_with_hook(options(&root), park_at(argument.to_owned())).expect("a store");
            store.optimise().expect("optimised");
        }
        "park-root" => {
            crate::testing::set_hook(park_at(argument.to_owned()));
            let store = Store::open(options(&root)).expect("a store");
            let pin = crate::NewRoot { kind: crate::RootKind::Pin, name: "pin".to_owned(), location: PathBuf::new() };
            store.put_root(pin, &[]).expect("a root");
        }
        "park-unbundle" => {
            let store = Arc::new(open_with_hook(options(&root), park_at(argument.to_owned())).expect("a store"));
            super::bundle::unbundle_file(&store);
        }
        "lock" => {
            let store = Store::open(options(&root)).expect("a store");
            let _lock = store.lock(argument, &mut |_| {}).expect("a lock");
            say("held");
            wait_for_parent();
        }
        "lease" => {
            let store = Arc::new(Store::open(options(&root)).expect("a store"));
            let lease = store.lease().expect("a lease");
            lease.take(&[id(argument)]).expect("an answer").pop().flatten().expect("the object");
            say("taken");
            wait_for_parent();
        }
        "full-disk" => super::full_disk::on_small_disk(&root),
        "read-only" => super::open::without_rights(&root),
        other => panic!("unknown role {other}"),
    }
}

fn publish_and_say(root: &Path, name: &str) {
    let store = Arc::new(Store::open(options(root)).expect("a store"));
    say("ready");
    wait_for_parent();
    let object = publish(&store.lease().expect("a lease"), name, &[]);
    say(&format!("published {}", object.content_digest));
}

/// Publishes the object `forty`, of forty files.
pub(super) fn publish_forty(lease: &Lease) -> Object {
    let tree = lease.store().new_tree().expect("a tree");
    for number in 0..40 {
        let path = entry(&format!("site/pkg{}/file{number}.py", number % 4));
        tree.write_file(&path, false, &content(&format!("file {number}"))).expect("written");
    }
    lease.publish(vec![new_object(tree, "forty", &[])]).expect("published").pop().expect("one object")
}
