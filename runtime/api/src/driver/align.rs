//! The inputs of one operator: numbered messages in, frames out whose messages are all there.

use std::{collections::VecDeque, time::Instant};

use crate::{Alignment, Body, Error, Header, Message, Result, SourceId, StreamName, WiredInput, is_same_stream};

/// What the messages at hand are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A frame.
    Frame,
    /// Rows after the last frame of a stream.
    Closing,
    /// The end of a stream.
    End {
        /// Frames of the stream in this run.
        frames: u64,
    },
}

impl Stage {
    fn of(message: &Message) -> Self {
        match message.body {
            Body::End { frames } => Stage::End { frames },
            _ if message.header.closing => Stage::Closing,
            _ => Stage::Frame,
        }
    }
}

/// Messages that belong together and are all there; they lie in [`Align::aligned`].
pub struct Due {
    /// The frame, or the place after the last one.
    pub header: Header,
    /// What they are about.
    pub stage: Stage,
    /// When the last of them was sent.
    pub ready: Instant,
}

/// One input.
#[derive(Default)]
struct Port {
    queue: VecDeque<(Message, Instant)>,
    side: Vec<Message>,
    next_n: u64,
    /// Streams that came, and whether each has ended here.
    streams: Vec<(StreamName, bool)>,
    closed: bool,
}

impl Port {
    #[inline]
    fn note(&mut self, message: &Message) {
        let stream = &message.header.stream;
        let end = matches!(message.body, Body::End { .. });
        match self.streams.iter_mut().find(|(name, _)| is_same_stream(name, stream)) {
            Some((_, ended)) => *ended |= end,
            None => self.streams.push((stream.clone(), end)),
        }
    }

    fn has_ended(&self, stream: &str) -> bool {
        self.closed || self.streams.iter().any(|(name, ended)| &**name == stream && *ended)
    }

    fn has_seen(&self, stream: &str) -> bool {
        self.streams.iter().any(|(name, _)| &**name == stream)
    }
}

/// See the [module](self).
pub struct Align {
    node: String,
    inputs: Vec<WiredInput>,
    ports: Vec<Port>,
    /// The messages of the frame at hand, one place for each input.
    pub aligned: Vec<Option<Message>>,
    /// Messages of side and feedback inputs since the call before.
    pub side: Vec<Vec<Message>>,
    /// Side messages dropped because newer ones came.
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

    /// The place of an input, for messages.
    pub fn place(&self, port: usize) -> String {
        let input = &self.inputs[port];
        format!("node `{}`, input `{}` from {}", self.node, input.name, input.from)
    }

    /// True for an operator that has no ordinary input: it runs whenever a message comes.
    pub fn side_only(&self) -> bool {
        !self.inputs.iter().any(|input| input.alignment.is_ordinary())
    }

    /// Takes in a message of an ordinary input.
    ///
    /// # Errors
    /// When one before it was lost.
    #[inline]
    pub fn push(&mut self, port: usize, message: Message, sent: Instant) -> Result<()> {
        self.count(port, &message)?;
        self.ports[port].queue.push_back((message, sent));
        Ok(())
    }

    /// Takes in a message of a side or feedback input.
    ///
    /// # Errors
    /// When one before it was lost on a feedback input.
    pub fn push_side(&mut self, port: usize, message: Message) -> Result<()> {
        self.count(port, &message)?;
        if matches!(message.body, Body::End { .. }) {
            return Ok(());
        }
        let side = &mut self.ports[port].side;
        if self.inputs[port].alignment.queue().is_some_and(|most| side.len() >= most) {
            side.remove(0);
            self.side_dropped += 1;
        }
        side.push(message);
        Ok(())
    }

    /// Checks the number of a message, and notes its stream.
    #[inline]
    fn count(&mut self, port: usize, message: &Message) -> Result<()> {
        let (due, came) = (self.ports[port].next_n, message.n);
        if came != due {
            match self.inputs[port].alignment {
                Alignment::Side { .. } | Alignment::Feedback if came > due => self.side_dropped += came - due,
                _ => {
                    return Err(Error::other(format!(
                        "{}: message {due} was lost (message {came} came); is the transport overlay in force, every queue at \
                         least the window + 4, and the sender's shared memory large enough for all its readers?",
                        self.place(port)
                    )));
                }
            }
        }
        let state = &mut self.ports[port];
        state.next_n = message.n + 1;
        state.note(message);
        Ok(())
    }

    /// Takes the next messages of the inputs that descend from `source`, if all of them are there.
    ///
    /// # Errors
    /// When an input brings another frame than the others.
    #[inline]
    pub fn next(&mut self, source: SourceId) -> Result<Option<Due>> {
        let mut due: Option<(usize, Due)> = None;
        for i in self.group(source) {
            let Some((message, sent)) = self.ports[i].queue.front() else { return Ok(None) };
            let (header, stage) = (&message.header, Stage::of(message));
            let Some((first, due)) = &mut due else {
                due = Some((i, Due { header: header.clone(), stage, ready: *sent }));
                continue;
            };
            due.ready = due.ready.max(*sent);
            let fits = match (due.stage, stage) {
                // Closing messages of some inputs, while others have none: the ends wait for them.
                (Stage::Closing, Stage::End { .. }) => true,
                (Stage::End { .. }, Stage::Closing) => {
                    due.stage = Stage::Closing;
                    true
                }
                (one, other) => one == other,
            };
            if !fits || !is_same_stream(&due.header.stream, &header.stream) || due.header.frame != header.frame {
                return Err(self.mismatch(*first, i));
            }
        }
        let Some((_, due)) = due else { return Ok(None) };
        for i in 0..self.ports.len() {
            let taken = self.inputs[i].alignment == Alignment::Source(source)
                && self.ports[i].queue.front().is_some_and(|(message, _)| Stage::of(message) == due.stage);
            self.aligned[i] = if taken { self.ports[i].queue.pop_front().map(|(message, _)| message) } else { None };
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
                let what = match Stage::of(message) {
                    Stage::Frame => format!("frame {}", header.frame),
                    Stage::Closing => "the closing message".into(),
                    Stage::End { frames } => format!("the end after {frames} frames"),
                };
                format!("{what} of stream `{}`", header.stream)
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

    /// Hands the messages of side and feedback inputs to the call that follows.
    #[inline]
    pub fn take_side(&mut self) {
        for (port, side) in self.ports.iter_mut().zip(&mut self.side) {
            side.clear();
            std::mem::swap(side, &mut port.side);
        }
    }

    /// Nothing more comes on an input.
    ///
    /// # Errors
    /// When an ordinary input closes before an end, unless `excused`: its producer failed.
    pub fn close(&mut self, port: usize, excused: bool) -> Result<()> {
        let place = self.place(port);
        let state = &mut self.ports[port];
        state.closed = true;
        let ended = state.streams.iter().any(|(_, ended)| *ended);
        if self.inputs[port].alignment.is_ordinary() && !excused && !ended {
            let text = format!("{place}: closed after {} messages, before its end: its producer failed", state.next_n);
            return Err(Error::other(text).as_consequence());
        }
        Ok(())
    }

    /// True when every input has closed that the operator waits for.
    pub fn all_closed(&self) -> bool {
        let counts = |input: &WiredInput| match input.alignment {
            Alignment::Source(_) => true,
            Alignment::Side { .. } => self.side_only(),
            Alignment::Feedback => false,
        };
        self.inputs.iter().zip(&self.ports).filter(|(input, _)| counts(input)).all(|(_, port)| port.closed)
    }

    /// Streams that came on the side inputs of an operator without ordinary ones and have ended on all that bring them, each
    /// told once.
    pub fn ended_side_streams(&mut self) -> Vec<StreamName> {
        if !self.side_only() {
            return vec![];
        }
        let side = |i: &usize| matches!(self.inputs[*i].alignment, Alignment::Side { .. });
        let ports: Vec<usize> = (0..self.ports.len()).filter(side).collect();
        let mut ended: Vec<StreamName> = vec![];
        for &i in &ports {
            for (stream, _) in &self.ports[i].streams {
                // Inputs of the same source bring the same streams, though one may not have come yet.
                let brings = |other: &usize| {
                    let known = self.inputs[i].source.is_some() && self.inputs[*other].source == self.inputs[i].source;
                    known || self.ports[*other].has_seen(stream)
                };
                let over = ports.iter().filter(|other| brings(other)).all(|other| self.ports[*other].has_ended(stream));
                if over && !ended.contains(stream) {
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
