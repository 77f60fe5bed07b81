//! Activation in the shells of the machine, from directories with awkward names.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::*;
use super::support::*;

/// Names that mean something to one shell or another.
const AWKWARD_NAMES: [&str; 9] = [
    "plain",
    "with space",
    "dollar$HOME",
    "it's",
    "double\"quote",
    "`touch created`",
    "$(touch created)",
    "back\\slash! bang",
    "ünïcödé ☃; #&|<>*?[]{}~",
];

fn realize_at(destination: &Path, python: &EnvironmentPython, objects: &[&Object], store: &Path) -> Realized {
    let trees: Vec<PackageTree<'_>> = objects.iter().map(|object| object.tree()).collect();
    realize_environment(&request(destination, python, &trees, store)).expect("realizes")
}

/// The shells of the machine: program, option for commands, script, and a program that prints what was set.
fn shells() -> Vec<(&'static str, &'static str, &'static str)> {
    const POSIX: &str = "echo \"$VIRTUAL_ENV\"; python -c 'import sys; print(sys.prefix)'; demo; deactivate; \
                         echo \"${VIRTUAL_ENV:-none}\"";
    const CSH: &str = "echo \"$VIRTUAL_ENV\"; python -c 'import sys; print(sys.prefix)'; demo\ndeactivate\n\
                       if (! $?VIRTUAL_ENV) echo none";
    const FISH: &str = "echo \"$VIRTUAL_ENV\"; python -c 'import sys; print(sys.prefix)'; demo; deactivate; \
                        set -q VIRTUAL_ENV; or echo none";
    [("bash", "activate", POSIX), ("dash", "activate", POSIX), ("zsh", "activate", POSIX)]
        .into_iter()
        .chain([("csh", "activate.csh", CSH), ("tcsh", "activate.csh", CSH), ("fish", "activate.fish", FISH)])
        .filter(|(shell, ..)| is_on_path(shell))
        .collect()
}

fn is_on_path(shell: &str) -> bool {
    Command::new(shell).args(["-c", "exit 0"]).output().is_ok_and(|output| output.status.success())
}

fn activates_everywhere(python: &EnvironmentPython, names: &[&str]) {
    let world = World::new();
    let object = Package::new("demo", "1.0")
        .file("site/demo.py", "def main():\n    print('demo runs')\n")
        .script("demo", "demo", "main")
        .object(&world.store());
    for name in names {
        let destination = world.directory.path().join("in").join(name);
        realize_at(&destination, python, &[&object], &world.store());
        for (shell, script, program) in shells() {
            if !destination.join("bin").join(script).exists() {
                continue;
            }
            // The file to be read is named relatively: how a shell quotes names is not what is tested.
            let file = world.directory.path().join("commands");
            let before = if script == "activate.csh" { "set prompt = x\n" } else { "" };
            let source = if shell == "dash" { "." } else { "source" };
            fs::write(&file, format!("{before}{source} bin/{script}; {program}\n")).expect("writes");
            let mut command = Command::new(shell);
            if shell == "csh" || shell == "tcsh" {
                command.arg("-f");
            }
            let text = run(command.arg(&file).current_dir(&destination).env("HOME", world.directory.path()));
            let directory = destination.display();
            assert_eq!(text, format!("{directory}\n{directory}\ndemo runs\nnone\n"), "{shell} in `{name}`");
        }
        assert!(!destination.join("created").exists(), "{name}");
        let status = check_environment(&destination).expect("checks");
        assert!(status.is_intact() && status.foreign.is_empty(), "{status:?}");
    }
}

#[test]
fn environments_with_awkward_names_are_activated_and_run() {
    activates_everywhere(&python3(), &AWKWARD_NAMES);
}

#[test]
#[ignore = "takes a minute: the templates of every interpreter on the machine"]
fn the_templates_of_every_interpreter_work() {
    for python in interpreters() {
        eprintln!("with {}", python.executable.display());
        activates_everywhere(&python, &AWKWARD_NAMES);
    }
}

/// The kernel reads 127 bytes of a script's first line.
#[test]
fn scripts_run_from_long_paths() {
    let python = python3();
    let world = World::new();
    let object = Package::new("demo", "1.0")
        .file("site/demo.py", "def main():\n    import sys; print(sys.prefix, *sys.argv[1:])\n")
        .file("scripts/demo-tool", "#!python\nimport sys\nprint(sys.argv[1:])\n")
        .script("demo", "demo", "main")
        .object(&world.store());
    let deep = world.directory.path().join("long".repeat(30)).join("long".repeat(30)).join("long".repeat(30));
    for destination in [deep.join("env"), deep.join("spa ced"), deep.join("quo\"ted $env")] {
        realize_at(&destination, &python, &[&object], &world.store());
        let link = world.directory.path().join("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(destination.join("bin/demo"), &link).expect("links");
        for program in [destination.join("bin/demo"), link] {
            let text = run(Command::new(program).args(["a b", "c'd"]));
            assert_eq!(text, format!("{} a b c'd\n", destination.display()));
        }
        assert_eq!(run(Command::new(destination.join("bin/demo-tool")).arg("x")), "['x']\n");
    }
}
