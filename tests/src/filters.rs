//! Replaces what differs from run to run (paths, durations, sizes of hashes) by placeholders, for snapshots.

/// Length of a SHA-256 or BLAKE3 digest in hexadecimal.
const DIGEST_LENGTH: usize = 64;
/// Length of an object id in a store path.
const OBJECT_ID_LENGTH: usize = 32;

/// `text` with the given literal replacements made (longest first), then durations as `[TIME]`, digests as `[HASH]`
/// and object ids as `[ID]`.
#[must_use]
pub fn normalize(text: &str, replacements: &[(String, String)]) -> String {
    let mut ordered: Vec<_> = replacements.iter().filter(|(from, _)| !from.is_empty()).collect();
    ordered.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    let mut text = text.to_owned();
    for (from, to) in ordered {
        text = text.replace(from, to);
    }
    replace_durations(&replace_words(&text))
}

/// Replaces words (runs of ASCII letters and digits) that look like digests or ids.
fn replace_words(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let length = rest[start..].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len() - start);
        let word = &rest[start..start + length];
        result.push_str(&rest[..start]);
        result.push_str(placeholder(word).unwrap_or(word));
        rest = &rest[start + length..];
    }
    result + rest
}

fn placeholder(word: &str) -> Option<&'static str> {
    let is_hex = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_lower = word.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
    match word.len() {
        DIGEST_LENGTH if is_hex => Some("[HASH]"),
        OBJECT_ID_LENGTH if is_lower && has_digit => Some("[ID]"),
        _ => None,
    }
}

/// Replaces `0.02 s`, `12 ms`, `3 min` and the like.
fn replace_durations(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        result.push_str(before);
        let length = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let after = &number[length..];
        let unit = [" ms", " min", " s", "ms", "s"].into_iter().find(|unit| {
            after.strip_prefix(unit).is_some_and(|tail| !tail.starts_with(|c: char| c.is_ascii_alphanumeric()))
        });
        match unit {
            Some(unit) if !before.ends_with(|c: char| c.is_ascii_alphabetic()) => {
                result.push_str("[TIME]");
                rest = &after[unit.len()..];
            }
            _ => {
                result.push_str(&number[..length]);
                rest = after;
            }
        }
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_becomes_a_placeholder() {
        let digest = "0123456789abcdef".repeat(4);
        let id = "0123456789abcdfghijklmnpqrsvwxyz";
        let text =
            format!("2 packages: 1 built, in 0.02 s; /t/x/store/{id}-a-1.0 sha256:{digest} (12 ms, 3 steps) py3s");
        let text = normalize(&text, &[("/t/x".to_owned(), "[TEMP]".to_owned())]);
        assert_eq!(
            text,
            "2 packages: 1 built, in [TIME]; [TEMP]/store/[ID]-a-1.0 sha256:[HASH] ([TIME], 3 steps) py3s"
        );
    }
}
