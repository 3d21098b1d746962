//! A loaded model: what it takes and gives is checked once, then it is run on borrowed memory.

use std::path::Path;

use ort::{
    session::{
        SessionInputValue, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};
use sideline_api::{Device, Error, Failure, OrFail, Resources, Result, models::own_file};

use crate::{device, environment};

/// A model, ready to run. One session per operator; a run takes `&mut self` and one core.
pub struct Session {
    session: ort::session::Session,
    name: String,
    /// The end of a message that says what is wrong with the model.
    mend: String,
    device: &'static str,
}

/// What a model says of an input or output of its own; printed as `name` type [shape].
#[derive(Clone, Copy)]
pub struct Tensor<'s>(&'s Outlet);

impl<'s> Tensor<'s> {
    /// Its name.
    pub fn name(&self) -> &'s str {
        self.0.name()
    }

    /// Its shape, -1 for what the model leaves open; `None` where it is not f32.
    pub fn shape(&self) -> Option<&'s [i64]> {
        match self.0.dtype() {
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } => Some(shape),
            _ => None,
        }
    }
}

impl std::fmt::Display for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.dtype() {
            ValueType::Tensor { ty, shape, .. } => write!(f, "`{}` {ty} {:?}", self.name(), &shape[..]),
            other => write!(f, "`{}` {other}", self.name()),
        }
    }
}

impl Session {
    /// Loads a model on the device of the run: of models.yml by its name, its checksum verified, or one's own by its path.
    ///
    /// # Errors
    /// When the model is unknown, missing, changed or broken, ONNX Runtime is not found (exit code 2), or the device
    /// cannot be used (exit code 5).
    pub fn load(resources: &Resources, model: &str) -> Result<Self> {
        let (path, home) = (resources.model(model)?, resources.models.home());
        if own_file(model).is_some() {
            return Self::from_file(&path, resources.device, home);
        }
        // Errors name what `sideline models fetch` takes; the file may be called otherwise.
        let mend = format!("; {}", resources.models.present(model)?.1.mend());
        Self::named(model, &path, mend, resources.device, home)
    }

    /// Loads a model file. `home` is the folder that holds `models/` and perhaps `.venv/`.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_file(path: &Path, device: Device, home: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::named(&name, path, format!("; the file is {}", path.display()), device, home)
    }

    fn named(name: &str, path: &Path, mend: String, device: Device, home: &Path) -> Result<Self> {
        if path.is_dir() {
            return Err(Error::model(format!("{} is a folder, not a model file", path.display())));
        }
        if !path.is_file() {
            return Err(Error::model(format!("model file {} is missing", path.display())));
        }
        let mut candidates = device::candidates(device).iter().peekable();
        loop {
            let Some(candidate) = candidates.next() else {
                return Err(Error::gpu(format!("model {name}: there is no device to try")));
            };
            match Self::open(path, name, *candidate, home) {
                Ok(session) => return Ok(Self { mend, ..session }),
                // A GPU may fail when its provider is made, or only when the model is put on it.
                Err(error) if error.failure == Failure::Gpu && candidates.peek().is_some() => {
                    tracing::info!(model = %name, reason = %error, "the GPU cannot be used, the CPU is");
                }
                Err(error) => return Err(error),
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
        Ok(Self { session, name: name.to_owned(), mend: String::new(), device })
    }

    /// Where it runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.device
    }

    /// Its name in models.yml, else the file's without its ending: as errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.session.inputs().iter().map(Tensor)
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.session.outputs().iter().map(Tensor)
    }

    /// What the file says of itself under a key of its `metadata_props`; `None` where it says nothing.
    ///
    /// # Errors
    /// When ONNX Runtime cannot read the file's metadata.
    pub fn metadata(&self, key: &str) -> Result<Option<String>> {
        let metadata = self.session.metadata().or_fail(Failure::Model, || format!("model `{}`", self.name))?;
        Ok(metadata.custom(key))
    }

    /// Checks that the model has exactly these inputs, in this order, f32, of these shapes. A dimension that the model
    /// leaves open (-1) fits any; where -1 is expected it must be open.
    ///
    /// # Errors
    /// Names what the model has instead.
    pub fn expect_inputs(&self, expected: &[(&str, &[i64])]) -> Result<()> {
        let count = self.session.inputs().len();
        if count != expected.len() {
            return Err(self.unlike(format!("{} inputs expected, it has {}", expected.len(), list(self.inputs()))));
        }
        for (input, (name, shape)) in self.inputs().zip(expected) {
            self.expect("input", input, name, shape)?;
        }
        Ok(())
    }

    /// Checks that the model has an output of this name, f32, of this shape; it may have others.
    ///
    /// # Errors
    /// Names what the model has instead.
    pub fn expect_output(&self, name: &str, shape: &[i64]) -> Result<()> {
        match self.outputs().find(|output| output.name() == name) {
            Some(output) => self.expect("output", output, name, shape),
            None => Err(self.unlike(format!("an output `{name}` is expected, it has {}", list(self.outputs())))),
        }
    }

    fn expect(&self, what: &str, tensor: Tensor, name: &str, shape: &[i64]) -> Result<()> {
        let fits = tensor.shape().is_some_and(|has| {
            has.len() == shape.len() && has.iter().zip(shape).all(|(has, want)| *has == -1 || has == want)
        });
        if tensor.name() == name && fits {
            return Ok(());
        }
        Err(self.unlike(format!("{what} `{name}` f32 {shape:?} expected, it has {tensor}")))
    }

    /// The error of a model that loads and is another than its user needs; `message` says what was expected and what it has.
    pub fn unlike(&self, message: impl std::fmt::Display) -> Error {
        Error::model(format!("model `{}` is not what it should be: {message}{}", self.name, self.mend))
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
        let (shape, values) = value.try_extract_tensor::<f32>().or_fail(Failure::Model, || {
            format!("model `{}`, output `{output}`: it is no f32 (export it in full precision)", self.name)
        })?;
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

/// Tensors as a message lists them.
fn list<'s>(tensors: impl Iterator<Item = Tensor<'s>>) -> String {
    tensors.map(|tensor| tensor.to_string()).collect::<Vec<_>>().join(", ")
}
