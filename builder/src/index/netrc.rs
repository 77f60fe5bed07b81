//! The netrc format: which login belongs to which host.
//!
//! Grammar, as curl and Python read it: tokens separated by white space; a token may be in double quotes with
//! `\` escapes; `#` at the start of a line's token starts a comment where a keyword is expected; `macdef` runs to the next empty line.

use std::fmt;

/// Largest netrc file read, in bytes; real ones have a few hundred.
pub const NETRC_BYTES_MAX: u64 = 1 << 20;

/// One login; its `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct NetrcEntry {
    /// `None` for `default`.
    pub(super) machine: Option<String>,
    /// Empty when not given.
    pub(super) login: String,
    /// Not given means that it must be found elsewhere.
    pub(super) password: Option<String>,
}

impl fmt::Debug for NetrcEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NetrcEntry({:?})", self.machine)
    }
}

/// The logins of a netrc file. What cannot be understood is left out: a strange line must not hide the good ones.
pub(super) fn parse(text: &str) -> Vec<NetrcEntry> {
    let mut entries: Vec<NetrcEntry> = Vec::new();
    let mut rest = text;
    while let Some(keyword) = next_token(&mut rest) {
        match keyword.as_str() {
            "machine" => {
                let Some(machine) = next_token(&mut rest) else { break };
                entries.push(NetrcEntry { machine: Some(machine), ..NetrcEntry::default() });
            }
            "default" => entries.push(NetrcEntry::default()),
            "login" | "user" => {
                let value = next_token(&mut rest).unwrap_or_default();
                if let Some(entry) = entries.last_mut() {
                    entry.login = value;
                }
            }
            "password" => {
                let value = next_token(&mut rest);
                if let Some(entry) = entries.last_mut() {
                    entry.password = value;
                }
            }
            "account" => {
                next_token(&mut rest);
            }
            "macdef" => rest = rest.split_once("\n\n").map_or("", |(_, after)| after),
            comment if comment.starts_with('#') => rest = rest.split_once('\n').map_or("", |(_, after)| after),
            _ => {}
        }
    }
    entries
}

/// The entry for `host` (and `port`, for files that write it): the first that names it, else `default`.
pub(super) fn find<'a>(entries: &'a [NetrcEntry], host: &str, port: Option<u16>) -> Option<&'a NetrcEntry> {
    let with_port = port.map(|port| format!("{host}:{port}"));
    let names = |entry: &&NetrcEntry, wanted: &str| {
        entry.machine.as_deref().is_some_and(|machine| machine.eq_ignore_ascii_case(wanted))
    };
    with_port
        .and_then(|wanted| entries.iter().find(|entry| names(entry, &wanted)))
        .or_else(|| entries.iter().find(|entry| names(entry, host)))
        .or_else(|| entries.iter().find(|entry| entry.machine.is_none()))
}

fn next_token(rest: &mut &str) -> Option<String> {
    let text = rest.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut token = String::new();
        let mut characters = quoted.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    *rest = &quoted[index + 1..];
                    return Some(token);
                }
                '\\' => token.extend(characters.next().map(|(_, escaped)| escaped)),
                other => token.push(other),
            }
        }
        *rest = "";
        return Some(token);
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let token = &text[..end];
    *rest = &text[end..];
    (!token.is_empty()).then(|| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(text: &str, host: &str, port: Option<u16>) -> Option<(String, Option<String>)> {
        find(&parse(text), host, port).map(|entry| (entry.login.clone(), entry.password.clone()))
    }

    #[test]
    fn finds_the_login_of_a_host() {
        let text = "# machine no login no\nmachine a.example login me password p#1\nmachine b.example\n  login you\n\
                    macdef init\n machine c.example login x\n cd /\n\nmachine c.example:8443 login q password \"a \\\"b\"\n\
                    default login anonymous password guest\n";
        let found = |login_text: &str, password: &str| Some((login_text.to_owned(), Some(password.to_owned())));
        assert_eq!(login(text, "a.example", None), found("me", "p#1"));
        assert_eq!(login(text, "A.EXAMPLE", Some(443)), found("me", "p#1"));
        assert_eq!(login(text, "b.example", None), Some(("you".to_owned(), None)));
        assert_eq!(login(text, "c.example", Some(8443)), found("q", "a \"b"));
        assert_eq!(login(text, "c.example", None), found("anonymous", "guest"));
        assert_eq!(login("machine a.example login x", "z.example", None), None);
    }

    #[test]
    fn rubbish_is_survived() {
        for text in ["machine", "machine a login", "\"", "password x", "macdef", "default", "\\", "login \"\\"] {
            let _any_list = parse(text);
        }
        assert!(!format!("{:?}", parse("machine a login b password s3cret")).contains("s3cret"));
    }
}
