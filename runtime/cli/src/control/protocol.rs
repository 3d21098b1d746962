//! Requests and replies of a control connection, one JSON object per line.

use std::{
    io::{self, BufRead, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::Error;
use sideline_engine::{SettingChange, snapshot::RunSnapshot};

/// Greatest size of a request, bytes, including the newline.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// A request to a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Requests the status, with rates since the last such request on this connection, else since the start of the run.
    Status,
    /// Changes a live setting.
    Set {
        /// Id of the node, or of a module.
        node: String,
        /// The key.
        key: String,
        /// Its new value.
        value: Value,
    },
    /// Stops the sources. Frames in flight are finished, and the connection is closed when the process ends.
    Stop,
}

/// The reply to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The status.
    Status(Box<StatusReport>),
    /// The changes made.
    Changed(Vec<SettingChange>),
    /// The run is stopping.
    Stopping,
    /// The request was refused, with the reason.
    Refused(Error),
}

/// Identity and state of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StatusReport {
    /// The run.
    #[serde(flatten)]
    pub info: RunInfo,
    /// State of the run.
    #[serde(flatten)]
    pub snapshot: RunSnapshot,
}

/// Identity of an active run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Name of the run.
    pub run: String,
    /// Absolute path of the flow's file.
    pub flow: PathBuf,
    /// Absolute path of the run's folder.
    pub folder: PathBuf,
    /// Process id.
    pub pid: u32,
}

impl RunInfo {
    /// True if the run, its folder or its flow has this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.run == name
            || self.folder.file_name().is_some_and(|folder| folder == name)
            || self.flow.file_stem().is_some_and(|flow| flow == name)
    }
}

/// Serves the requests of a client until it disconnects. A line that is not a request is refused. After a line that is too long
/// the connection is closed, since the rest of the line could be taken for a request.
///
/// # Errors
/// If reading from or writing to the client fails.
pub fn serve_requests(
    input: impl BufRead,
    mut output: impl Write,
    mut handle: impl FnMut(Request) -> Reply,
) -> io::Result<()> {
    let mut input = input;
    let mut line = vec![];
    loop {
        line.clear();
        if (&mut input).take(MAX_REQUEST_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_complete = line.ends_with(b"\n") || (line.len() as u64) < MAX_REQUEST_BYTES;
        let reply = if !is_complete {
            Reply::Refused(Error::config(format!("a request has at most {MAX_REQUEST_BYTES} bytes")))
        } else {
            match serde_json::from_slice(&line) {
                Ok(request) => handle(request),
                Err(cause) => Reply::Refused(Error::config(format!("not a request: {cause}"))),
            }
        };
        let mut text = serde_json::to_string(&reply).map_err(io::Error::other)?;
        text.push('\n');
        output.write_all(text.as_bytes())?;
        if !is_complete {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use sideline_api::Random;

    use super::*;

    /// Serves some input; returns the replies, and the requests that were parsed.
    fn serve(input: &[u8]) -> (Vec<Reply>, Vec<Request>) {
        let (mut output, mut requests) = (vec![], vec![]);
        let handle = |request: Request| {
            requests.push(request);
            Reply::Changed(vec![])
        };
        serve_requests(input, &mut output, handle).unwrap();
        let replies = output.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap());
        (replies.collect(), requests)
    }

    fn is_refused(reply: &Reply) -> bool {
        matches!(reply, Reply::Refused(_))
    }

    #[test]
    fn each_line_gets_one_reply_and_invalid_lines_do_not_affect_the_requests_between_them() {
        let set = r#"{"do":"set","node":"n","key":"k","value":[1,{"a":null}]}"#;
        let deep = "[".repeat(10_000);
        let text = format!("{{\"do\":\"status\"}}\n\n{set}\nnull\n{deep}\n{{\"do\":\"halt\"}}\n\u{0}\u{7f}é\n{set}");
        let (replies, requests) = serve(text.as_bytes());
        let expected = [false, true, false, true, true, true, true, false];
        assert_eq!(replies.iter().map(is_refused).collect::<Vec<_>>(), expected);
        assert_eq!(requests.len(), 3, "{requests:?}");
        // A line that is not UTF-8, and an incomplete request at the end.
        assert!(serve(b"\xff\xfe\x80\n").0.iter().all(is_refused));
        let (replies, requests) = serve(&set.as_bytes()[..set.len() - 2]);
        assert!(replies.len() == 1 && is_refused(&replies[0]) && requests.is_empty());
        assert!(serve(b"").0.is_empty());
    }

    #[test]
    fn the_rest_of_a_line_that_is_too_long_is_not_taken_for_a_request() {
        let request = |length: usize| {
            let frame = r#"{"do":"set","node":"","key":"k","value":1}"#.len() + 1;
            format!("{{\"do\":\"set\",\"node\":\"{}\",\"key\":\"k\",\"value\":1}}\n", "n".repeat(length - frame))
        };
        let max = MAX_REQUEST_BYTES as usize;
        assert_eq!(serve(request(max).as_bytes()).1.len(), 1);
        let hidden = format!("{}{}", "x".repeat(max), request(100));
        for long in [request(max + 1), hidden, "x".repeat(3 * max)] {
            let (replies, requests) = serve(long.as_bytes());
            assert!(replies.len() == 1 && is_refused(&replies[0]) && requests.is_empty());
        }
    }

    #[test]
    fn every_line_of_random_input_gets_a_reply() {
        let parts: [&[u8]; 12] = [
            b"{\"do\":",
            b"\"set\"",
            b"\"status\"}",
            b"\n",
            b"\"node\":\"a\",",
            b"\"value\":",
            b"1e999",
            b"\xc3",
            b"\\u0000",
            b"}",
            b"[[[[",
            b"\0",
        ];
        let mut random = Random::new(11);
        for _ in 0..2_000 {
            let count = (random.uniform() * 24.0) as usize;
            let mut input = vec![];
            for _ in 0..count {
                input.extend_from_slice(parts[(random.uniform() * parts.len() as f64) as usize]);
                // With a random byte now and then.
                if random.uniform() < 0.2 {
                    input.push((random.uniform() * 256.0) as u8);
                }
            }
            let lines = input.split_inclusive(|byte| *byte == b'\n').count();
            assert_eq!(serve(&input).0.len(), lines, "{}", String::from_utf8_lossy(&input));
        }
    }
}
