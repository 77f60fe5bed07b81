//! The only encoder whose bytes may be hashed.
//!
//! Every value starts with a domain tag, every text and list with its length as a 64-bit little-endian number,
//! so that two fields can never run together and values of two kinds never meet.
//! A new field is a new domain tag: never extend an encoding in place.

/// Feeds a value to BLAKE3 in its canonical form.
#[derive(Debug, Clone)]
pub struct Encoder {
    hasher: blake3::Hasher,
}

impl Encoder {
    /// Starts the encoding of one kind of value; `domain` names the kind and its version,
    /// such as `pip-accel/recipe/1`.
    #[must_use]
    pub fn for_domain(domain: &'static str) -> Self {
        let mut encoder = Self { hasher: blake3::Hasher::new() };
        encoder.bytes(domain.as_bytes());
        encoder
    }

    /// Appends a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
        self
    }

    /// Appends a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Appends a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.hasher.update(&number.to_le_bytes());
        self
    }

    /// Appends an optional text; absent and empty differ.
    pub fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            None => self.number(0),
            Some(text) => self.number(1).text(text),
        }
    }

    /// Appends a list of texts; the caller sorts it where order has no meaning.
    pub fn texts<T: AsRef<str>>(&mut self, texts: impl ExactSizeIterator<Item = T>) -> &mut Self {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text.as_ref());
        }
        self
    }

    /// The 32 bytes that name the value.
    #[must_use]
    pub fn finish(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(parts: &[&str]) -> [u8; 32] {
        let mut encoder = Encoder::for_domain("test/1");
        for part in parts {
            encoder.text(part);
        }
        encoder.finish()
    }

    #[test]
    fn neighbouring_fields_never_run_together() {
        assert_ne!(encode(&["ab", "c"]), encode(&["a", "bc"]));
        assert_ne!(encode(&["ab"]), encode(&["ab", ""]));
        assert_ne!(
            Encoder::for_domain("test/1").optional_text(None).finish(),
            Encoder::for_domain("test/1").optional_text(Some("")).finish()
        );
    }
}
