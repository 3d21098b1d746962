//! A message: which frame it belongs to, and data, the reason why there is none, or the end of its stream.

use std::{fmt, sync::Arc};

use arrow_array::StructArray;

use crate::Frame;

/// The name of a stream: one camera, one file.
pub type StreamName = Arc<str>;

/// Compares two stream names. All messages of a stream in one process usually share one allocation, so the addresses are
/// compared first: the driver asks several times a frame.
#[inline]
pub fn is_same_stream(a: &StreamName, b: &StreamName) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Which frame a message belongs to. Given by the source at admission, carried unchanged through the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the stream.
    pub stream: StreamName,
    /// Number of the connection: +1 at each reconnect, from 0.
    pub session: u32,
    /// Number of the frame, given at admission, from 0; never restarts. After the stream's last frame: the next number.
    pub frame: u64,
    /// Media time in nanoseconds; never goes back.
    pub pts: i64,
    /// Wall clock (nanoseconds since 1970) when the packet that completed the frame was read; for a file paced live
    /// its due time, if that is later. A time, so never part of a table.
    pub captured: i64,
    /// Frames of this stream that were decoded and forgotten before this one, because the window was full.
    pub forgotten: u64,
    /// True after the stream's last frame: in a closing message and in the end.
    pub closing: bool,
}

impl Header {
    /// Returns the header of a frame of the first session, captured at its media time.
    pub fn new(stream: impl Into<StreamName>, frame: u64, pts: i64) -> Self {
        Self { stream: stream.into(), session: 0, frame, pts, captured: pts, forgotten: 0, closing: false }
    }
}

/// One message. Every output sends exactly one for every frame, in order, then at most one closing message and one
/// `End` per stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which frame.
    pub header: Header,
    /// Number of this message on its output, all kinds, from 0. A gap is an error at the next message.
    pub n: u64,
    /// What is in it.
    pub body: Body,
}

/// What a message holds.
#[derive(Clone, Debug)]
pub enum Body {
    /// Rows or a frame. No rows is a valid answer.
    Data(Payload),
    /// Nothing, and why.
    Skipped(Reason),
    /// The stream is over; nothing of it follows.
    End {
        /// Frames of the stream in this run: there was one message on this output for each.
        frames: u64,
    },
}

impl Body {
    /// The value of the metadata key `sl_kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Body::Data(_) => "data",
            Body::Skipped(_) => "skipped",
            Body::End { .. } => "end",
        }
    }
}

/// A frame of video or a table. Shared, never copied, between the operators of a process.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Decoded video.
    Frame(Arc<Frame>),
    /// A struct array: one row per thing.
    Table(Arc<StructArray>),
}

/// Why an output has no data for a frame. Counted by name; carried on to everything downstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Between the frames of a `stride`.
    Stride,
    /// `process` returned an error.
    Error,
    /// `process` panicked.
    Panic,
    /// The source could not decode the frame.
    Damaged,
    /// An operator's own reason: one word.
    Other(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Stride => "stride",
            Reason::Error => "error",
            Reason::Panic => "panic",
            Reason::Damaged => "damaged",
            Reason::Other(word) => word,
        })
    }
}

impl From<&str> for Reason {
    fn from(word: &str) -> Self {
        match word {
            "stride" => Reason::Stride,
            "error" => Reason::Error,
            "panic" => Reason::Panic,
            "damaged" => Reason::Damaged,
            other => Reason::Other(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn a_reason_survives_its_metadata_form() {
        for reason in [Reason::Stride, Reason::Error, Reason::Panic, Reason::Damaged, Reason::Other("blurred".into())] {
            assert_eq!(Reason::from(reason.to_string().as_str()), reason);
        }
    }
}
