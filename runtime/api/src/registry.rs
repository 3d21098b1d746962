//! Registry of the operators and sources of a program, by name. Each can be described and checked without being run.

use std::{collections::BTreeMap, ops::Deref, path::Path, sync::Arc};

use crate::{
    Config, Error, Operator, PortType, Result, Source, Spec, TableType, Values,
    config::did_you_mean,
    factory::{self, OperatorFactory},
};

/// Registered operator or source: its factory, and its spec under default values.
#[derive(Clone)]
pub struct Entry {
    /// Name and ports under default values; [`OperatorFactory::spec`] returns those of a configuration.
    pub spec: Spec,
    factory: Arc<dyn OperatorFactory>,
}

impl Entry {
    /// Returns the factory.
    pub fn factory(&self) -> Arc<dyn OperatorFactory> {
        self.factory.clone()
    }
}

impl Deref for Entry {
    type Target = dyn OperatorFactory;
    fn deref(&self) -> &Self::Target {
        &*self.factory
    }
}

/// Operators and sources by name.
///
/// ```
/// # use sideline_api::*;
/// # /// Does nothing.
/// # #[derive(Clone, Config)]
/// # pub struct TrackerConfig {}
/// # pub struct Tracker;
/// # impl Operator for Tracker {
/// #     type Config = TrackerConfig;
/// #     type State = ();
/// #     fn spec() -> Spec { Spec::operator("tracker").required("frames", PortType::Frame) }
/// #     fn new(_: TrackerConfig, _: &Resources) -> Result<Self> { Ok(Tracker) }
/// #     fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> { Ok(()) }
/// # }
/// let registry = Registry::new().operator::<Tracker>();
/// registry.check()?;
/// assert_eq!(registry.get("tracker")?.spec.inputs[0].name, "frames");
/// let error = registry.get("trackers").err().unwrap();
/// assert_eq!(error.message, "there is no operator `trackers`; did you mean `tracker`?");
///
/// // A second operator of the same name is refused.
/// assert!(registry.operator::<Tracker>().check().is_err());
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
    /// One message for each refused registration.
    problems: Vec<String>,
    /// Errors of operators that are named by something else than an operator's name, such as a path.
    unavailable: BTreeMap<String, Error>,
}

impl Registry {
    /// Creates an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operator written in Rust.
    pub fn operator<O: Operator>(self) -> Self {
        self.with(factory::operator::<O>())
    }

    /// Adds a source written in Rust.
    pub fn source<S: Source>(self) -> Self {
        const {
            assert!(
                !<S::Config as Config>::HAS_LIVE,
                "a source cannot be reconfigured while it runs: none of its keys may be `live`"
            );
        }
        self.with(factory::source::<S>())
    }

    /// Adds a factory. It is refused if its name is taken, or if one of its tables differs from a registered table of the
    /// same name; [`Registry::check`] reports refusals.
    pub fn with(self, factory: impl OperatorFactory + 'static) -> Self {
        self.with_shared(Arc::new(factory))
    }

    /// Adds a factory that others may use, too, as [`Registry::with`] does.
    pub fn with_shared(mut self, factory: Arc<dyn OperatorFactory>) -> Self {
        let spec = match factory.spec(&Values::new()) {
            Ok(spec) => spec,
            Err(error) => {
                self.problems.push(format!("an operator cannot be registered: {error}"));
                return self;
            }
        };
        if let Some(first) = self.entries.get(spec.name) {
            let origin = |library: Option<&Path>| {
                library.map_or_else(|| "in the program".to_owned(), |path| format!("in {}", path.display()))
            };
            self.problems.push(format!(
                "operator `{}` is registered twice, {} and {}; give one of the two another name in its `spec`",
                spec.name,
                origin(first.library()),
                origin(factory.library())
            ));
            return self;
        }
        match self.check_tables(&spec) {
            Ok(()) => {
                self.entries.insert(spec.name.to_owned(), Entry { spec, factory });
            }
            Err(problem) => self.problems.push(problem.message),
        }
        self
    }

    /// Adds a factory, and removes a previous one of the same name.
    #[must_use]
    pub fn with_replaced(mut self, factory: impl OperatorFactory + 'static) -> Self {
        if let Ok(spec) = factory.spec(&Values::new()) {
            self.entries.remove(spec.name);
        }
        self.with(factory)
    }

    /// Adds a factory under another name than its own, such as the path by which a flow names it. A factory that cannot be
    /// described, or one of whose tables differs from a registered table of the same name, is unavailable: [`Registry::get`]
    /// returns its error.
    pub fn with_name(mut self, name: &str, factory: Result<Arc<dyn OperatorFactory>>) -> Self {
        let entry = factory.and_then(|factory| {
            let spec = factory.spec(&Values::new())?;
            self.check_tables(&spec)?;
            Ok(Entry { spec, factory })
        });
        match entry {
            Ok(entry) => {
                self.entries.insert(name.to_owned(), entry);
            }
            Err(error) => {
                self.unavailable.insert(name.to_owned(), error);
            }
        }
        self
    }

    fn check_tables(&self, spec: &Spec) -> Result<()> {
        for table in tables(spec) {
            if self.tables().any(|registered| registered.name == table.name && registered != table) {
                return Err(Error::config(format!(
                    "operator `{}` has a table `{}` whose columns differ from those of the registered table of this name; give \
                     it another name",
                    spec.name, table.name
                )));
            }
        }
        Ok(())
    }

    /// Checks that every registration was accepted.
    ///
    /// # Errors
    /// One line for each refused registration.
    pub fn check(&self) -> Result<()> {
        if self.problems.is_empty() { Ok(()) } else { Err(Error::config(self.problems.join("\n"))) }
    }

    /// Returns the entry of that name.
    ///
    /// # Errors
    /// When there is none, or it is unavailable; the error suggests the most similar name.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        if let Some(error) = self.unavailable.get(name) {
            return Err(error.clone());
        }
        self.entries.get(name).ok_or_else(|| {
            let names = self.entries.keys().map(String::as_str);
            Error::config(format!("there is no operator `{name}`{}", did_you_mean(name, names)))
        })
    }

    /// Iterates over all entries, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Returns true if the name is that of an entry, or of an operator that is unavailable.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.unavailable.contains_key(name)
    }

    /// Returns the table of that name, if a registered operator has one.
    pub fn table(&self, name: &str) -> Option<TableType> {
        self.tables().find(|table| table.name == name)
    }

    /// Returns the tables of all registered operators, each once, ordered by name.
    pub fn table_types(&self) -> Vec<TableType> {
        let mut tables: Vec<TableType> = self.tables().collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables.dedup_by(|a, b| a.name == b.name);
        tables
    }

    fn tables(&self) -> impl Iterator<Item = TableType> {
        self.entries.values().flat_map(|entry| tables(&entry.spec))
    }
}

/// Returns the tables of an operator's ports.
fn tables(spec: &Spec) -> Vec<TableType> {
    let ports = spec.inputs.iter().map(|port| port.ty).chain(spec.outputs.iter().map(|port| port.ty));
    let tables = ports.chain(spec.more_inputs).filter_map(|ty| match ty {
        PortType::Table(table) => Some(table),
        PortType::Frame | PortType::Any => None,
    });
    tables.collect()
}
