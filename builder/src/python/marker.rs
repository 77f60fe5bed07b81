//! Environment markers (PEP 508 and the lists of PEP 751): parsed once, evaluated as the `packaging` project does.
//!
//! Written here and not taken from a crate because markers come out of hostile archives: the published crates turn
//! each into a decision diagram, whose size doubles with every further `in` (20 of them take minutes), and recurse
//! without a limit. Evaluation alone needs neither.

use std::fmt;
use std::str::FromStr;

use pip_accel_schema::interpreter::MarkerVariables;
use pip_accel_schema::name::PackageName;
use pip_accel_schema::requirement::excerpt;

use super::version::{Specifiers, Version};

/// Longest marker read, in bytes; the longest that universal locks hold have 3 kB.
pub const MARKER_BYTES_MAX: usize = 64 << 10;

/// Deepest nesting of parentheses; real markers have three levels.
pub const MARKER_NESTING_MAX: usize = 64;

/// Why a text is not a marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{marker}` is not an environment marker: {reason}")]
pub struct MarkerError {
    /// The text, shortened.
    pub marker: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A parsed marker. Equal markers have equal structure; the text as written is kept for the reader.
#[derive(Debug, Clone)]
pub struct Marker {
    text: String,
    expression: Expression,
}

impl PartialEq for Marker {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression
    }
}

impl Eq for Marker {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Comparison { left: Operand, operator: Operator, right: Operand },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Variable(Variable),
    Literal(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    OsName,
    SysPlatform,
    PlatformMachine,
    PlatformPythonImplementation,
    PlatformRelease,
    PlatformSystem,
    PlatformVersion,
    PythonVersion,
    PythonFullVersion,
    ImplementationName,
    ImplementationVersion,
    Extra,
    Extras,
    DependencyGroups,
}

impl Variable {
    /// The variable, also under the names that were used before PEP 508.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "os_name" | "os.name" => Self::OsName,
            "sys_platform" | "sys.platform" => Self::SysPlatform,
            "platform_machine" | "platform.machine" => Self::PlatformMachine,
            "platform_python_implementation" | "platform.python_implementation" | "python_implementation" => {
                Self::PlatformPythonImplementation
            }
            "platform_release" => Self::PlatformRelease,
            "platform_system" => Self::PlatformSystem,
            "platform_version" | "platform.version" => Self::PlatformVersion,
            "python_version" => Self::PythonVersion,
            "python_full_version" => Self::PythonFullVersion,
            "implementation_name" => Self::ImplementationName,
            "implementation_version" => Self::ImplementationVersion,
            "extra" => Self::Extra,
            "extras" => Self::Extras,
            "dependency_groups" => Self::DependencyGroups,
            _ => return None,
        })
    }

    const fn is_version(self) -> bool {
        matches!(
            self,
            Self::PythonVersion | Self::PythonFullVersion | Self::ImplementationVersion | Self::PlatformRelease
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessEqual,
    Equal,
    NotEqual,
    GreaterEqual,
    Greater,
    Compatible,
    Identical,
    In,
    NotIn,
}

/// The longer before their beginnings.
const SYMBOLS: [(&str, Operator); 8] = [
    ("===", Operator::Identical),
    ("~=", Operator::Compatible),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessEqual),
    (">=", Operator::GreaterEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Operator {
    fn symbol(self) -> Option<&'static str> {
        SYMBOLS.iter().find(|(_, operator)| *operator == self).map(|(symbol, _)| *symbol)
    }
}

impl Marker {
    /// Reads a marker, the text after `;`.
    ///
    /// # Errors
    /// The text is no marker, or beyond [`MARKER_BYTES_MAX`] or [`MARKER_NESTING_MAX`].
    pub fn parse(text: &str) -> Result<Self, MarkerError> {
        let error = |reason| MarkerError { marker: excerpt(text), reason };
        if text.len() > MARKER_BYTES_MAX {
            return Err(error(format!("it is longer than {MARKER_BYTES_MAX} bytes")));
        }
        let mut parser = Parser { rest: text, depth: 0 };
        let expression = parser.any().map_err(error)?;
        parser.skip_space();
        if !parser.rest.is_empty() {
            return Err(error(format!("`{}` is left over", excerpt(parser.rest))));
        }
        Ok(Self { text: text.trim().to_owned(), expression })
    }

    /// Whether the marker holds. With several extras it holds if it does for one of them, as in pip;
    /// `dependency_groups` is empty.
    #[must_use]
    pub fn eval(&self, variables: &MarkerVariables, extras: &[String]) -> bool {
        let extras: Vec<String> = extras.iter().map(|extra| normalised(extra)).collect();
        let with =
            |extra| self.expression.holds(&Context { variables, extra: Some(extra), extras: &extras, groups: &[] });
        if extras.is_empty() { with("") } else { extras.iter().any(|extra| with(extra)) }
    }

    /// Whether the marker holds for what a lock is asked for: `extra == 'a'` says that `a` is one of the extras, and
    /// `dependency_groups` are the groups. Both are in their normal form.
    #[must_use]
    pub fn holds_with(&self, variables: &MarkerVariables, (extras, groups): (&[String], &[String])) -> bool {
        self.expression.holds(&Context { variables, extra: None, extras, groups })
    }

    /// The marker as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Marker {
    type Err = MarkerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn normalised(extra: &str) -> String {
    extra.parse::<PackageName>().map_or_else(|_| extra.to_owned(), |name| name.as_str().to_owned())
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn any(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.all()?];
        while self.keyword("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.atom()?];
        while self.keyword("and") {
            parts.push(self.atom()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn atom(&mut self) -> Result<Expression, String> {
        self.skip_space();
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            self.depth += 1;
            if self.depth > MARKER_NESTING_MAX {
                return Err(format!("its parentheses are nested deeper than {MARKER_NESTING_MAX}"));
            }
            let inside = self.any()?;
            self.depth -= 1;
            self.skip_space();
            self.rest = self.rest.strip_prefix(')').ok_or("a `(` is never closed")?;
            return Ok(inside);
        }
        let left = self.operand()?;
        let operator = self.operator()?;
        let right = self.operand()?;
        comparison(left, operator, right)
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.skip_space();
        if let Some(quote) = self.rest.chars().next().filter(|first| matches!(first, '\'' | '"')) {
            let (literal, rest) = self.rest[1..].split_once(quote).ok_or("a quote is never closed")?;
            self.rest = rest;
            return Ok(Operand::Literal(literal.to_owned()));
        }
        let word = self.word();
        match Variable::named(word) {
            Some(variable) => {
                self.rest = &self.rest[word.len()..];
                Ok(Operand::Variable(variable))
            }
            None if word.is_empty() && self.rest.is_empty() => Err("it ends where a value should be".to_owned()),
            None if word.is_empty() => Err(format!("`{}` is not a value", excerpt(self.rest))),
            None => Err(format!("there is no variable `{}`", excerpt(word))),
        }
    }

    fn operator(&mut self) -> Result<Operator, String> {
        self.skip_space();
        for (symbol, operator) in SYMBOLS {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return Ok(operator);
            }
        }
        if self.keyword("in") {
            return Ok(Operator::In);
        }
        if self.keyword("not") && self.keyword("in") {
            return Ok(Operator::NotIn);
        }
        Err(format!("`{}` is not a comparison", excerpt(self.rest)))
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.skip_space();
        let found = self.word() == keyword;
        if found {
            self.rest = &self.rest[keyword.len()..];
        }
        found
    }

    fn word(&self) -> &'a str {
        let end = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
        &self.rest[..self.rest.find(end).unwrap_or(self.rest.len())]
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// Normalises names of extras and refuses comparisons that can mean nothing.
fn comparison(left: Operand, operator: Operator, right: Operand) -> Result<Expression, String> {
    let is =
        |operand: &Operand, variables: &[Variable]| matches!(operand, Operand::Variable(v) if variables.contains(v));
    let lists = [Variable::Extras, Variable::DependencyGroups];
    if is(&left, &lists) || (is(&right, &lists) && !matches!(operator, Operator::In | Operator::NotIn)) {
        return Err("`extras` and `dependency_groups` stand only at the right of `in` and `not in`".to_owned());
    }
    if operator == Operator::Compatible {
        let versions = [&left, &right].iter().all(|operand| match operand {
            Operand::Variable(variable) => variable.is_version(),
            Operand::Literal(text) => text.parse::<Version>().is_ok(),
        });
        if !versions {
            return Err("`~=` compares only versions".to_owned());
        }
    }
    let names_extra = [Variable::Extra, Variable::Extras, Variable::DependencyGroups];
    let normalise = |operand, other: &Operand| match operand {
        Operand::Literal(text) if is(other, &names_extra) => Operand::Literal(normalised(&text)),
        operand => operand,
    };
    let normal_left = normalise(left.clone(), &right);
    Ok(Expression::Comparison { left: normal_left, operator, right: normalise(right, &left) })
}

struct Context<'a> {
    variables: &'a MarkerVariables,
    /// The one extra that is looked at; `None`: `extra` stands for all of `extras`.
    extra: Option<&'a str>,
    extras: &'a [String],
    groups: &'a [String],
}

impl Context<'_> {
    fn value<'b>(&'b self, operand: &'b Operand) -> &'b str {
        match operand {
            Operand::Literal(text) => text,
            Operand::Variable(variable) => match variable {
                Variable::OsName => &self.variables.os_name,
                Variable::SysPlatform => &self.variables.sys_platform,
                Variable::PlatformMachine => &self.variables.platform_machine,
                Variable::PlatformPythonImplementation => &self.variables.platform_python_implementation,
                Variable::PlatformRelease => &self.variables.platform_release,
                Variable::PlatformSystem => &self.variables.platform_system,
                Variable::PlatformVersion => &self.variables.platform_version,
                Variable::PythonVersion => &self.variables.python_version,
                Variable::PythonFullVersion => &self.variables.python_full_version,
                Variable::ImplementationName => &self.variables.implementation_name,
                Variable::ImplementationVersion => &self.variables.implementation_version,
                Variable::Extra => self.extra.unwrap_or_default(),
                Variable::Extras | Variable::DependencyGroups => "",
            },
        }
    }

    /// `extra == 'a'` where `extra` stands for all extras.
    fn compare_extras(&self, left: &Operand, operator: Operator, right: &Operand) -> Option<bool> {
        let wanted = match (left, right) {
            (Operand::Variable(Variable::Extra), Operand::Literal(wanted))
            | (Operand::Literal(wanted), Operand::Variable(Variable::Extra)) => wanted,
            _ => return None,
        };
        let is_wanted = self.extra.is_none().then(|| self.extras.iter().any(|extra| extra == wanted))?;
        match operator {
            Operator::Equal | Operator::Identical | Operator::In => Some(is_wanted),
            Operator::NotEqual | Operator::NotIn => Some(!is_wanted),
            _ => None,
        }
    }

    fn compare(&self, left: &Operand, operator: Operator, right: &Operand) -> bool {
        if let Operand::Variable(list @ (Variable::Extras | Variable::DependencyGroups)) = right {
            let wanted = self.value(left);
            let listed = if *list == Variable::Extras { self.extras } else { self.groups };
            return listed.iter().any(|name| name == wanted) == (operator == Operator::In);
        }
        if let Some(result) = self.compare_extras(left, operator, right) {
            return result;
        }
        let speaks_of_versions =
            [left, right].iter().any(|operand| matches!(operand, Operand::Variable(variable) if variable.is_version()));
        let (left, right) = (self.value(left), self.value(right));
        if speaks_of_versions && let Some(result) = compare_versions(left, operator, right) {
            return result;
        }
        match operator {
            Operator::Less => left < right,
            Operator::LessEqual => left <= right,
            Operator::Equal | Operator::Identical => left == right,
            Operator::NotEqual => left != right,
            Operator::GreaterEqual => left >= right,
            Operator::Greater => left > right,
            Operator::Compatible => false,
            Operator::In => right.contains(left),
            Operator::NotIn => !right.contains(left),
        }
    }
}

/// Compares by PEP 440, or says that one of the two is no version.
fn compare_versions(left: &str, operator: Operator, right: &str) -> Option<bool> {
    let symbol = operator.symbol()?;
    let specifiers = Specifiers::strict_clause(&format!("{symbol}{right}"))?;
    // A Python built from a working copy calls itself `3.13.0+`.
    let left = left.strip_suffix('+').map_or_else(|| left.to_owned(), |version| format!("{version}+local"));
    Some(specifiers.contains(&left.parse().ok()?))
}

impl Expression {
    fn holds(&self, context: &Context<'_>) -> bool {
        match self {
            Self::Any(parts) => parts.iter().any(|part| part.holds(context)),
            Self::All(parts) => parts.iter().all(|part| part.holds(context)),
            Self::Comparison { left, operator, right } => context.compare(left, *operator, right),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables() -> MarkerVariables {
        MarkerVariables {
            os_name: "posix".to_owned(),
            sys_platform: "linux".to_owned(),
            platform_machine: "x86_64".to_owned(),
            platform_python_implementation: "CPython".to_owned(),
            platform_release: "6.1.0-32-amd64".to_owned(),
            platform_system: "Linux".to_owned(),
            platform_version: "#1 SMP Debian 6.1.129-1".to_owned(),
            python_version: "3.10".to_owned(),
            python_full_version: "3.10.13".to_owned(),
            implementation_name: "cpython".to_owned(),
            implementation_version: "3.10.13".to_owned(),
        }
    }

    fn holds(marker: &str, extras: &[&str]) -> bool {
        let extras: Vec<String> = extras.iter().map(|extra| (*extra).to_owned()).collect();
        Marker::parse(marker).unwrap_or_else(|error| panic!("{error}")).eval(&variables(), &extras)
    }

    #[test]
    fn markers_hold_or_not() {
        for (marker, expected) in [
            ("python_version >= '3.9'", true),
            ("python_version<'3.9'", false),
            ("'3.9' <= python_version", true),
            ("python_version == '3.*'", true),
            ("python_full_version == '3.10.*'", true),
            ("python_version ~= '3.8'", true),
            ("python_version in '2.7, 3.10'", true),
            ("python_version not in '3.0, 3.1, 3.2'", true),
            ("os_name == \"posix\" and (sys_platform == 'win32' or platform_system=='Linux')", true),
            ("os_name == 'nt' or os_name == 'posix' and python_version < '3'", false),
            ("os.name == 'posix' and python_implementation == 'CPython'", true),
            ("'linux' in sys_platform", true),
            ("'SMP' in platform_version and '#1' in platform_version", true),
            ("platform_release >= '6'", true),
            ("platform_machine not in 'x86_64 aarch64'", false),
            ("implementation_name === 'cpython'", true),
            ("python_version > 'abc'", false),
            ("extra == 'x'", false),
            ("'dev' in dependency_groups", false),
            ("'dev' not in dependency_groups", true),
        ] {
            assert_eq!(holds(marker, &[]), expected, "{marker}");
        }
    }

    #[test]
    fn extras_are_normalised_and_tried_one_by_one() {
        assert!(holds("extra == 'Foo_Bar'", &["x", "foo.bar"]));
        assert!(holds("'foo-bar' == extra", &["FOO_BAR"]));
        assert!(!holds("extra == 'a' and extra == 'b'", &["a", "b"]));
        assert!(holds("'a' in extras and 'B' in extras", &["a", "b"]));
        assert!(holds("extra != 'a'", &[]));
    }

    #[test]
    fn development_versions_and_prereleases_compare() {
        let mut variables = variables();
        variables.python_full_version = "3.14.0rc1".to_owned();
        let eval = |text: &str, variables: &MarkerVariables| Marker::parse(text).expect(text).eval(variables, &[]);
        assert!(!eval("python_full_version >= '3.14'", &variables));
        assert!(eval("python_full_version >= '3.14.0a1'", &variables));
        variables.python_full_version = "3.13.0+".to_owned();
        assert!(eval("python_full_version >= '3.13'", &variables));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "python_version",
            "python_version >=",
            "python_version = '3'",
            "python_version >= 3",
            "os_name == 'x",
            "(os_name == 'x'",
            "os_name == 'x')",
            "os_name == 'x' xor os_name == 'y'",
            "os_name == 'x' and",
            "os_name not 'x'",
            "os_name ~= 'x'",
            "extras == 'x'",
            "dependency_groups in 'x'",
            "foo == 'x'",
        ] {
            assert!(Marker::parse(bad).is_err(), "{bad}");
        }
        let nested = |depth: usize| format!("{}os_name=='x'{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Marker::parse(&nested(MARKER_NESTING_MAX)).is_ok());
        assert!(Marker::parse(&nested(MARKER_NESTING_MAX + 1)).is_err());
        assert!(Marker::parse(&nested(30_000)).is_err());
    }

    /// A marker out of a hostile archive must not cost more than its length.
    #[test]
    fn long_alternations_stay_cheap() {
        let part = |index| format!("('a{index}' in platform_version and 'b{index}' in platform_version)");
        let text: Vec<String> = (0..1000).map(part).collect();
        assert!(!holds(&text.join(" or "), &[]));
    }

    #[test]
    fn markers_are_equal_by_structure() {
        let parse = |text| Marker::parse(text).expect("a marker");
        assert_eq!(parse("os_name=='x'"), parse("( os_name == \"x\" )"));
        assert_ne!(parse("os_name=='x'"), parse("os_name=='y'"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = Marker::parse(&text);
        }

        #[test]
        fn no_near_marker_makes_it_panic(parts in proptest::collection::vec(prop_oneof![
            Just("python_version"), Just("extra"), Just("extras"), Just(" "), Just("=="), Just("in"), Just("not "),
            Just("'3.8'"), Just("'x"), Just("\""), Just("("), Just(")"), Just(" and "), Just(" or "), Just("~="), Just("é"),
        ], 0..16)) {
            if let Ok(marker) = Marker::parse(&parts.concat()) {
                let _ = marker.eval(&variables(), &["x".to_owned()]);
            }
        }
    }
}
