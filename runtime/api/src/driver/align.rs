//! Alignment of the inputs of one operator: takes numbered messages and yields frames for which all messages are there.

use std::{collections::VecDeque, time::Instant};

use crate::{Alignment, Body, Error, Header, Message, Result, SourceId, StreamName, WiredInput, is_same_stream};

/// Phase of a stream to which a set of messages belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Frame of the stream.
    Frame,
    /// Closing messages: rows after the last frame.
    Closing,
    /// End of the stream.
    End {
        /// Number of frames of the stream in this run.
        frames: u64,
    },
}

impl Phase {
    fn from_message(message: &Message) -> Self {
        match message.body {
            Body::End { frames } => Phase::End { frames },
            _ if message.header.is_closing => Phase::Closing,
            _ => Phase::Frame,
        }
    }
}

/// Complete set of messages for one call; the messages are in [`Align::aligned`].
pub struct Due {
    /// Header of the frame, or of the closing messages or the end.
    pub header: Header,
    /// Phase of the stream.
    pub phase: Phase,
    /// Time at which the last of the messages was sent.
    pub ready: Instant,
}

/// State of one input.
#[derive(Default)]
struct Port {
    queue: VecDeque<(Message, Instant)>,
    side: Vec<Message>,
    next_n: u64,
    /// Streams seen on this input; true once the stream has ended here.
    streams: Vec<(StreamName, bool)>,
    is_closed: bool,
}

impl Port {
    /// Records the stream of a message, and its end.
    #[inline]
    fn record_stream(&mut self, message: &Message) {
        let stream = &message.header.stream;
        let is_end = matches!(message.body, Body::End { .. });
        match self.streams.iter_mut().find(|(name, _)| is_same_stream(name, stream)) {
            Some((_, has_ended)) => *has_ended |= is_end,
            None => self.streams.push((stream.clone(), is_end)),
        }
    }

    fn has_ended(&self, stream: &str) -> bool {
        self.is_closed || self.streams.iter().any(|(name, has_ended)| &**name == stream && *has_ended)
    }

    fn has_seen(&self, stream: &str) -> bool {
        self.streams.iter().any(|(name, _)| &**name == stream)
    }
}

/// Aligner of the inputs of one operator.
pub struct Align {
    node: String,
    inputs: Vec<WiredInput>,
    ports: Vec<Port>,
    /// Messages of the current frame, one slot for each input.
    pub aligned: Vec<Option<Message>>,
    /// Messages that arrived on side and feedback inputs since the previous call, by input.
    pub side: Vec<Vec<Message>>,
    /// Number of side and feedback messages that were dropped or lost.
    pub side_dropped: u64,
}

impl Align {
    pub fn new(node: &str, inputs: Vec<WiredInput>) -> Self {
        Self {
            node: node.into(),
            ports: inputs.iter().map(|_| Port::default()).collect(),
            aligned: vec![None; inputs.len()],
            side: vec![vec![]; inputs.len()],
            inputs,
            side_dropped: 0,
        }
    }

    pub fn inputs(&self) -> &[WiredInput] {
        &self.inputs
    }

    /// Returns the declarations of all inputs and, in the same order, the messages of the current frame.
    pub fn inputs_and_aligned(&mut self) -> (&[WiredInput], &mut [Option<Message>]) {
        (&self.inputs, &mut self.aligned)
    }

    /// Returns the description of an input for error messages.
    pub fn place(&self, port: usize) -> String {
        let input = &self.inputs[port];
        format!("node `{}`, input `{}` from {}", self.node, input.name, input.from)
    }

    /// Returns true for an operator without aligned inputs, which runs for every message that arrives.
    pub fn is_side_only(&self) -> bool {
        !self.inputs.iter().any(|input| input.alignment.is_aligned())
    }

    /// Queues a message of an aligned input.
    ///
    /// # Errors
    /// When a message before it was lost.
    #[inline]
    pub fn push(&mut self, port: usize, message: Message, sent: Instant) -> Result<()> {
        self.check_number(port, &message)?;
        self.ports[port].queue.push_back((message, sent));
        Ok(())
    }

    /// Queues a message of a side or feedback input, and drops the oldest one if the queue is full.
    ///
    /// # Errors
    /// When the number of the message is lower than that of an earlier one.
    pub fn push_side(&mut self, port: usize, message: Message) -> Result<()> {
        self.check_number(port, &message)?;
        if matches!(message.body, Body::End { .. }) {
            return Ok(());
        }
        let side = &mut self.ports[port].side;
        if self.inputs[port].alignment.queue().is_some_and(|limit| side.len() >= limit) {
            side.remove(0);
            self.side_dropped += 1;
        }
        side.push(message);
        Ok(())
    }

    /// Checks the number of a message and records its stream. Gaps on side and feedback inputs are counted.
    #[inline]
    fn check_number(&mut self, port: usize, message: &Message) -> Result<()> {
        let (expected, found) = (self.ports[port].next_n, message.n);
        if found != expected {
            match self.inputs[port].alignment {
                Alignment::Side { .. } | Alignment::Feedback if found > expected => {
                    self.side_dropped += found - expected
                }
                _ => {
                    return Err(Error::other(format!(
                        "{}: message {expected} was lost (message {found} came); is the transport overlay in force, every queue \
                         at least the window + 4, and the sender's shared memory large enough for all its readers?",
                        self.place(port)
                    )));
                }
            }
        }
        let state = &mut self.ports[port];
        state.next_n = message.n + 1;
        state.record_stream(message);
        Ok(())
    }

    /// Takes the next messages of the inputs that descend from `source` if all of them are there.
    ///
    /// # Errors
    /// When the inputs have messages of different frames.
    #[inline]
    pub fn next(&mut self, source: SourceId) -> Result<Option<Due>> {
        let mut due: Option<(usize, Due)> = None;
        for i in self.group(source) {
            let Some((message, sent)) = self.ports[i].queue.front() else { return Ok(None) };
            let (header, phase) = (&message.header, Phase::from_message(message));
            let Some((first, due)) = &mut due else {
                due = Some((i, Due { header: header.clone(), phase, ready: *sent }));
                continue;
            };
            due.ready = due.ready.max(*sent);
            let is_same_phase = match (due.phase, phase) {
                // Some inputs have closing messages and others none: their ends wait until the closing messages are taken.
                (Phase::Closing, Phase::End { .. }) => true,
                (Phase::End { .. }, Phase::Closing) => {
                    due.phase = Phase::Closing;
                    true
                }
                (one, other) => one == other,
            };
            if !is_same_phase || !is_same_stream(&due.header.stream, &header.stream) || due.header.frame != header.frame
            {
                return Err(self.mismatch(*first, i));
            }
        }
        let Some((_, due)) = due else { return Ok(None) };
        for i in 0..self.ports.len() {
            let is_due = self.inputs[i].alignment == Alignment::Source(source)
                && self.ports[i].queue.front().is_some_and(|(message, _)| Phase::from_message(message) == due.phase);
            self.aligned[i] = if is_due { self.ports[i].queue.pop_front().map(|(message, _)| message) } else { None };
        }
        Ok(Some(due))
    }

    fn group(&self, source: SourceId) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.ports.len()).filter(move |i| self.inputs[*i].alignment == Alignment::Source(source))
    }

    fn mismatch(&self, first: usize, other: usize) -> Error {
        let head = |port: usize| {
            let text = |(message, _): &(Message, Instant)| {
                let header = &message.header;
                let subject = match Phase::from_message(message) {
                    Phase::Frame => format!("frame {}", header.frame),
                    Phase::Closing => "the closing message".into(),
                    Phase::End { frames } => format!("the end after {frames} frames"),
                };
                format!("{subject} of stream `{}`", header.stream)
            };
            self.ports[port].queue.front().map_or_else(String::new, text)
        };
        Error::other(format!(
            "{}: {} came where input `{}` has {}; each output must send one message per frame",
            self.place(other),
            head(other),
            self.inputs[first].name,
            head(first)
        ))
    }

    /// Moves the pending messages of side and feedback inputs to [`Self::side`] for the next call.
    #[inline]
    pub fn take_side(&mut self) {
        for (port, side) in self.ports.iter_mut().zip(&mut self.side) {
            side.clear();
            std::mem::swap(side, &mut port.side);
        }
    }

    /// Closes an input: no further message comes on it.
    ///
    /// # Errors
    /// When an aligned input closes before an end, unless `is_excused`: its producer has failed.
    pub fn close(&mut self, port: usize, is_excused: bool) -> Result<()> {
        let place = self.place(port);
        let state = &mut self.ports[port];
        state.is_closed = true;
        let has_ended = state.streams.iter().any(|(_, has_ended)| *has_ended);
        if self.inputs[port].alignment.is_aligned() && !is_excused && !has_ended {
            let text = format!("{place}: closed after {} messages, before its end: its producer failed", state.next_n);
            return Err(Error::other(text).as_consequence());
        }
        Ok(())
    }

    /// Returns true if all inputs that the operator waits for are closed.
    pub fn all_closed(&self) -> bool {
        let is_awaited = |input: &WiredInput| match input.alignment {
            Alignment::Source(_) => true,
            Alignment::Side { .. } => self.is_side_only(),
            Alignment::Feedback => false,
        };
        self.inputs.iter().zip(&self.ports).filter(|(input, _)| is_awaited(input)).all(|(_, port)| port.is_closed)
    }

    /// Takes the streams of an operator without aligned inputs that have ended on all side inputs that carry them. Each
    /// stream is returned once.
    pub fn take_ended_side_streams(&mut self) -> Vec<StreamName> {
        if !self.is_side_only() {
            return vec![];
        }
        let is_side = |i: &usize| matches!(self.inputs[*i].alignment, Alignment::Side { .. });
        let ports: Vec<usize> = (0..self.ports.len()).filter(is_side).collect();
        let mut ended: Vec<StreamName> = vec![];
        for &i in &ports {
            for (stream, _) in &self.ports[i].streams {
                // All inputs of one source carry its streams, even if no message has arrived on one of them yet.
                let carries_stream = |other: &usize| {
                    let is_same_source =
                        self.inputs[i].source.is_some() && self.inputs[*other].source == self.inputs[i].source;
                    is_same_source || self.ports[*other].has_seen(stream)
                };
                let has_ended = |other: &usize| self.ports[*other].has_ended(stream);
                let ended_everywhere = ports.iter().filter(|other| carries_stream(other)).all(has_ended);
                if ended_everywhere && !ended.contains(stream) {
                    ended.push(stream.clone());
                }
            }
        }
        for port in &mut self.ports {
            port.streams.retain(|(name, _)| !ended.contains(name));
        }
        ended
    }
}
