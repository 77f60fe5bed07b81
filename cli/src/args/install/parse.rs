//! Reads the words of an `install` command by pip's rules: options and requirements in any order, long options by
//! any beginning that means only one, values of short options attached or apart, `--` before the last requirements.

use std::ffi::{OsStr, OsString};

use super::options::{OPTIONS, PipOption};

/// One option that was said.
#[derive(Debug, Clone)]
pub struct Given {
    /// Which.
    pub option: &'static PipOption,
    /// Its value; empty for an option without one.
    pub value: String,
}

/// The words in their meaning.
#[derive(Debug, Clone, Default)]
pub struct Words {
    /// Options in their order.
    pub options: Vec<Given>,
    /// Everything else.
    pub requirements: Vec<String>,
}

/// Why words can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nobody knows that option.
    #[error("`install` has no option `{0}`")]
    Unknown(String),
    /// A beginning of several options.
    #[error("`{word}` may be {}", candidates.join(", "))]
    Ambiguous {
        /// What was typed.
        word: String,
        /// What it may mean.
        candidates: Vec<&'static str>,
    },
    /// The last word is an option that needs another word.
    #[error("the option `{0}` needs a value")]
    NoValue(String),
    /// `--upgrade=yes`.
    #[error("the option `{0}` takes no value")]
    Value(String),
    /// A word is not UTF-8.
    #[error("the argument `{0}` is not UTF-8")]
    NotUtf8(String),
    /// The option is refused.
    #[error("`{spelling}` is refused: {sentence}")]
    Refused {
        /// The option.
        spelling: String,
        /// What to do instead.
        sentence: &'static str,
    },
}

/// Reads the words after `install`.
///
/// # Errors
/// See [`ParseError`]; the first refused option is named.
pub fn parse(arguments: &[OsString]) -> Result<Words, ParseError> {
    let mut words = Words::default();
    let mut rest = arguments.iter().map(|word| text(word));
    while let Some(word) = rest.next() {
        let word = word?;
        if word == "--" {
            words.requirements.extend(rest.collect::<Result<Vec<_>, _>>()?.into_iter().map(str::to_owned));
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, attached) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let option = long_option(name)?;
            let spelling = || format!("--{}", option.name());
            let value = match (option.value, attached) {
                (None, None) => String::new(),
                (None, Some(_)) => return Err(ParseError::Value(spelling())),
                (Some(_), Some(value)) => value.to_owned(),
                (Some(_), None) => rest.next().ok_or_else(|| ParseError::NoValue(spelling()))??.to_owned(),
            };
            words.add(option, value, &spelling())?;
        } else if word.len() > 1 && word.starts_with('-') {
            short_options(word, &mut rest, &mut words)?;
        } else {
            words.requirements.push(word.to_owned());
        }
    }
    Ok(words)
}

impl Words {
    fn add(&mut self, option: &'static PipOption, value: String, spelling: &str) -> Result<(), ParseError> {
        match option.refusal() {
            Some(sentence) => Err(ParseError::Refused { spelling: spelling.to_owned(), sentence }),
            None => {
                self.options.push(Given { option, value });
                Ok(())
            }
        }
    }

    /// Whether an option was said.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|given| given.option.name() == name)
    }

    /// How often an option was said.
    #[must_use]
    pub fn count(&self, name: &str) -> u8 {
        let count = self.options.iter().filter(|given| given.option.name() == name).count();
        u8::try_from(count).unwrap_or(u8::MAX)
    }

    /// The value of an option that was said last.
    #[must_use]
    pub fn last(&self, name: &str) -> Option<&str> {
        let said = self.options.iter().rev().find(|given| given.option.name() == name);
        said.map(|given| given.value.as_str())
    }

    /// All values of an option, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options.iter().filter(move |given| given.option.name() == name).map(|given| given.value.as_str())
    }
}

/// The letters of one word: `-qU`, `-rfile`, `-vvv`.
fn short_options<'a>(
    word: &'a str,
    rest: &mut impl Iterator<Item = Result<&'a str, ParseError>>,
    words: &mut Words,
) -> Result<(), ParseError> {
    let letters = &word[1..];
    for (position, letter) in letters.char_indices() {
        let spelling = format!("-{letter}");
        let option = OPTIONS.iter().find(|option| option.spellings().any(|known| known == spelling));
        let option = option.ok_or_else(|| ParseError::Unknown(spelling.clone()))?;
        if option.value.is_none() {
            words.add(option, String::new(), &spelling)?;
            continue;
        }
        let attached = &letters[position + letter.len_utf8()..];
        let value = match attached {
            "" => rest.next().ok_or_else(|| ParseError::NoValue(spelling.clone()))??,
            attached => attached,
        };
        return words.add(option, value.to_owned(), &spelling);
    }
    Ok(())
}

/// The option of that name, or the only one that begins so.
fn long_option(name: &str) -> Result<&'static PipOption, ParseError> {
    let begins = |option: &&PipOption| !name.is_empty() && option.name().starts_with(name);
    if let Some(option) = OPTIONS.iter().find(|option| option.name() == name) {
        return Ok(option);
    }
    // pip's other spelling of one option.
    if name == "config-setting" {
        return long_option("config-settings");
    }
    let candidates: Vec<&'static PipOption> = OPTIONS.iter().filter(begins).collect();
    match candidates.as_slice() {
        [] => Err(ParseError::Unknown(format!("--{name}"))),
        [only] => Ok(only),
        several => Err(ParseError::Ambiguous {
            word: format!("--{name}"),
            candidates: several.iter().map(|option| option.spellings().last().unwrap_or_default()).collect(),
        }),
    }
}

fn text(word: &OsString) -> Result<&str, ParseError> {
    let word: &OsStr = word;
    word.to_str().ok_or_else(|| ParseError::NotUtf8(word.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Words, ParseError> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn shown(line: &str) -> String {
        let words = read(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let options = words.options.iter().map(|given| match given.option.value {
            Some(_) => format!("{}={}", given.option.name(), given.value),
            None => given.option.name().to_owned(),
        });
        options.chain(words.requirements.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_mean_what_they_mean_to_pip() {
        for (line, meaning) in [
            ("-r req.txt a", "requirement=req.txt a"),
            ("-rdev.txt -rquick.txt -rUx.txt", "requirement=dev.txt requirement=quick.txt requirement=Ux.txt"),
            ("a --upgrade b", "upgrade a b"),
            ("-vvqU", "verbose verbose quiet upgrade"),
            ("-Ur x", "upgrade requirement=x"),
            ("--editab a", "editable=a"),
            ("--index-url=u --find-l d", "index-url=u find-links=d"),
            ("--target=", "target="),
            ("-- -r", "-r"),
            ("-", "-"),
        ] {
            assert_eq!(shown(line), meaning, "{line}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        for (line, message) in [
            ("--nope", "`install` has no option `--nope`"),
            ("-x", "`install` has no option `-x`"),
            ("-qx", "`install` has no option `-x`"),
            ("--no-b", "`--no-b` may be --no-build-isolation, --no-binary"),
            ("-r", "the option `-r` needs a value"),
            ("--target", "the option `--target` needs a value"),
            ("--upgrade=yes", "the option `--upgrade` takes no value"),
        ] {
            assert_eq!(read(line).expect_err(line).to_string(), message);
        }
        let error = read("--abi cp311 a").expect_err("refused").to_string();
        assert!(error.starts_with("`--abi` is refused: "), "{error}");
    }

    #[test]
    fn each_spelling_is_one_option() {
        let mut spellings: Vec<&str> = OPTIONS.iter().flat_map(PipOption::spellings).collect();
        let count = spellings.len();
        spellings.sort_unstable();
        spellings.dedup();
        assert_eq!(spellings.len(), count);
        for option in OPTIONS {
            assert!(option.refusal().is_some() == option.help.is_empty(), "{}", option.name());
        }
    }
}
