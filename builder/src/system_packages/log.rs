//! Reading the log of a build: plain, or compressed as the store and CI keep it.

use std::io::{self, Read};

/// Longest log that is read, in bytes, decompressed. What comes after is not looked at.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Reads a log.
///
/// # Errors
/// When the reader fails, or what looks compressed can't be decompressed.
pub fn read_log(mut reader: impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let whole = io::Cursor::new(start.clone()).chain(reader);
    let mut log = Vec::new();
    match start[..] {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(whole).take(LOG_BYTES_MAX).read_to_end(&mut log)?,
        [0x28, 0xb5, 0x2f, 0xfd] => zstd::Decoder::new(whole)?.take(LOG_BYTES_MAX).read_to_end(&mut log)?,
        _ => whole.take(LOG_BYTES_MAX).read_to_end(&mut log)?,
    };
    Ok(log)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn logs_are_read_as_they_are_kept() {
        let text = b"error\n".to_vec();
        assert_eq!(read_log(&text[..]).unwrap(), text);
        assert_eq!(read_log(&b"ab"[..]).unwrap(), b"ab");
        assert_eq!(read_log(&zstd::encode_all(&text[..], 1).unwrap()[..]).unwrap(), text);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        assert_eq!(read_log(&gzip.finish().unwrap()[..]).unwrap(), text);
        assert!(read_log(&[0x1f, 0x8b, 0, 0, 0][..]).is_err());
    }
}
