//! The operators and nodes a program knows, by name; each can be described and checked without being run.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    Captured, Closing, Config, Driver, Error, Operator, Resources, Result, Runnable, Source, SourceContext, Spec,
    StreamName, Values,
    config::{Key, Problem, did_you_mean},
    driver::{DriverOptions, read_config},
};

/// A source of whatever type.
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

type MakeOperator = fn(Values, Resources, DriverOptions) -> Result<Box<dyn Runnable>>;
type MakeSource = fn(&Values, &Resources) -> Result<Vec<Box<dyn RunnableSource>>>;

/// How a registered thing is made.
#[derive(Clone, Copy)]
pub enum Make {
    /// Something that `process`es.
    Operator(MakeOperator),
    /// Something that makes frames: a source for each of its streams.
    Source(MakeSource),
}

/// One registered operator or node.
#[derive(Clone)]
pub struct Entry {
    /// Name and ports.
    pub spec: Spec,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its keys.
    pub keys: Vec<Key>,
    /// Problems of a configuration.
    pub check: fn(&Values) -> Vec<Problem>,
    /// Every key with its value, for a configuration without problems.
    pub resolve: fn(&Values) -> Vec<(&'static str, serde_json::Value)>,
    /// The models a configuration needs: names of models.yml, or paths of one's own files.
    pub models: fn(&Values) -> Vec<String>,
    /// For sources: whether it ends by itself.
    pub finite: fn(&Values) -> bool,
    /// How it is made.
    pub make: Make,
}

fn problems<C: Config>(values: &Values) -> Vec<Problem> {
    C::from_values(values).err().unwrap_or_default()
}

fn resolve<C: Config>(values: &Values) -> Vec<(&'static str, serde_json::Value)> {
    C::from_values(values).map(|config| config.to_values()).unwrap_or_default()
}

/// See the [module](self).
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operator.
    pub fn operator<O: Operator>(mut self) -> Self {
        let spec = O::spec();
        self.entries.insert(
            spec.name,
            Entry {
                spec,
                about: O::Config::ABOUT,
                keys: O::Config::keys(),
                check: problems::<O::Config>,
                resolve: resolve::<O::Config>,
                models: |values| O::Config::from_values(values).map(|config| O::models(&config)).unwrap_or_default(),
                finite: |_| true,
                make: Make::Operator(|values, resources, options| {
                    Ok(Box::new(Driver::<O>::new(values, resources, options)?))
                }),
            },
        );
        self
    }

    /// Adds a source.
    pub fn source<S: Source>(mut self) -> Self {
        let spec = S::spec();
        self.entries.insert(
            spec.name,
            Entry {
                spec,
                about: S::Config::ABOUT,
                keys: S::Config::keys(),
                check: problems::<S::Config>,
                resolve: resolve::<S::Config>,
                models: |_| vec![],
                finite: |values| S::Config::from_values(values).map_or(true, |config| S::finite(&config)),
                make: Make::Source(|values, resources| {
                    let config = read_config::<S::Config>(values, &resources.node)?;
                    catch_unwind(AssertUnwindSafe(|| S::open(config, resources)))
                        .unwrap_or_else(|_| Err(Error::other("panicked while it was made; the message is above")))
                        .and_then(|sources| match sources.is_empty() {
                            true => Err(Error::other("it opened no stream")),
                            false => Ok(sources),
                        })
                        .map(|sources| {
                            sources.into_iter().map(|source| Box::new(source) as Box<dyn RunnableSource>).collect()
                        })
                        .map_err(|e| e.at(format!("node `{}`", resources.node)))
                }),
            },
        );
        self
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// Names the nearest one.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| {
            Error::config(format!("there is no operator `{name}`{}", did_you_mean(name, self.entries.keys().copied())))
        })
    }

    /// All entries, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}
