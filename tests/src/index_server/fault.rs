//! What the loopback index can do wrong.

use std::time::Duration;

/// Something that goes wrong for one path. `times` counts down; [`ALWAYS`] never ends.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection breaks after `bytes` bytes of the body, of which `Content-Length` promised more.
    DropAfter {
        /// Bytes of the body (after a range, of what is left) that are sent.
        bytes: u64,
        /// How often.
        times: u32,
    },
    /// An error status instead of the content.
    Status {
        /// 500, 503, 429, 404 …
        status: u16,
        /// Value of `Retry-After`.
        retry_after: Option<String>,
        /// How often.
        times: u32,
    },
    /// Every byte of the body is another one; the length is right.
    WrongBytes {
        /// How often.
        times: u32,
    },
    /// A complete answer with only the first `bytes` bytes of the file.
    Truncated {
        /// Bytes that are left.
        bytes: u64,
        /// How often.
        times: u32,
    },
    /// Sends `bytes` bytes of the body and then nothing more, until the server ends.
    Stall {
        /// Bytes before the silence.
        bytes: u64,
        /// How often.
        times: u32,
    },
    /// Another body and type instead of the content, status 200.
    Content {
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: Vec<u8>,
        /// How often.
        times: u32,
    },
    /// A redirect (302) to a URL or path.
    Redirect {
        /// Value of `Location`.
        to: String,
    },
    /// The body comes in pieces, with a pause after each.
    Slow {
        /// Bytes of each piece.
        chunk_bytes: usize,
        /// The pause.
        pause: Duration,
    },
    /// `Range` is not understood: the whole file every time.
    IgnoreRange,
    /// No `ETag`.
    NoValidator,
    /// The body is sent without `Content-Length`; its end is the end of the connection.
    NoLength,
}

/// For `times`: no end.
pub const ALWAYS: u32 = u32::MAX;

impl Fault {
    /// Whether this is a trait of every answer and no event that is used up.
    pub(super) const fn is_trait(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::IgnoreRange | Self::NoValidator | Self::NoLength)
    }

    /// Takes one of its times; `false` if there is none left.
    pub(super) const fn use_up(&mut self) -> bool {
        match self {
            Self::DropAfter { times, .. }
            | Self::Status { times, .. }
            | Self::WrongBytes { times }
            | Self::Truncated { times, .. }
            | Self::Stall { times, .. }
            | Self::Content { times, .. } => {
                let is_left = *times > 0;
                if is_left && *times != ALWAYS {
                    *times -= 1;
                }
                is_left
            }
            Self::Redirect { .. } | Self::Slow { .. } | Self::IgnoreRange | Self::NoValidator | Self::NoLength => true,
        }
    }
}
