//! One operator, fed frame by frame through the driver that a run uses.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Instant};

use serde_json::Value;
use sideline_api::{
    Alignment, Body, Device, Driver, Error, Header, Message, Mode, Payload, Registry, Resources, Result, SourceId,
    Table, Values, WiredInput,
    clock::WallClock,
    config::Origin,
    driver::{DriverOptions, OnError, Outlet, Ran},
    models::Models,
};

use crate::house;

/// The models that judge moves in dataflows/modules/moves.yml, by their names in models.yml.
pub const MOVE_MODELS: [&str; 3] = ["lstm", "transformer", "tcn"];

/// What operators are made with.
pub struct Workshop<'a> {
    registry: &'a Registry,
    models: Arc<Models>,
}

impl<'a> Workshop<'a> {
    /// With the house that is found from the working directory.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, models: Arc::new(house::models(Path::new("."))) }
    }

    /// Whether there is such an operator.
    pub fn knows(&self, operator: &str) -> bool {
        self.registry.get(operator).is_ok()
    }

    /// What an operator of this name is given.
    pub fn resources(&self, node: &str, inputs: Vec<WiredInput>, outputs: Vec<String>) -> Resources {
        let here = Path::new(".");
        Resources {
            node: node.into(),
            mode: Mode::Complete,
            device: Device::Cpu,
            run_dir: std::env::temp_dir(),
            run: "eval".into(),
            inputs,
            outputs,
            search: [Some(here.to_owned()), house::home(here)].into_iter().flatten().collect(),
            models: Arc::clone(&self.models),
            clock: Arc::new(WallClock),
        }
    }
}

/// See the [module](self).
pub struct Stage {
    node: String,
    operator: Driver,
    inputs: Vec<WiredInput>,
    /// Messages so far on each input.
    sent: Vec<u64>,
    outputs: Vec<&'static str>,
    received: Received,
}

struct Received(Vec<VecDeque<Body>>);

impl Outlet for Received {
    fn send(&mut self, output: usize, message: Message) {
        self.0[output].push_back(message.body);
    }
    fn ran(&mut self, _: Ran<'_>) {}
}

impl Stage {
    /// An operator of the registry with these inputs wired, and these keys set.
    ///
    /// # Errors
    /// There is no such operator or input, or it cannot be made.
    pub fn new(
        workshop: &Workshop,
        operator: &str,
        node: &str,
        inputs: &[&str],
        keys: &[(&str, Value)],
    ) -> Result<Self> {
        let entry = workshop.registry.get(operator)?;
        let mut wired = vec![];
        for name in inputs {
            let port = entry.spec.find_input(name);
            let port = port.ok_or_else(|| Error::config(format!("`{operator}` has no input `{name}`")))?;
            wired.push(WiredInput {
                name: (*name).into(),
                from: format!("stage/{name}"),
                ty: port.ty,
                required: port.required,
                hold: port.hold,
                alignment: Alignment::Source(SourceId(0)),
                source: Some(SourceId(0)),
            });
        }
        let mut values = Values::new();
        for (key, value) in keys {
            values.set(*key, value.clone(), Origin::CommandLine);
        }
        let outputs: Vec<&'static str> = entry.spec.outputs.iter().map(|port| port.name).collect();
        let read = outputs.iter().map(|name| (*name).to_owned()).collect();
        let resources = workshop.resources(node, wired.clone(), read);
        let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
        let operator = Driver::new(entry.factory(), values, resources, options)?;
        Ok(Self {
            node: node.into(),
            operator,
            sent: vec![0; wired.len()],
            inputs: wired,
            received: Received(vec![VecDeque::new(); outputs.len()]),
            outputs,
        })
    }

    /// Sends rows on an input that is wired; on one that is not, nothing.
    ///
    /// # Errors
    /// What would stop a run.
    pub fn rows<T: Table>(&mut self, input: &str, header: &Header, rows: &[T]) -> Result<()> {
        self.send(input, header, Body::Data(Payload::Table(Arc::new(T::encode(rows)))))
    }

    /// Sends any body on an input that is wired; on one that is not, nothing.
    ///
    /// # Errors
    /// What would stop a run.
    pub fn send(&mut self, input: &str, header: &Header, body: Body) -> Result<()> {
        let Some(port) = self.inputs.iter().position(|wired| wired.name == input) else { return Ok(()) };
        let n = self.sent[port];
        self.sent[port] += 1;
        self.operator.accept(port, Message { header: header.clone(), n, body }, Instant::now(), &mut self.received)
    }

    /// Ends the stream on every input; the header's frame is the number of frames.
    ///
    /// # Errors
    /// What would stop a run.
    pub fn end(&mut self, header: &Header) -> Result<()> {
        let header = &Header { closing: true, ..header.clone() };
        for input in self.inputs.iter().map(|input| input.name.clone()).collect::<Vec<_>>() {
            self.send(&input, header, Body::End { frames: header.frame })?;
        }
        Ok(())
    }

    /// The next message of an output.
    pub fn next(&mut self, output: &str) -> Option<Body> {
        let at = self.outputs.iter().position(|name| *name == output)?;
        self.received.0[at].pop_front()
    }

    /// The next message of an output, which must be there.
    ///
    /// # Errors
    /// There is none.
    pub fn said(&mut self, output: &str) -> Result<Body> {
        self.next(output).ok_or_else(|| Error::other(format!("`{}` sent nothing on `{output}`", self.node)))
    }

    /// The rows of the next message of an output; none where it was skipped.
    ///
    /// # Errors
    /// There is no message, or it is not of this table.
    pub fn next_rows<T: Table>(&mut self, output: &str) -> Result<Option<Vec<T>>> {
        match self.said(output)? {
            Body::Data(Payload::Table(table)) => T::decode(&table).map(Some),
            Body::Skipped(_) => Ok(None),
            other => Err(Error::other(format!("`{}` sent {} on `{output}`, not rows", self.node, other.kind()))),
        }
    }

    /// Changes a live key.
    ///
    /// # Errors
    /// It is refused.
    pub fn set(&mut self, key: &str, value: Value) -> Result<()> {
        self.operator.set(key, value).map(|_| ())
    }
}
