//! Messages between operators: a header that names the frame, and a body with data, the reason of a skip, or the end of the
//! stream.

use std::{fmt, sync::Arc};

use arrow_array::StructArray;

use crate::Frame;

/// Name of a stream: one camera, one file.
pub type StreamName = Arc<str>;

/// Converts the name of a stream to a part of a file name: letters, digits, `-` and `_` stay, every other character becomes `_`.
/// Two streams may have the same.
pub fn stream_file_name(stream: &str) -> String {
    stream.chars().map(|c| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' }).collect()
}

/// Escapes the control characters in the name of a stream for a message, as `\n` or `\u001b`: a file name may contain a line
/// break, and the rest of it would look like a line of its own.
pub fn escape_stream_name(stream: &str) -> String {
    let mut escaped = String::with_capacity(stream.len());
    for c in stream.chars() {
        match c {
            '\n' | '\r' | '\t' => escaped.extend(c.escape_default()),
            c if c.is_control() => escaped += &format!("\\u{:04x}", u32::from(c)),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns true if two stream names are equal. All messages of a stream in one process usually share one allocation, so the
/// addresses are compared first: the driver compares names several times per frame.
#[inline]
pub fn is_same_stream(a: &StreamName, b: &StreamName) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Identity and times of a frame. Assigned at admission, carried unchanged through the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name of the stream.
    pub stream: StreamName,
    /// Number of the connection, from 0; incremented at each reconnect.
    pub session: u32,
    /// Number of the frame, assigned at admission, from 0; never restarts. After the stream's last frame: the next number.
    pub frame: u64,
    /// Media time in nanoseconds; never decreases.
    pub pts: i64,
    /// Wall-clock time (nanoseconds since 1970) at which the packet that completed the frame was read; for a file paced
    /// live its due time, if that is later. For latencies only: it never goes into a table.
    pub captured_at: i64,
    /// Number of frames of this stream that were decoded before this one and dropped because the window was full.
    pub dropped: u64,
    /// True after the stream's last frame: in a closing message and in the end.
    pub is_closing: bool,
}

impl Header {
    /// Creates the header of a frame of the first session, captured at its media time.
    pub fn new(stream: impl Into<StreamName>, frame: u64, pts: i64) -> Self {
        Self { stream: stream.into(), session: 0, frame, pts, captured_at: pts, dropped: 0, is_closing: false }
    }
}

/// One message. Every output sends exactly one for every frame, in order, then at most one closing message and one
/// `End` per stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Frame to which the message belongs.
    pub header: Header,
    /// Number of this message on its output, all kinds, from 0. A gap is an error at the next message.
    pub n: u64,
    /// Content.
    pub body: Body,
}

/// Content of a message.
#[derive(Clone, Debug)]
pub enum Body {
    /// Rows or a frame. An empty table is a valid result.
    Data(Payload),
    /// No data, for this reason.
    Skipped(Reason),
    /// End of the stream: no message of it follows.
    End {
        /// Number of frames of the stream in this run; this output sent one message for each.
        frames: u64,
    },
}

impl Body {
    /// Returns the value of the metadata key `sl_kind`.
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
    /// Decoded video frame.
    Frame(Arc<Frame>),
    /// Struct array with one row per object.
    Table(Arc<StructArray>),
}

/// Reason for which an output has no data for a frame. Counted by name, and passed on to all operators downstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The frame is left out by `SIDELINE_STRIDE`.
    Stride,
    /// `process` returned an error.
    Error,
    /// `process` panicked.
    Panic,
    /// The operator failed at an earlier frame, and its restart is pending.
    Restarting,
    /// The source could not decode the frame.
    Damaged,
    /// An operator's own reason, one word.
    Other(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Stride => "stride",
            Reason::Error => "error",
            Reason::Panic => "panic",
            Reason::Restarting => "restarting",
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
            "restarting" => Reason::Restarting,
            "damaged" => Reason::Damaged,
            other => Reason::Other(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Reason, escape_stream_name, stream_file_name};

    #[test]
    fn the_name_of_a_stream_has_no_control_character_in_messages_and_files() {
        assert_eq!(escape_stream_name("left\nerror: \u{1b}[2J\u{9b}é\t"), "left\\nerror: \\u001b[2J\\u009bé\\t");
        assert_eq!(stream_file_name("left\n\u{1b}/../é-2_x.y"), "left______é-2_x_y");
    }

    #[test]
    fn every_reason_is_parsed_back_from_its_name() {
        for reason in [
            Reason::Stride,
            Reason::Error,
            Reason::Panic,
            Reason::Restarting,
            Reason::Damaged,
            Reason::Other("blurred".into()),
        ] {
            assert_eq!(Reason::from(reason.to_string().as_str()), reason);
        }
    }
}
