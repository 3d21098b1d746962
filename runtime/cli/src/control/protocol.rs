//! Requests and replies of a control connection, a line each.

use std::{
    io::{self, BufRead, Read, Write},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::Error;
use sideline_engine::{Change, status::Look};

/// Longest request, bytes with the line's end.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// A question to a run, or an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// Asks for the status. Its rates are those since this connection last asked, else since the start of the run.
    Status,
    /// Changes a key.
    Set {
        /// Id of the node, or of a module.
        node: String,
        /// The key.
        key: String,
        /// Its new value.
        value: Value,
    },
    /// Ends the sources; what is in flight is finished, and the connection is closed when the process is over.
    Stop,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The status.
    Status(Box<Status>),
    /// The keys that were changed.
    Changed(Vec<Change>),
    /// The run is ending.
    Stopping,
    /// The reason why nothing was done.
    Refused(Error),
}

/// A run, and its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The run.
    #[serde(flatten)]
    pub about: About,
    /// Its state.
    #[serde(flatten)]
    pub look: Look,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub run: String,
    /// The flow's file, from the root.
    pub flow: PathBuf,
    /// The run's folder, from the root.
    pub folder: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl About {
    /// True where the run, its folder or its flow has this name.
    pub fn is_named(&self, name: &str) -> bool {
        self.run == name
            || self.folder.file_name().is_some_and(|folder| folder == name)
            || self.flow.file_stem().is_some_and(|flow| flow == name)
    }
}

/// Answers the requests of a client until it has gone. A line that is no request is refused; behind one that is too long
/// the connection ends, as the rest of it could pass for a request.
///
/// # Errors
/// When the client can no longer be read from, or written to.
pub fn converse(
    input: impl BufRead,
    mut output: impl Write,
    mut answer: impl FnMut(Request) -> Reply,
) -> io::Result<()> {
    let mut input = input;
    let mut line = vec![];
    loop {
        line.clear();
        if (&mut input).take(LONGEST_REQUEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST_REQUEST;
        let reply = if !whole {
            Reply::Refused(Error::config(format!("a request has at most {LONGEST_REQUEST} bytes")))
        } else {
            match serde_json::from_slice(&line) {
                Ok(request) => answer(request),
                Err(cause) => Reply::Refused(Error::config(format!("not a request: {cause}"))),
            }
        };
        let mut text = serde_json::to_string(&reply).map_err(io::Error::other)?;
        text.push('\n');
        output.write_all(text.as_bytes())?;
        if !whole {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use sideline_api::Random;

    use super::*;

    /// The replies to some input, and the requests that were understood.
    fn talk(input: &[u8]) -> (Vec<Reply>, Vec<Request>) {
        let (mut output, mut understood) = (vec![], vec![]);
        let answer = |request: Request| {
            understood.push(request);
            Reply::Changed(vec![])
        };
        converse(input, &mut output, answer).unwrap();
        let replies = output.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap());
        (replies.collect(), understood)
    }

    fn refused(reply: &Reply) -> bool {
        matches!(reply, Reply::Refused(_))
    }

    #[test]
    fn each_line_has_one_reply_and_garbage_between_requests_is_refused_alone() {
        let set = r#"{"do":"set","node":"n","key":"k","value":[1,{"a":null}]}"#;
        let deep = "[".repeat(10_000);
        let text = format!("{{\"do\":\"status\"}}\n\n{set}\nnull\n{deep}\n{{\"do\":\"halt\"}}\n\u{0}\u{7f}é\n{set}");
        let (replies, understood) = talk(text.as_bytes());
        let expected = [false, true, false, true, true, true, true, false];
        assert_eq!(replies.iter().map(refused).collect::<Vec<_>>(), expected);
        assert_eq!(understood.len(), 3, "{understood:?}");
        // Not UTF-8, and half a request at the end.
        assert!(talk(b"\xff\xfe\x80\n").0.iter().all(refused));
        let (replies, understood) = talk(&set.as_bytes()[..set.len() - 2]);
        assert!(replies.len() == 1 && refused(&replies[0]) && understood.is_empty());
        assert!(talk(b"").0.is_empty());
    }

    #[test]
    fn what_follows_a_line_that_is_too_long_is_not_taken_for_a_request() {
        let request = |length: usize| {
            let frame = r#"{"do":"set","node":"","key":"k","value":1}"#.len() + 1;
            format!("{{\"do\":\"set\",\"node\":\"{}\",\"key\":\"k\",\"value\":1}}\n", "n".repeat(length - frame))
        };
        let most = LONGEST_REQUEST as usize;
        assert_eq!(talk(request(most).as_bytes()).1.len(), 1);
        let hidden = format!("{}{}", "x".repeat(most), request(100));
        for long in [request(most + 1), hidden, "x".repeat(3 * most)] {
            let (replies, understood) = talk(long.as_bytes());
            assert!(replies.len() == 1 && refused(&replies[0]) && understood.is_empty());
        }
    }

    #[test]
    fn no_input_whatever_is_left_without_a_reply_or_an_end() {
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
            let count = (random.share() * 24.0) as usize;
            let mut input = vec![];
            for _ in 0..count {
                input.extend_from_slice(parts[(random.share() * parts.len() as f64) as usize]);
                // A byte of any kind now and then.
                if random.share() < 0.2 {
                    input.push((random.share() * 256.0) as u8);
                }
            }
            let lines = input.split_inclusive(|byte| *byte == b'\n').count();
            assert_eq!(talk(&input).0.len(), lines, "{}", String::from_utf8_lossy(&input));
        }
    }
}
