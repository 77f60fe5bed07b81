//! What a run writes: cut into lines and handed on.

use std::collections::VecDeque;
use std::io;

/// Longest piece that is held back to complete a line. Longer lines (minified data, progress bars without line
/// ends) are handed on in pieces of this size: memory stays bounded whatever a build prints.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Receives the output of a run, standard output and standard error as one stream.
pub trait OutputSink {
    /// Takes one or more whole lines, each with its line end. Only the very last line of a run may lack it, and only
    /// a line longer than [`LINE_BYTES_MAX`] comes in pieces. The bytes are whatever the build wrote; concatenated
    /// they are the log, byte by byte. Called on the supervisor's task: must not block for long.
    ///
    /// # Errors
    /// Any error stops the run.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()>;
}

impl OutputSink for Vec<u8> {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        self.extend_from_slice(lines);
        Ok(())
    }
}

/// Keeps the last lines, for the summary of a failed build.
#[derive(Clone, Debug)]
pub struct LastLines {
    lines: VecDeque<String>,
    lines_max: usize,
}

/// Longest line kept in [`LastLines`], in bytes: a summary is for people.
const SUMMARY_LINE_BYTES_MAX: usize = 2000;

impl LastLines {
    /// Keeps up to `lines_max` lines.
    pub fn new(lines_max: usize) -> Self {
        Self { lines: VecDeque::with_capacity(lines_max.min(1024)), lines_max }
    }

    /// The lines, oldest first, without line ends, lossily decoded, without escape sequences and control characters.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

impl OutputSink for LastLines {
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if self.lines_max == 0 {
                break;
            }
            if self.lines.len() == self.lines_max {
                self.lines.pop_front();
            }
            self.lines.push_back(printable(&line[..line.len().min(SUMMARY_LINE_BYTES_MAX)]));
        }
        Ok(())
    }
}

/// What a terminal may be shown: a build must not move the cursor, set the title or hide lines.
pub(crate) fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                for part in characters.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&part) {
                        break;
                    }
                }
            }
            '\t' => shown.push('\t'),
            // A carriage return inside a line is a progress bar: only what it ended with counts.
            '\r' => shown.clear(),
            other if other.is_control() => {}
            other => shown.push(other),
        }
    }
    shown
}

/// Cuts a stream into whole lines.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    pending: Vec<u8>,
}

impl LineBuffer {
    /// Adds what was read and hands every complete line on.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn OutputSink) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
            sink.write_lines(&self.pending[..=end])?;
            self.pending.drain(..=end);
        }
        while self.pending.len() > LINE_BYTES_MAX {
            sink.write_lines(&self.pending[..LINE_BYTES_MAX])?;
            self.pending.drain(..LINE_BYTES_MAX);
        }
        Ok(())
    }

    /// Hands on a last line without line end.
    pub(super) fn finish(&mut self, sink: &mut dyn OutputSink) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        if rest.is_empty() { Ok(()) } else { sink.write_lines(&rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pieces(Vec<Vec<u8>>);
    impl OutputSink for Pieces {
        fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
            self.0.push(lines.to_vec());
            Ok(())
        }
    }

    #[test]
    fn lines_are_never_cut() {
        let (mut buffer, mut sink) = (LineBuffer::default(), Pieces(Vec::new()));
        for part in ["one", " line\ntw", "o\nthr", "ee"] {
            buffer.push(part.as_bytes(), &mut sink).expect("memory");
        }
        buffer.finish(&mut sink).expect("memory");
        assert_eq!(sink.0, [b"one line\n".to_vec(), b"two\n".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn endless_line_is_bounded() {
        let (mut buffer, mut sink) = (LineBuffer::default(), Pieces(Vec::new()));
        buffer.push(&vec![b'x'; 3 * LINE_BYTES_MAX + 1], &mut sink).expect("memory");
        assert_eq!(sink.0.len(), 3);
        assert_eq!(buffer.pending.len(), 1);
    }

    #[test]
    fn summary_is_safe_to_print() {
        let mut last = LastLines::new(2);
        last.write_lines(b"gone\n\x1b[31mred\x1b[0m \x07bell\xff\n 10%\r100%\r\n").expect("memory");
        assert_eq!(last.lines().collect::<Vec<_>>(), ["red bell\u{fffd}", "100%"]);
    }
}
