//! Libraries for tests, the examples of this crate and C libraries; and the driver of one operator.
#![allow(dead_code, reason = "each test file uses only a part")]

pub mod relay;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use sideline_api::{
    Alignment, Body, Color, Driver, Encoding, Error, Frame, Header, Message, Mode, OnError, OperatorFactory, Payload,
    Resources, SourceId, Values, WiredInput,
    arrow::array::StructArray,
    clock::WallClock,
    driver::{CallReport, DriverOptions, Outcome, Outlet},
};
use sideline_plugin::{description_file, load};
use tempfile::TempDir;

/// Library of an operator in a folder of its own, with its description beside it.
pub struct Plugin {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Plugin {
    /// Copies an example of this crate, which cargo has built for the tests.
    pub fn example(name: &str) -> Self {
        let file = format!("lib{name}{}", std::env::consts::DLL_SUFFIX);
        let built = std::env::current_exe().unwrap();
        let built = built.parent().and_then(Path::parent).unwrap().join("examples").join(&file);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::copy(&built, &path).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        load::describe(&path).unwrap();
        Plugin { folder, path }
    }

    /// Compiles a library with gcc; `None` if there is none.
    pub fn compile(name: &str, source: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = (folder.path().join("plugin.c"), folder.path().join(format!("lib{name}.so")));
        std::fs::write(&file, source).unwrap();
        let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/include");
        let output = Command::new("gcc")
            .args(["-std=c11", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-I"])
            .arg(include)
            .arg("-o")
            .args([&path, &file])
            .output();
        let output = output.ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Plugin { folder, path })
    }

    pub fn factory(&self) -> Arc<dyn OperatorFactory> {
        load::factory(&self.path).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn description(&self) -> PathBuf {
        description_file(&self.path)
    }
}

/// Messages and outcomes of an operator.
#[derive(Default)]
pub struct Received {
    pub bodies: Vec<Body>,
    pub outcomes: Vec<Outcome>,
}

impl Outlet for Received {
    fn send(&mut self, _: usize, message: Message) {
        self.bodies.push(message.body);
    }
    fn report(&mut self, report: CallReport<'_>) {
        self.outcomes.push(report.outcome);
    }
}

/// Driver of an operator whose inputs are wired to one source.
pub struct Rig {
    pub driver: Driver,
    pub received: Received,
    frames: u64,
    /// Header of the stream.
    header: Header,
    /// Number of messages on each input.
    sent: Vec<u64>,
}

impl Rig {
    pub fn new(factory: Arc<dyn OperatorFactory>, values: Values, on_error: OnError) -> Result<Self, Error> {
        Self::wired(factory, values, on_error, |_| Alignment::Source(SourceId(0)))
    }

    /// Creates an operator whose inputs are matched to frames as `alignment` says for each name.
    pub fn wired(
        factory: Arc<dyn OperatorFactory>,
        values: Values,
        on_error: OnError,
        alignment: impl Fn(&str) -> Alignment,
    ) -> Result<Self, Error> {
        let spec = factory.spec(&values)?;
        let inputs = spec.inputs.iter().map(|port| WiredInput {
            name: port.name.into(),
            from: format!("test/{}", port.name),
            ty: port.ty,
            required: port.required,
            hold: port.hold,
            alignment: alignment(port.name),
            source: Some(SourceId(0)),
        });
        let resources = Resources {
            node: "tested".into(),
            mode: Mode::Complete,
            device: Default::default(),
            run_dir: std::env::temp_dir(),
            run: "test".into(),
            inputs: inputs.collect(),
            outputs: spec.outputs.iter().map(|port| port.name.into()).collect(),
            search: vec![],
            models: Arc::default(),
            clock: Arc::new(WallClock),
        };
        let options = DriverOptions { on_error, stride: 1 };
        let driver = Driver::new(factory, values, resources, options)?;
        let (header, sent) = (Header::new("a", 0, 0), vec![0; spec.inputs.len()]);
        Ok(Rig { driver, received: Received::default(), frames: 0, header, sent })
    }

    /// Sends a frame to the first input.
    pub fn push(&mut self, frame: &Arc<Frame>) -> Result<(), Error> {
        self.send(0, frame)?;
        self.frames += 1;
        Ok(())
    }

    /// Sends rows to the first input.
    pub fn push_rows(&mut self, rows: &Arc<StructArray>) -> Result<(), Error> {
        self.send_payload(0, Payload::Table(rows.clone()))?;
        self.frames += 1;
        Ok(())
    }

    /// Sends a frame to an input.
    pub fn send(&mut self, port: usize, frame: &Arc<Frame>) -> Result<(), Error> {
        self.send_payload(port, Payload::Frame(frame.clone()))
    }

    fn send_payload(&mut self, port: usize, payload: Payload) -> Result<(), Error> {
        let header = Header { frame: self.frames, pts: self.frames as i64 * 33_000_000, ..self.header.clone() };
        let message = Message { header, n: self.sent[port], body: Body::Data(payload) };
        self.sent[port] += 1;
        self.driver.accept(port, message, Instant::now(), &mut self.received)
    }
}

/// Returns a gray frame.
pub fn frame() -> Arc<Frame> {
    let bytes = vec![100u8; 64 * 48 * 3 / 2];
    Arc::new(Frame::from_packed(64, 48, Encoding::I420, Color::default_for_height(48), bytes).unwrap())
}
