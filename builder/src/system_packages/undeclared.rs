//! A build that needs a Python module which the project does not declare: which project has it.

use super::decide::Finding;
use super::evidence::Kind;

/// Modules that builds import, and the project that has them where it is named otherwise.
const PROJECTS: &[(&str, &str)] = &[
    ("_cffi_backend", "cffi"),
    ("skbuild", "scikit-build"),
    ("yaml", "pyyaml"),
    ("pkg_resources", "setuptools"),
    ("distutils", "setuptools"),
    ("mesonpy", "meson-python"),
    ("poetry", "poetry-core"),
    ("flit", "flit-core"),
    ("PIL", "pillow"),
    ("git", "gitpython"),
    ("attr", "attrs"),
    ("dateutil", "python-dateutil"),
    ("bs4", "beautifulsoup4"),
    ("sklearn", "scikit-learn"),
    ("Crypto", "pycryptodome"),
    ("OpenSSL", "pyopenssl"),
    ("google", "protobuf"),
    ("grpc_tools", "grpcio-tools"),
    ("mako", "mako"),
    ("jinja2", "jinja2"),
    ("numpy", "numpy"),
];

/// The Python project that a build needs and its own does not declare, if that is what `finding` says.
pub(super) fn undeclared(finding: &Finding) -> Option<String> {
    if finding.kind != Kind::NotSystem || !finding.packages.is_empty() || !finding.evidence.contains("No module named")
    {
        return None;
    }
    let top = finding.name.split('.').next().filter(|top| !top.is_empty())?;
    let known = PROJECTS.iter().find(|(module, _)| *module == top).map(|(_, project)| (*project).to_owned());
    let plain = top.to_lowercase().replace('_', "-");
    // What is no name of a project is none of ours to repeat in a command.
    let project = known.unwrap_or(plain);
    let is_name = project.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (is_name && !project.starts_with('-')).then_some(project)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_of_a_module_is_named() {
        let of = |name: &str, evidence: &str| {
            undeclared(&Finding {
                kind: Kind::NotSystem,
                name: name.to_owned(),
                evidence: evidence.to_owned(),
                line: 1,
                candidates: Vec::new(),
                packages: Vec::new(),
                reason: String::new(),
            })
        };
        let missing = "ModuleNotFoundError: No module named 'x'";
        assert_eq!(of("skbuild.cmaker", missing).as_deref(), Some("scikit-build"));
        assert_eq!(of("some_module", missing).as_deref(), Some("some-module"));
        assert_eq!(of("x; rm", missing), None);
        assert_eq!(of("numpy", "ValueError: 3"), None);
    }
}
