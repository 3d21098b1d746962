//! Type-erased operators and sources: factories that describe, check and create them.

use std::{marker::PhantomData, path::Path};

use serde_json::Value;

use crate::{
    CapturedFrame, ClosingRows, Config, Context, Error, Inputs, Operator, Outputs, Resources, Result, Source,
    SourceContext, Spec, StreamName, Values,
    config::{Key, Problem},
    native::{Native, catch_panic},
};

/// Type-erased operator with its state for each stream. An implementation may stand for an operator in another language.
///
/// The runtime calls it from one thread at a time. None of its methods panics: a panic of the operator is returned as
/// [`Fault::Panic`].
pub trait DynOperator: Send {
    /// Processes one frame; calls `session_started` first where a session begins.
    ///
    /// # Errors
    /// The error of [`Operator::process`] or [`Operator::session_started`].
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault>;
    /// Handles the end of a stream and discards its state.
    ///
    /// # Errors
    /// The error of [`Operator::stream_ended`].
    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault>;
    /// Takes an in-memory copy of a stream's state.
    ///
    /// # Errors
    /// When the state cannot be copied; the previous copy is kept.
    fn snapshot(&mut self, stream: &str) -> Result<(), Fault>;
    /// Resets a stream's state to its last copy, or to a default state if there is none.
    ///
    /// # Errors
    /// When the copy cannot be copied; the state is then a default state.
    fn roll_back(&mut self, stream: &str) -> Result<(), Fault>;
    /// Appends a stream's serialized state, preceded by its version. A stream without state appends nothing.
    ///
    /// # Errors
    /// When the state cannot be serialized.
    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()>;
    /// Replaces a stream's state by one that [`DynOperator::save`] has written.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged; the state is then unchanged.
    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()>;
    /// Applies a configuration of which only `live` keys changed.
    ///
    /// # Errors
    /// The error of [`Operator::reconfigure`], or the problems of the configuration.
    fn reconfigure(&mut self, values: &Values) -> Result<()>;
    /// Closes the operator and returns its own counters by name. Called once, last.
    ///
    /// # Errors
    /// The error of [`Operator::close`]; the counters are returned in any case.
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>);
}

/// Failure of one call of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operator returned an error.
    Error(Error),
    /// The operator panicked with this message.
    Panic(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Error(error)
    }
}

impl Fault {
    /// Converts the fault into an error; the message of a panic is prefixed with `panic: `.
    pub fn into_error(self) -> Error {
        match self {
            Fault::Error(error) => error,
            Fault::Panic(message) => Error::other(format!("panic: {message}")),
        }
    }
}

/// Type-erased source.
pub trait DynSource: Send {
    /// See [`Source::stream`].
    fn stream(&self) -> Option<StreamName>;
    /// See [`Source::next`].
    ///
    /// # Errors
    /// The error of [`Source::next`].
    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>>;
    /// See [`Source::closing_rows`].
    fn closing_rows(&mut self) -> Vec<ClosingRows>;
    /// See [`Source::counts`].
    fn counts(&self) -> Vec<(&'static str, u64)>;
    /// See [`Source::close`].
    ///
    /// # Errors
    /// The error of [`Source::close`].
    fn close(&mut self) -> Result<()>;
}

impl<S: Source> DynSource for S {
    fn stream(&self) -> Option<StreamName> {
        Source::stream(self)
    }
    fn next(&mut self, cx: &SourceContext) -> Result<Option<CapturedFrame>> {
        Source::next(self, cx)
    }
    fn closing_rows(&mut self) -> Vec<ClosingRows> {
        Source::closing_rows(self)
    }
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Source::counts(self)
    }
    fn close(&mut self) -> Result<()> {
        Source::close(self)
    }
}

/// Instance created by [`OperatorFactory::make`].
pub enum Instance {
    /// An operator.
    Operator(Box<dyn DynOperator>),
    /// Sources of frames, one for each stream.
    Sources(Vec<Box<dyn DynSource>>),
}

/// Factory of an operator or source.
pub trait OperatorFactory: Send + Sync {
    /// Returns the name and the ports under this configuration.
    ///
    /// # Errors
    /// When the ports depend on values that are missing or wrong.
    fn spec(&self, values: &Values) -> Result<Spec>;
    /// Returns the purpose of the operator in one line.
    fn about(&self) -> &str;
    /// Returns the configuration keys.
    fn keys(&self) -> &[Key];
    /// Returns the problems of a configuration.
    fn check(&self, values: &Values) -> Vec<Problem>;
    /// Returns every key with its value, for a configuration without problems.
    fn resolve(&self, values: &Values) -> Vec<(String, Value)>;
    /// Returns the models that a configuration needs: names in models.yml, or paths of the user's own files.
    fn models(&self, values: &Values) -> Vec<String>;
    /// Returns true if a source with this configuration ends by itself; true for an operator.
    fn finite(&self, values: &Values) -> bool;
    /// Returns the library from which the operator is loaded; `None` for one that is linked into the program.
    fn library(&self) -> Option<&Path> {
        None
    }
    /// Creates an instance.
    ///
    /// # Errors
    /// The problems of the configuration, or the failure of `new`.
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance>;
}

/// Factory of a Rust type.
struct Factory<T, K> {
    spec: Spec,
    about: &'static str,
    keys: Vec<Key>,
    kind: PhantomData<fn() -> (T, K)>,
}

/// Marker of a factory of operators.
struct OperatorKind;
/// Marker of a factory of sources.
struct SourceKind;

/// Returns the factory of an operator.
pub fn operator<O: Operator>() -> impl OperatorFactory {
    Factory::<O, OperatorKind> { spec: O::spec(), about: O::Config::ABOUT, keys: O::Config::keys(), kind: PhantomData }
}

/// Returns the factory of a source.
pub fn source<S: Source>() -> impl OperatorFactory {
    Factory::<S, SourceKind> { spec: S::spec(), about: S::Config::ABOUT, keys: S::Config::keys(), kind: PhantomData }
}

fn problems<C: Config>(values: &Values) -> Vec<Problem> {
    C::from_values(values).err().unwrap_or_default()
}

fn resolve<C: Config>(values: &Values) -> Vec<(String, Value)> {
    let resolved = C::from_values(values).map(|config| config.to_values()).unwrap_or_default();
    resolved.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Reads a configuration.
///
/// # Errors
/// All problems of the configuration, one line for each.
pub fn read_config<C: Config>(values: &Values, node: &str) -> Result<C> {
    C::from_values(values).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("node `{node}`: {p}")).collect();
        Error::config(lines.join("\n"))
    })
}

impl<O: Operator> OperatorFactory for Factory<O, OperatorKind> {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(self.spec.clone())
    }
    fn about(&self) -> &str {
        self.about
    }
    fn keys(&self) -> &[Key] {
        &self.keys
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        problems::<O::Config>(values)
    }
    fn resolve(&self, values: &Values) -> Vec<(String, Value)> {
        resolve::<O::Config>(values)
    }
    fn models(&self, values: &Values) -> Vec<String> {
        O::Config::from_values(values).map(|config| O::models(&config)).unwrap_or_default()
    }
    fn finite(&self, _: &Values) -> bool {
        true
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let config = read_config::<O::Config>(values, &resources.node)?;
        let operator = create(resources, || O::new(config, resources))?;
        Ok(Instance::Operator(Box::new(Native::new(operator, &resources.node))))
    }
}

impl<S: Source> OperatorFactory for Factory<S, SourceKind> {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(self.spec.clone())
    }
    fn about(&self) -> &str {
        self.about
    }
    fn keys(&self) -> &[Key] {
        &self.keys
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        problems::<S::Config>(values)
    }
    fn resolve(&self, values: &Values) -> Vec<(String, Value)> {
        resolve::<S::Config>(values)
    }
    fn models(&self, _: &Values) -> Vec<String> {
        vec![]
    }
    fn finite(&self, values: &Values) -> bool {
        S::Config::from_values(values).map_or(true, |config| S::finite(&config))
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let config = read_config::<S::Config>(values, &resources.node)?;
        let sources = create(resources, || match S::open(config, resources)? {
            sources if sources.is_empty() => Err(Error::other("it opened no stream")),
            sources => Ok(sources),
        })?;
        Ok(Instance::Sources(sources.into_iter().map(|source| Box::new(source) as Box<dyn DynSource>).collect()))
    }
}

/// Calls `new` and converts a panic into an error.
fn create<T>(resources: &Resources, new: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(new)
        .map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while it was created; the message is above"),
        })
        .map_err(|error| error.at(format!("node `{}`", resources.node)))
}
