//! Ends of a flow under test: a source that sends the rows of the test, and a reader that keeps the messages that it receives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use sideline_api::{
    Body, CapturedFrame, Color, Context, DynOperator, DynSource, Encoding, Error, Fault, Frame, Inputs, Instance,
    Message, OperatorFactory, Outputs, Payload, PortType, Resources, Result, SourceContext, Spec, StreamName, Values,
    config::{Key, Problem},
};

/// Operator name and node id of the source.
pub const SOURCE: &str = "test-feed";
/// Operator name and node id of the reader.
pub const READER: &str = "test-reader";

/// Frames that the source sends.
pub struct FedFrames {
    /// Name of the stream.
    pub stream: String,
    /// Media time of each frame, ns.
    pub times: Vec<i64>,
    /// Messages by the name of the output and the frame. An output without a message for a frame sends an empty table.
    pub bodies: BTreeMap<String, BTreeMap<u64, Body>>,
    /// Width and height of the frames, px.
    pub size: [u32; 2],
}

/// Messages that the reader received, by the name of the output, in the order of their arrival.
pub type Received = Arc<Mutex<BTreeMap<String, Vec<ReceivedMessage>>>>;

/// One message.
#[derive(Clone)]
pub struct ReceivedMessage {
    /// Number of the frame.
    pub frame: u64,
    /// True for a closing message, after the last frame.
    pub is_closing: bool,
    /// Content.
    pub body: Body,
}

/// Locks the messages.
pub fn lock(received: &Received) -> MutexGuard<'_, BTreeMap<String, Vec<ReceivedMessage>>> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Factory of the source or of the reader.
pub struct EndFactory {
    spec: Spec,
    end: End,
}

enum End {
    Source(Arc<FedFrames>),
    Reader(Received),
}

impl EndFactory {
    /// Returns the factory of a source with these ports.
    pub fn source(spec: Spec, frames: FedFrames) -> Self {
        Self { spec, end: End::Source(Arc::new(frames)) }
    }

    /// Returns the factory of a reader.
    pub fn reader(received: Received) -> Self {
        Self { spec: Spec::operator(READER).any_inputs(PortType::Any), end: End::Reader(received) }
    }
}

impl OperatorFactory for EndFactory {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(self.spec.clone())
    }
    fn about(&self) -> &str {
        "End of a flow under test."
    }
    fn keys(&self) -> &[Key] {
        &[]
    }
    fn check(&self, _: &Values) -> Vec<Problem> {
        vec![]
    }
    fn resolve(&self, _: &Values) -> Vec<(String, Value)> {
        vec![]
    }
    fn models(&self, _: &Values) -> Vec<String> {
        vec![]
    }
    fn finite(&self, _: &Values) -> bool {
        true
    }
    fn make(&self, _: &Values, _: &Resources) -> Result<Instance> {
        Ok(match &self.end {
            End::Source(frames) => Instance::Sources(vec![Box::new(Feed::new(self.spec.clone(), frames.clone())?)]),
            End::Reader(received) => Instance::Operator(Box::new(Reader(received.clone()))),
        })
    }
}

/// Source that sends the rows of a test.
struct Feed {
    spec: Spec,
    frames: Arc<FedFrames>,
    stream: StreamName,
    picture: Arc<Frame>,
    next: usize,
}

impl Feed {
    fn new(spec: Spec, frames: Arc<FedFrames>) -> Result<Self> {
        let [width, height] = frames.size;
        let encoding = Encoding::I420;
        let bytes: usize = encoding.planes(width as usize, height as usize).iter().map(|(row, rows)| row * rows).sum();
        let color = Color::default_for_height(height);
        let picture = Arc::new(Frame::from_packed(width, height, encoding, color, vec![128_u8; bytes])?);
        Ok(Self { spec, stream: frames.stream.as_str().into(), frames, picture, next: 0 })
    }
}

impl DynSource for Feed {
    fn stream(&self) -> Option<StreamName> {
        Some(self.stream.clone())
    }

    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        let Some(pts) = self.frames.times.get(self.next).copied() else { return Ok(None) };
        let frame = self.next as u64;
        self.next += 1;
        let outputs = self.spec.outputs.iter().map(|port| match port.ty {
            PortType::Table(table) => {
                let body = self.frames.bodies.get(port.name).and_then(|bodies| bodies.get(&frame)).cloned();
                body.unwrap_or_else(|| Body::Data(Payload::Table(Arc::new(table.empty()))))
            }
            PortType::Frame | PortType::Any => Body::Data(Payload::Frame(self.picture.clone())),
        });
        let outputs = outputs.collect();
        Ok(Some(CapturedFrame { stream: self.stream.clone(), session: 0, pts, captured_at: cx.clock.now(), outputs }))
    }

    fn closing_rows(&mut self) -> Vec<sideline_api::ClosingRows> {
        vec![]
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![]
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Operator that keeps the messages of its inputs.
struct Reader(Received);

impl Reader {
    fn keep(&self, cx: &Context, input: &Inputs) {
        let mut received = lock(&self.0);
        for (port, message) in input.all() {
            let Some(Message { body, .. }) = message else { continue };
            if matches!(body, Body::End { .. }) {
                continue;
            }
            let (frame, is_closing) = (cx.header.frame, cx.header.is_closing);
            received.entry(port.name.clone()).or_default().push(ReceivedMessage {
                frame,
                is_closing,
                body: body.clone(),
            });
        }
    }
}

impl DynOperator for Reader {
    fn process(&mut self, cx: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        self.keep(cx, input);
        Ok(())
    }
    fn stream_ended(&mut self, cx: &Context, input: &Inputs, _: &mut Outputs) -> Result<(), Fault> {
        self.keep(cx, input);
        Ok(())
    }
    fn snapshot(&mut self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    fn roll_back(&mut self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
    fn save(&self, _: &str, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn load(&mut self, _: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn reconfigure(&mut self, _: &Values) -> Result<()> {
        Err(Error::config("the reader of a test has no keys"))
    }
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>) {
        (Ok(()), vec![])
    }
}
