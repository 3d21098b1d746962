//! Runs a single operator, frame by frame, through the same driver as a run does; for evaluations and benchmarks.

use std::{path::Path, sync::Arc};

use serde_json::Value;
use sideline::program::{find_home, load_models};
use sideline_api::{
    Alignment, Body, Device, Error, Header, Payload, Registry, Resources, Result, SourceId, Table, Values, WiredInput,
    config::Origin,
    driver::{DriverOptions, OnError},
    models::Models,
    testing::Runner,
};

/// The models that classify moves in dataflows/modules/moves.yml, by their names in models.yml.
#[cfg(feature = "onnx")]
pub const MOVE_MODELS: [&str; 3] = ["lstm", "transformer", "tcn"];

/// Creates operators by name, with the models of Sideline home.
pub struct OperatorFactory<'a> {
    registry: &'a Registry,
    models: Arc<Models>,
}

impl<'a> OperatorFactory<'a> {
    /// Returns a factory that uses the Sideline home found from the working directory.
    pub fn new(registry: &'a Registry) -> Self {
        Self { registry, models: Arc::new(load_models(Path::new("."))) }
    }

    /// True if the registry has an operator of this name.
    #[cfg(feature = "onnx")]
    pub fn has_operator(&self, operator: &str) -> bool {
        self.registry.get(operator).is_ok()
    }

    /// Returns the resources of a node with these inputs and outputs: `complete` mode, on the CPU.
    pub fn resources(&self, node: &str, inputs: Vec<WiredInput>, outputs: Vec<String>) -> Resources {
        let here = Path::new(".");
        Resources {
            device: Device::Cpu,
            inputs,
            outputs,
            search: [Some(here.to_owned()), find_home(here)].into_iter().flatten().collect(),
            models: Arc::clone(&self.models),
            ..Resources::new(node)
        }
    }
}

/// An operator that was created by name; see the [module](self).
pub struct OperatorRunner {
    node: String,
    runner: Runner,
}

impl OperatorRunner {
    /// Creates an operator with these inputs wired, and these keys set.
    ///
    /// # Errors
    /// If there is no such operator or input, or the operator cannot be created.
    pub fn new(
        factory: &OperatorFactory,
        operator: &str,
        node: &str,
        inputs: &[&str],
        keys: &[(&str, Value)],
    ) -> Result<Self> {
        let entry = factory.registry.get(operator)?;
        let mut wired = vec![];
        for name in inputs {
            let port = entry.spec.find_input(name);
            let port = port.ok_or_else(|| Error::config(format!("`{operator}` has no input `{name}`")))?;
            wired.push(WiredInput::new(*name, &port, format!("runner/{name}"), Alignment::Source(SourceId(0))));
        }
        let mut values = Values::new();
        for (key, value) in keys {
            values.set(*key, value.clone(), Origin::CommandLine);
        }
        let read = entry.spec.outputs.iter().map(|port| port.name.to_owned()).collect();
        let resources = factory.resources(node, wired, read);
        let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
        Ok(Self { node: node.into(), runner: Runner::new(entry.factory(), values, resources, options)? })
    }

    /// Sends rows to an input; if it is not wired, they are discarded.
    ///
    /// # Errors
    /// An error of the operator that would stop a run.
    pub fn send_rows<T: Table>(&mut self, input: &str, header: &Header, rows: &[T]) -> Result<()> {
        self.send(input, header, Body::Data(Payload::Table(Arc::new(T::encode(rows)))))
    }

    /// Sends any body to an input; if it is not wired, it is discarded.
    ///
    /// # Errors
    /// An error of the operator that would stop a run.
    pub fn send(&mut self, input: &str, header: &Header, body: Body) -> Result<()> {
        if self.runner.is_wired(input) { self.runner.send(input, header.clone(), body) } else { Ok(()) }
    }

    /// Ends the stream on every input; the header's frame is the number of frames.
    ///
    /// # Errors
    /// An error of the operator that would stop a run.
    pub fn end(&mut self, header: &Header) -> Result<()> {
        let header = &Header { is_closing: true, ..header.clone() };
        for input in self.runner.inputs() {
            self.send(&input, header, Body::End { frames: header.frame })?;
        }
        Ok(())
    }

    /// Takes the next message of an output; `None` if there is none.
    pub fn next(&mut self, output: &str) -> Option<Body> {
        self.runner.next_message(output).map(|message| message.body)
    }

    /// Takes the next message of an output.
    ///
    /// # Errors
    /// If there is none.
    pub fn expect_next(&mut self, output: &str) -> Result<Body> {
        self.next(output).ok_or_else(|| Error::other(format!("`{}` sent nothing on `{output}`", self.node)))
    }

    /// Takes the rows of the next message of an output; `None` if the frame was skipped.
    ///
    /// # Errors
    /// If there is no message, or it holds no rows of this table.
    pub fn next_rows<T: Table>(&mut self, output: &str) -> Result<Option<Vec<T>>> {
        match self.expect_next(output)? {
            Body::Data(Payload::Table(table)) => T::decode(&table).map(Some),
            Body::Skipped(_) => Ok(None),
            other => Err(Error::other(format!("`{}` sent {} on `{output}`, not rows", self.node, other.kind()))),
        }
    }

    /// Changes a live setting.
    ///
    /// # Errors
    /// If the setting is refused.
    #[cfg(feature = "onnx")]
    pub fn set(&mut self, key: &str, value: Value) -> Result<()> {
        self.runner.set(key, value)
    }
}
