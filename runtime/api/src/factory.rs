//! An operator or source that can be described, checked and made, without type parameters.

use std::marker::PhantomData;

use serde_json::Value;

use crate::{
    Captured, Closing, Config, Context, Error, Inputs, Operator, Outputs, Resources, Result, Source, SourceContext,
    Spec, StreamName, Values,
    config::{Key, Problem},
    native::{Native, guard},
};

/// One operator with the state it keeps for each stream, in whatever language it is written.
///
/// The runtime calls it from one thread at a time. None of its methods panics: a panic of the operator's own is returned as
/// [`Fault::Panic`].
pub trait DynOperator: Send {
    /// Handles one frame; calls `session_started` first where a session begins.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn process(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault>;
    /// Handles the end of a stream, whose state is then dropped.
    ///
    /// # Errors
    /// As [`Operator::stream_ended`].
    fn stream_ended(&mut self, cx: &Context, input: &Inputs, out: &mut Outputs) -> Result<(), Fault>;
    /// Copies the state of a stream in memory.
    ///
    /// # Errors
    /// When the state cannot be copied; the copy before it is kept.
    fn snapshot(&mut self, stream: &str) -> Result<(), Fault>;
    /// Puts the state of a stream back to its last copy, or to a new state where there is none.
    ///
    /// # Errors
    /// When the copy cannot be copied; the state is then new.
    fn roll_back(&mut self, stream: &str) -> Result<(), Fault>;
    /// Appends the state of a stream, with the version of its form. A stream without state appends nothing.
    ///
    /// # Errors
    /// When the state cannot be serialized.
    fn save(&self, stream: &str, into: &mut Vec<u8>) -> Result<()>;
    /// Replaces the state of a stream by what [`DynOperator::save`] appended.
    ///
    /// # Errors
    /// When the bytes are of another version or damaged; the state is then as before.
    fn load(&mut self, stream: &str, bytes: &[u8]) -> Result<()>;
    /// Takes over a configuration of which only `live` keys changed.
    ///
    /// # Errors
    /// As [`Operator::reconfigure`].
    fn reconfigure(&mut self, values: &Values) -> Result<()>;
    /// Closes it and returns its own counts by name; called once, last.
    ///
    /// # Errors
    /// As [`Operator::close`]; the counts are returned all the same.
    fn close(&mut self) -> (Result<()>, Vec<(String, u64)>);
}

/// A failure of one call.
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
    /// The fault as an error whose text says which of the two it was.
    pub fn into_error(self) -> Error {
        match self {
            Fault::Error(error) => error,
            Fault::Panic(message) => Error::other(format!("panic: {message}")),
        }
    }
}

/// A source without type parameters.
pub trait RunnableSource: Send {
    /// See [`Source::stream`].
    fn stream(&self) -> Option<StreamName>;
    /// See [`Source::next`].
    ///
    /// # Errors
    /// As there.
    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>>;
    /// See [`Source::closing`].
    fn closing(&mut self) -> Vec<Closing>;
    /// See [`Source::counts`].
    fn counts(&self) -> Vec<(&'static str, u64)>;
    /// See [`Source::close`].
    ///
    /// # Errors
    /// As there.
    fn close(&mut self) -> Result<()>;
}

impl<S: Source> RunnableSource for S {
    fn stream(&self) -> Option<StreamName> {
        Source::stream(self)
    }
    fn next(&mut self, cx: &SourceContext) -> Result<Option<Captured>> {
        Source::next(self, cx)
    }
    fn closing(&mut self) -> Vec<Closing> {
        Source::closing(self)
    }
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Source::counts(self)
    }
    fn close(&mut self) -> Result<()> {
        Source::close(self)
    }
}

/// The product of [`OperatorFactory::make`].
pub enum Made {
    /// Something that `process`es.
    Operator(Box<dyn DynOperator>),
    /// Sources of frames, one for each stream.
    Sources(Vec<Box<dyn RunnableSource>>),
}

/// A registered operator or source.
pub trait OperatorFactory: Send + Sync {
    /// Name and ports under this configuration.
    ///
    /// # Errors
    /// When the ports cannot be told from these values.
    fn spec(&self, values: &Values) -> Result<Spec>;
    /// Its purpose in a line.
    fn about(&self) -> &str;
    /// Its keys.
    fn keys(&self) -> &[Key];
    /// Returns the problems of a configuration.
    fn check(&self, values: &Values) -> Vec<Problem>;
    /// Returns every key with its value, for a configuration without problems.
    fn resolve(&self, values: &Values) -> Vec<(String, Value)>;
    /// Returns the models a configuration needs: names of models.yml, or paths of one's own files.
    fn models(&self, values: &Values) -> Vec<String>;
    /// True when a source with this configuration ends by itself; true for an operator.
    fn finite(&self, values: &Values) -> bool;
    /// Makes it.
    ///
    /// # Errors
    /// The problems of the configuration, or the failure of `new`.
    fn make(&self, values: &Values, resources: &Resources) -> Result<Made>;
}

/// The factory of a Rust type.
struct Factory<T, K> {
    spec: Spec,
    about: &'static str,
    keys: Vec<Key>,
    kind: PhantomData<fn() -> (T, K)>,
}

/// Marks a factory of operators.
struct OfOperator;
/// Marks a factory of sources.
struct OfSource;

/// Returns the factory of an operator.
pub fn operator<O: Operator>() -> impl OperatorFactory {
    Factory::<O, OfOperator> { spec: O::spec(), about: O::Config::ABOUT, keys: O::Config::keys(), kind: PhantomData }
}

/// Returns the factory of a source.
pub fn source<S: Source>() -> impl OperatorFactory {
    Factory::<S, OfSource> { spec: S::spec(), about: S::Config::ABOUT, keys: S::Config::keys(), kind: PhantomData }
}

fn problems<C: Config>(values: &Values) -> Vec<Problem> {
    C::from_values(values).err().unwrap_or_default()
}

fn resolve<C: Config>(values: &Values) -> Vec<(String, Value)> {
    let resolved = C::from_values(values).map(|config| config.to_values()).unwrap_or_default();
    resolved.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Reads a configuration; all its problems in one error.
///
/// # Errors
/// One line for each problem.
pub fn read_config<C: Config>(values: &Values, node: &str) -> Result<C> {
    C::from_values(values).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("node `{node}`: {p}")).collect();
        Error::config(lines.join("\n"))
    })
}

impl<O: Operator> OperatorFactory for Factory<O, OfOperator> {
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
    fn make(&self, values: &Values, resources: &Resources) -> Result<Made> {
        let config = read_config::<O::Config>(values, &resources.node)?;
        let operator = made(resources, || O::new(config, resources))?;
        Ok(Made::Operator(Box::new(Native::new(operator, &resources.node))))
    }
}

impl<S: Source> OperatorFactory for Factory<S, OfSource> {
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
    fn make(&self, values: &Values, resources: &Resources) -> Result<Made> {
        let config = read_config::<S::Config>(values, &resources.node)?;
        let sources = made(resources, || match S::open(config, resources)? {
            sources if sources.is_empty() => Err(Error::other("it opened no stream")),
            sources => Ok(sources),
        })?;
        Ok(Made::Sources(sources.into_iter().map(|source| Box::new(source) as Box<dyn RunnableSource>).collect()))
    }
}

/// Calls `new`, a panic caught.
fn made<T>(resources: &Resources, new: impl FnOnce() -> Result<T>) -> Result<T> {
    guard(new)
        .map_err(|fault| match fault {
            Fault::Error(error) => error,
            Fault::Panic(_) => Error::other("panicked while it was made; the message is above"),
        })
        .map_err(|error| error.at(format!("node `{}`", resources.node)))
}
