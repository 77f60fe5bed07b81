//! Activation scripts: the templates of the interpreter's own `venv` module, filled in.
//!
//! There are two generations of templates. The older write `VIRTUAL_ENV="__VENV_DIR__"`, where a path with a quote or
//! a dollar sign becomes shell code (CVE-2024-9287); the newer write the bare word and leave the quotes to whoever
//! fills it in. Here a placeholder becomes one literal word of its shell in either place.

use super::request::{ActivationTemplate, EnvironmentPython};

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    /// The environment's directory, absolute.
    pub(super) directory: &'a str,
    /// The name shown in prompts.
    pub(super) prompt: &'a str,
}

/// `bin/activate` for sh, for interpreters without the `venv` module.
const PLAIN_TEMPLATE: &str = r#"# This file must be used with "source bin/activate" *from bash*
deactivate () {
    if [ -n "${_OLD_VIRTUAL_PATH:-}" ] ; then
        PATH="${_OLD_VIRTUAL_PATH:-}"
        export PATH
        unset _OLD_VIRTUAL_PATH
    fi
    if [ -n "${_OLD_VIRTUAL_PYTHONHOME:-}" ] ; then
        PYTHONHOME="${_OLD_VIRTUAL_PYTHONHOME:-}"
        export PYTHONHOME
        unset _OLD_VIRTUAL_PYTHONHOME
    fi
    hash -r 2> /dev/null
    if [ -n "${_OLD_VIRTUAL_PS1:-}" ] ; then
        PS1="${_OLD_VIRTUAL_PS1:-}"
        export PS1
        unset _OLD_VIRTUAL_PS1
    fi
    unset VIRTUAL_ENV
    if [ ! "${1:-}" = "nondestructive" ] ; then
        unset -f deactivate
    fi
}
deactivate nondestructive

VIRTUAL_ENV=__VENV_DIR__
export VIRTUAL_ENV
_OLD_VIRTUAL_PATH="$PATH"
PATH="$VIRTUAL_ENV/bin:$PATH"
export PATH
if [ -n "${PYTHONHOME:-}" ] ; then
    _OLD_VIRTUAL_PYTHONHOME="${PYTHONHOME:-}"
    unset PYTHONHOME
fi
if [ -z "${VIRTUAL_ENV_DISABLE_PROMPT:-}" ] ; then
    _OLD_VIRTUAL_PS1="${PS1:-}"
    PS1=__VENV_PROMPT__"${PS1:-}"
    export PS1
fi
hash -r 2> /dev/null
"#;

/// File names in `bin/` and texts.
pub(super) fn scripts(python: &EnvironmentPython, values: Values<'_>) -> Vec<(String, String)> {
    if python.activation_templates.is_empty() {
        return vec![("activate".to_owned(), render(PLAIN_TEMPLATE, Shell::Posix, values))];
    }
    let rendered = |template: &ActivationTemplate| {
        let shell = Shell::of(&template.file_name)?;
        Some((template.file_name.clone(), render(&template.text, shell, values)))
    };
    python.activation_templates.iter().filter_map(rendered).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Posix,
    Csh,
    Fish,
    Power,
}

impl Shell {
    /// The shell of a template; `None` for those whose rules of quoting are not known here.
    fn of(file_name: &str) -> Option<Self> {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        match file_name.rsplit_once('.') {
            _ if !is_plain(file_name) => None,
            None => (file_name == "activate").then_some(Self::Posix),
            Some((_, "csh")) => Some(Self::Csh),
            Some((_, "fish")) => Some(Self::Fish),
            Some((_, "ps1")) => Some(Self::Power),
            Some(_) => None,
        }
    }

    /// `text` as one literal word.
    fn quote(self, text: &str) -> String {
        match self {
            Self::Posix => format!("'{}'", text.replace('\'', r"'\''")),
            // csh looks for `!` inside quotes too.
            Self::Csh => format!("'{}'", text.replace('\'', r"'\''").replace('!', r"\!")),
            Self::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
            Self::Power => format!("'{}'", text.replace('\'', "''")),
        }
    }
}

/// Whether `text` means itself inside and outside of quotes, in every shell.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/+,".contains(&byte))
}

/// Whether `text` means itself inside of quotes.
fn is_plain_in_quotes(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/+, ()".contains(&byte))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// Inside `"…"`; where its opening quote stands in the output.
    Double(usize),
    /// Inside `'…'`.
    Single(usize),
    /// Inside `$(…)` within quotes.
    Substitution,
}

/// Fills in the placeholders of `template`.
fn render(template: &str, shell: Shell, values: Values<'_>) -> String {
    // From 3.13 on the parentheses are the template's; before, they belong to the value.
    let bare_prompt = ["(__VENV_PROMPT__", "\"(\"__VENV_PROMPT__", "'('__VENV_PROMPT__", "(%s)"]
        .iter()
        .any(|text| template.contains(text));
    let prompt = if bare_prompt { values.prompt.to_owned() } else { format!("({}) ", values.prompt) };
    let python = format!("{}/bin/python", values.directory);
    let name = values.directory.rsplit('/').next().unwrap_or_default();
    let placeholders = [
        ("__VENV_DIR__", values.directory),
        ("__VENV_NAME__", name),
        ("__VENV_PROMPT__", &prompt),
        ("__VENV_BIN_NAME__", "bin"),
        ("__VENV_PYTHON__", &python),
    ];
    let mut output = String::with_capacity(template.len() + 256);
    for line in template.split_inclusive('\n') {
        if line.contains("__VENV_") {
            render_line(line, shell, &placeholders, &mut output);
        } else {
            output.push_str(line);
        }
    }
    output
}

/// One line. Quotes are followed from its start: no template has a placeholder in a quote of several lines.
fn render_line(line: &str, shell: Shell, placeholders: &[(&str, &str)], output: &mut String) {
    let mut contexts: Vec<Context> = Vec::new();
    let mut rest = line;
    'next: while let Some(character) = rest.chars().next() {
        for (placeholder, value) in placeholders {
            if let Some(after) = rest.strip_prefix(placeholder) {
                rest = insert(value, after, shell, &mut contexts, output);
                continue 'next;
            }
        }
        let top = contexts.last().copied();
        let in_single = matches!(top, Some(Context::Single(_)));
        let in_double = matches!(top, Some(Context::Double(_)));
        match character {
            '\\' if !in_single && shell != Shell::Power && rest.len() > 1 => {
                output.push(character);
                rest = &rest[1..];
                let Some(escaped) = rest.chars().next() else { break };
                output.push(escaped);
                rest = &rest[escaped.len_utf8()..];
                continue;
            }
            '"' if in_double => drop(contexts.pop()),
            '"' if !in_single => contexts.push(Context::Double(output.len())),
            '\'' if in_single => drop(contexts.pop()),
            '\'' if !in_double => contexts.push(Context::Single(output.len())),
            '(' if output.ends_with('$') && !in_single => contexts.push(Context::Substitution),
            ')' if top == Some(Context::Substitution) => drop(contexts.pop()),
            _ => {}
        }
        output.push(character);
        rest = &rest[character.len_utf8()..];
    }
}

/// Writes `value` as a literal and returns what is left of the line `after` the placeholder.
fn insert<'t>(value: &str, after: &'t str, shell: Shell, contexts: &mut Vec<Context>, output: &mut String) -> &'t str {
    let (opened_at, quote) = match contexts.last() {
        Some(Context::Double(at)) => (*at, '"'),
        Some(Context::Single(at)) => (*at, '\''),
        Some(Context::Substitution) | None => {
            output.push_str(&if is_plain(value) { value.to_owned() } else { shell.quote(value) });
            return after;
        }
    };
    if is_plain_in_quotes(value) {
        output.push_str(value);
        return after;
    }
    // The quotes hold nothing but the placeholder: the literal takes their place.
    if let Some(rest) = after.strip_prefix(quote).filter(|_| output.len() == opened_at + 1) {
        output.truncate(opened_at);
        contexts.pop();
        output.push_str(&shell.quote(value));
        return rest;
    }
    output.push(quote);
    output.push_str(&shell.quote(value));
    output.push(quote);
    after
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(template: &str, shell: Shell, directory: &str, prompt: &str) -> String {
        render(template, shell, Values { directory, prompt })
    }

    #[test]
    fn ordinary_values_look_as_venv_writes_them() {
        let old = "VIRTUAL_ENV=\"__VENV_DIR__\"\nPATH=\"$VIRTUAL_ENV/__VENV_BIN_NAME__:$PATH\"\n\
                   PS1=\"__VENV_PROMPT__${PS1:-}\"\n";
        assert_eq!(
            line(old, Shell::Posix, "/x/.venv", "p"),
            "VIRTUAL_ENV=\"/x/.venv\"\nPATH=\"$VIRTUAL_ENV/bin:$PATH\"\nPS1=\"(p) ${PS1:-}\"\n"
        );
        let new = "VIRTUAL_ENV=__VENV_DIR__\nPATH=\"$VIRTUAL_ENV/\"__VENV_BIN_NAME__\":$PATH\"\n\
                   PS1=\"(\"__VENV_PROMPT__\") ${PS1:-}\"\n";
        assert_eq!(
            line(new, Shell::Posix, "/x/.venv", "p"),
            "VIRTUAL_ENV=/x/.venv\nPATH=\"$VIRTUAL_ENV/\"bin\":$PATH\"\nPS1=\"(\"p\") ${PS1:-}\"\n"
        );
    }

    #[test]
    fn hostile_values_are_one_literal_word_in_both_generations() {
        let directory = "/x/a'b \"c\" $(id) `id` \\ !e";
        let word = r#"'/x/a'\''b "c" $(id) `id` \ !e'"#;
        assert_eq!(line("V=\"__VENV_DIR__\"\n", Shell::Posix, directory, "p"), format!("V={word}\n"));
        assert_eq!(line("V=__VENV_DIR__\n", Shell::Posix, directory, "p"), format!("V={word}\n"));
        assert_eq!(
            line("V=\"$(cygpath \"__VENV_DIR__\")\"\n", Shell::Posix, directory, "p"),
            format!("V=\"$(cygpath {word})\"\n")
        );
        assert_eq!(line("V=\"__VENV_DIR__:$X\"\n", Shell::Posix, directory, "p"), format!("V=\"\"{word}\":$X\"\n"));
        assert_eq!(line("set -gx V \"__VENV_DIR__\"", Shell::Fish, "/a'\\$b", "p"), "set -gx V '/a\\'\\\\$b'");
        assert_eq!(line("setenv V \"__VENV_DIR__\"", Shell::Csh, "/a'!$b", "p"), "setenv V '/a'\\''\\!$b'");
        assert_eq!(line("$V = \"__VENV_DIR__\"", Shell::Power, "/a'$b", "p"), "$V = '/a''$b'");
        assert_eq!(
            line("set prompt = '('__VENV_PROMPT__') '\"$prompt:q\"", Shell::Csh, "/a", "it's"),
            r#"set prompt = '(''it'\''s'') '"$prompt:q""#
        );
    }

    #[test]
    fn unknown_templates_are_left_out() {
        for name in ["activate.bat", "../activate", "activate.nu", "activate.csh/x", "deactivate"] {
            assert_eq!(Shell::of(name), None, "{name}");
        }
    }
}
