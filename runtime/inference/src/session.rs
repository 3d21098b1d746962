//! A loaded model: what it takes and gives is checked once, then it is run on borrowed memory.

use std::path::Path;

use ort::{
    session::{
        SessionInputValue, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};
use sideline_api::{Device, Error, Failure, OrFail, Resources, Result};

use crate::{device, environment};

/// A model, ready to run. One session per operator; a run takes `&mut self` and one core.
pub struct Session {
    session: ort::session::Session,
    name: String,
    device: &'static str,
}

impl Session {
    /// Loads a model of models.yml, its checksum verified, on the device of the run.
    ///
    /// # Errors
    /// When the model is unknown, missing, changed or broken, ONNX Runtime is not found (exit code 2), or the device
    /// cannot be used (exit code 5).
    pub fn load(resources: &Resources, model: &str) -> Result<Self> {
        // Errors name what `sideline models fetch` takes; the file may be called otherwise.
        Self::named(model, &resources.model(model)?, resources.device, resources.models.home())
    }

    /// Loads a model file. `home` is the folder that holds `models/` and perhaps `.venv/`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_file(path: &Path, device: Device, home: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::named(&name, path, device, home)
    }

    fn named(name: &str, path: &Path, device: Device, home: &Path) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::model(format!("model file {} is missing", path.display())));
        }
        let mut candidates = device::candidates(device).iter().peekable();
        loop {
            let Some(candidate) = candidates.next() else {
                return Err(Error::gpu(format!("model {name}: there is no device to try")));
            };
            match Self::open(path, name, *candidate, home) {
                // A GPU may fail when its provider is made, or only when the model is put on it.
                Err(error) if error.failure == Failure::Gpu && candidates.peek().is_some() => {
                    tracing::info!(model = %name, reason = %error, "the GPU cannot be used, the CPU is");
                }
                result => return result,
            }
        }
    }

    fn open(path: &Path, name: &str, device: Device, home: &Path) -> Result<Self> {
        let environment = environment::start(home)?;
        let builder = configure(ort::session::Session::builder(environment))
            .or_fail(Failure::Model, || format!("model {name}"))?;
        let (mut builder, device) = device::provide(device, path, builder)?;
        let session = builder.commit_from_file(path).map_err(|cause| {
            let (failure, mend) =
                if device == "cpu" { (Failure::Model, "") } else { (Failure::Gpu, "; or choose `--device cpu`") };
            Error::new(failure, format!("model file {} cannot be loaded on {device}: {cause}{mend}", path.display()))
        })?;
        tracing::info!(model = %name, device, "model loaded");
        Ok(Self { session, name: name.to_owned(), device })
    }

    /// Where it runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// Its name in models.yml, else the file's without its ending: as errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.session.outputs().iter().map(Outlet::name)
    }

    /// Checks that the model has exactly these inputs, in this order, f32, of these shapes. A dimension that the model
    /// leaves open (-1) fits any; where -1 is expected it must be open.
    ///
    /// # Errors
    /// Names what the model has instead.
    pub fn expect_inputs(&self, expected: &[(&str, &[i64])]) -> Result<()> {
        let inputs = self.session.inputs();
        if inputs.len() != expected.len() {
            return Err(self.unlike(format!("{} inputs expected, it has {}", expected.len(), list(inputs))));
        }
        for (input, (name, shape)) in inputs.iter().zip(expected) {
            self.expect("input", input, name, shape)?;
        }
        Ok(())
    }

    /// Checks that the model has an output of this name, f32, of this shape; it may have others.
    ///
    /// # Errors
    /// Names what the model has instead.
    pub fn expect_output(&self, name: &str, shape: &[i64]) -> Result<()> {
        let outputs = self.session.outputs();
        match outputs.iter().find(|output| output.name() == name) {
            Some(output) => self.expect("output", output, name, shape),
            None => Err(self.unlike(format!("an output `{name}` is expected, it has {}", list(outputs)))),
        }
    }

    fn expect(&self, what: &str, outlet: &Outlet, name: &str, shape: &[i64]) -> Result<()> {
        let fits = match outlet.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape: has, .. } => {
                has.len() == shape.len() && has.iter().zip(shape).all(|(has, want)| *has == -1 || has == want)
            }
            _ => false,
        };
        if outlet.name() == name && fits {
            return Ok(());
        }
        Err(self.unlike(format!("{what} `{name}` f32 {shape:?} expected, it has {}", describe(outlet))))
    }

    fn unlike(&self, message: String) -> Error {
        Error::model(format!(
            "model `{}` is not what it should be: {message}; run `sideline models fetch {}`",
            self.name, self.name
        ))
    }

    /// Runs the model. `inputs` are (shape, values) in the model's order; the memory is read where it lies.
    ///
    /// # Errors
    /// When a shape does not fit its values or the model, or the run itself fails.
    pub fn run(&mut self, inputs: &[(&[i64], &[f32])]) -> Result<Outputs<'_>> {
        let name = &self.name;
        let wrong = |cause: ort::Error| Error::model(format!("model `{name}`: {cause}"));
        // What fails on a GPU after the shapes fitted is the GPU: out of memory, or gone.
        let failure = if self.device == "cpu" { Failure::Model } else { Failure::Gpu };
        let failed = |cause: ort::Error| Error::new(failure, format!("model `{name}`: {cause}"));
        let count = self.session.inputs().len();
        if inputs.len() != count {
            return Err(Error::model(format!("model `{name}`: {} inputs given, it has {count}", inputs.len())));
        }
        // ort compares shape and number of values before it borrows them.
        let values: Vec<SessionInputValue> = inputs
            .iter()
            .map(|(shape, values)| Ok(TensorRef::from_array_view((*shape, *values))?.into()))
            .collect::<ort::Result<_>>()
            .map_err(wrong)?;
        Ok(Outputs { values: self.session.run(&values[..]).map_err(failed)?, name })
    }
}

/// What a run gave. The values lie in ONNX Runtime's memory.
pub struct Outputs<'s> {
    values: SessionOutputs<'s>,
    name: &'s str,
}

impl Outputs<'_> {
    /// The values of an output, in row-major order.
    ///
    /// # Errors
    /// When there is no such output, or it is not f32.
    pub fn get(&self, output: &str) -> Result<&[f32]> {
        self.tensor(output).map(|(_, values)| values)
    }

    /// Shape and values of an output.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn tensor(&self, output: &str) -> Result<(&[i64], &[f32])> {
        let value = self
            .values
            .get(output)
            .ok_or_else(|| Error::model(format!("model `{}` has no output `{output}`", self.name)))?;
        let (shape, values) = value
            .try_extract_tensor::<f32>()
            .or_fail(Failure::Model, || format!("model `{}`, output `{output}`", self.name))?;
        Ok((shape, values))
    }
}

/// One thread, no spinning: other operators need the cores, and two sessions at once run best so. All optimisations.
fn configure(builder: ort::Result<SessionBuilder>) -> Result<SessionBuilder, String> {
    // The error of a setter carries the builder, and so its type; the text is what matters.
    let text = |cause: ort::Error<SessionBuilder>| cause.to_string();
    builder
        .map_err(|cause| cause.to_string())?
        .with_optimization_level(GraphOptimizationLevel::Level3)
        .map_err(text)?
        .with_intra_threads(1)
        .map_err(text)?
        .with_inter_threads(1)
        .map_err(text)?
        .with_intra_op_spinning(false)
        .map_err(text)?
        .with_inter_op_spinning(false)
        .map_err(text)
}

fn list(outlets: &[Outlet]) -> String {
    let all: Vec<String> = outlets.iter().map(describe).collect();
    all.join(", ")
}

fn describe(outlet: &Outlet) -> String {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => format!("`{}` {ty} {:?}", outlet.name(), &shape[..]),
        other => format!("`{}` {other}", outlet.name()),
    }
}
