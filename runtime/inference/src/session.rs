//! Sessions of models: inputs and outputs are checked once, then runs borrow their input memory.

use std::path::Path;

use ort::{
    session::{
        SessionInputValue, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};
use sideline_api::{Device, Error, Failure, OrFail, Resources, Result, models::user_model_path};

use crate::{device, environment};

/// A loaded model. Each operator has its own session; a run takes `&mut self` and uses one core.
pub struct Session {
    session: ort::session::Session,
    name: String,
    /// Suffix of error messages about the model, with the remedy.
    remedy: String,
    device: &'static str,
}

/// Declared name, type and shape of an input or output; displayed as `name` type \[shape\].
#[derive(Clone, Copy)]
pub struct TensorInfo<'s>(&'s Outlet);

impl<'s> TensorInfo<'s> {
    /// Returns the name.
    pub fn name(&self) -> &'s str {
        self.0.name()
    }

    /// Returns the shape, with -1 for dynamic dimensions; `None` if the tensor is not f32.
    pub fn shape(&self) -> Option<&'s [i64]> {
        match self.0.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => Some(shape),
            _ => None,
        }
    }
}

impl std::fmt::Display for TensorInfo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.dtype() {
            ValueType::Tensor { ty, shape, .. } => write!(f, "`{}` {ty} {:?}", self.name(), &shape[..]),
            other => write!(f, "`{}` {other}", self.name()),
        }
    }
}

impl Session {
    /// Loads a model on the device of the run: one of models.yml by its name, with its checksum verified, or a file by its path.
    ///
    /// # Errors
    /// `Model` (exit code 2) if the model is unknown, missing, changed or broken, or ONNX Runtime is not found; `Gpu` (exit
    /// code 5) if the device cannot be used.
    pub fn load(resources: &Resources, model: &str) -> Result<Self> {
        let (path, home) = (resources.model(model)?, resources.models.home());
        if user_model_path(model).is_some() {
            return Self::from_file(&path, resources.device, home);
        }
        // Errors state the name that `sideline models fetch` takes, which may differ from the file name.
        let remedy = format!("; {}", resources.models.find_installed(model)?.1.repair_hint());
        Self::load_file(model, &path, remedy, resources.device, home)
    }

    /// Loads a model file. `home` is the folder that contains `models/`, and optionally `.venv/`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_file(path: &Path, device: Device, home: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::load_file(&name, path, format!("; the file is {}", path.display()), device, home)
    }

    fn load_file(name: &str, path: &Path, remedy: String, device: Device, home: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::model(format!("{} is a folder, not a model file", path.display())));
        }
        if !path.is_file() {
            return Err(Error::model(format!("model file {} is missing", path.display())));
        }
        if path.metadata().is_ok_and(|found| found.len() == 0) {
            return Err(Error::model(format!(
                "model file {} is empty (0 bytes); export or copy it again",
                path.display()
            )));
        }
        let mut candidates = device::candidates(device).iter().peekable();
        loop {
            let Some(candidate) = candidates.next() else {
                return Err(Error::gpu(format!("model {name}: there is no device to run it on")));
            };
            match Self::open(path, name, *candidate, home) {
                Ok(session) => return Ok(Self { remedy, ..session }),
                // A GPU may fail when its provider is created, or only when the model is loaded on it.
                Err(error) if error.failure == Failure::Gpu && candidates.peek().is_some() => {
                    tracing::info!(model = %name, reason = %error, "the GPU cannot be used; the model runs on the CPU");
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn open(path: &Path, name: &str, device: Device, home: &Path) -> Result<Self> {
        let environment = environment::start(home)?;
        let builder = configure(ort::session::Session::builder(environment))
            .or_fail(Failure::Model, || format!("model {name}"))?;
        let (mut builder, device) = device::add_provider(device, path, builder)?;
        let session = builder.commit_from_file(path).map_err(|cause| {
            let (failure, remedy) =
                if device == "cpu" { (Failure::Model, "") } else { (Failure::Gpu, "; or choose `--device cpu`") };
            Error::new(failure, format!("model file {} cannot be loaded on {device}: {cause}{remedy}", path.display()))
        })?;
        tracing::info!(model = %name, device, "model loaded");
        Ok(Self { session, name: name.to_owned(), remedy: String::new(), device })
    }

    /// Returns the device that it runs on: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// Returns the name in models.yml, or the file name without its extension, as used in error messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.session.inputs().iter().map(TensorInfo)
    }

    /// Returns the outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = TensorInfo<'_>> {
        self.session.outputs().iter().map(TensorInfo)
    }

    /// Returns the value of a key in the model's `metadata_props`; `None` if it has none.
    ///
    /// # Errors
    /// If ONNX Runtime cannot read the metadata.
    pub fn metadata(&self, key: &str) -> Result<Option<String>> {
        let metadata = self.session.metadata().or_fail(Failure::Model, || format!("model `{}`", self.name))?;
        Ok(metadata.custom(key))
    }

    /// Checks that the model has exactly these inputs, in this order, f32, with these shapes. A dynamic dimension (-1) of the
    /// model matches any size; where -1 is expected, the dimension must be dynamic.
    ///
    /// # Errors
    /// If they differ; the message lists the model's inputs.
    pub fn expect_inputs(&self, expected: &[(&str, &[i64])]) -> Result<()> {
        let count = self.session.inputs().len();
        if count != expected.len() {
            return Err(self.mismatch(format!("{} inputs expected, it has {}", expected.len(), list(self.inputs()))));
        }
        for (input, (name, shape)) in self.inputs().zip(expected) {
            self.expect("input", input, name, shape)?;
        }
        Ok(())
    }

    /// Checks that the model has an output with this name and shape, f32; it may have others.
    ///
    /// # Errors
    /// If it differs; the message lists the model's outputs.
    pub fn expect_output(&self, name: &str, shape: &[i64]) -> Result<()> {
        match self.outputs().find(|output| output.name() == name) {
            Some(output) => self.expect("output", output, name, shape),
            None => Err(self.mismatch(format!("an output `{name}` is expected, it has {}", list(self.outputs())))),
        }
    }

    fn expect(&self, what: &str, tensor: TensorInfo, name: &str, shape: &[i64]) -> Result<()> {
        let fits = tensor.shape().is_some_and(|has| {
            has.len() == shape.len() && has.iter().zip(shape).all(|(has, want)| *has == -1 || has == want)
        });
        if tensor.name() == name && fits {
            return Ok(());
        }
        Err(self.mismatch(format!("{what} `{name}` f32 {shape:?} expected, it has {tensor}")))
    }

    /// Returns the error for a model that loads but does not fit its use. `message` states what is expected and what the model
    /// has.
    pub fn mismatch(&self, message: impl std::fmt::Display) -> Error {
        Error::model(format!("model `{}` cannot be used: {message}{}", self.name, self.remedy))
    }

    /// Runs the model. `inputs` are (shape, values) in the model's order; their memory is borrowed, not copied.
    ///
    /// # Errors
    /// If a shape does not fit its values or the model, or the run fails.
    pub fn run(&mut self, inputs: &[(&[i64], &[f32])]) -> Result<Outputs<'_>> {
        let name = &self.name;
        let input_error = |cause: ort::Error| Error::model(format!("model `{name}`: {cause}"));
        // Once the shapes fit, a failure on a GPU is one of the GPU: out of memory, or lost.
        let failure = if self.device == "cpu" { Failure::Model } else { Failure::Gpu };
        let run_error = |cause: ort::Error| Error::new(failure, format!("model `{name}`: {cause}"));
        let count = self.session.inputs().len();
        if inputs.len() != count {
            return Err(Error::model(format!("model `{name}`: {} inputs given, it has {count}", inputs.len())));
        }
        // ort checks the number of values against the shape before it borrows them.
        let values: Vec<SessionInputValue> = inputs
            .iter()
            .map(|(shape, values)| Ok(TensorRef::from_array_view((*shape, *values))?.into()))
            .collect::<ort::Result<_>>()
            .map_err(input_error)?;
        Ok(Outputs { values: self.session.run(&values[..]).map_err(run_error)?, name })
    }
}

/// Outputs of a run. The values are in memory of ONNX Runtime.
pub struct Outputs<'s> {
    values: SessionOutputs<'s>,
    name: &'s str,
}

impl Outputs<'_> {
    /// Returns the values of an output, in row-major order.
    ///
    /// # Errors
    /// If there is no such output, or it is not f32.
    pub fn get(&self, output: &str) -> Result<&[f32]> {
        self.tensor(output).map(|(_, values)| values)
    }

    /// Returns the shape and values of an output.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn tensor(&self, output: &str) -> Result<(&[i64], &[f32])> {
        let value = self
            .values
            .get(output)
            .ok_or_else(|| Error::model(format!("model `{}` has no output `{output}`", self.name)))?;
        let (shape, values) = value.try_extract_tensor::<f32>().or_fail(Failure::Model, || {
            format!("model `{}`, output `{output}`: it is not f32 (export the model in full precision)", self.name)
        })?;
        Ok((shape, values))
    }
}

/// Sets one thread without spinning, since other operators need the cores and two sessions at once run best so, and all
/// optimizations.
fn configure(builder: ort::Result<SessionBuilder>) -> Result<SessionBuilder, String> {
    // The error of a setter contains the builder, which its type depends on; only the text is kept.
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

/// Lists tensors for a message.
fn list<'s>(tensors: impl Iterator<Item = TensorInfo<'s>>) -> String {
    tensors.map(|tensor| tensor.to_string()).collect::<Vec<_>>().join(", ")
}
