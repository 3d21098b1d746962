//! Factory of an operator in Python: its description, its keys, and its instances.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow_schema::{DataType, Field, Fields};
use pyo3::{prelude::*, types::PyDict};
use serde::Deserialize;
use serde_json::Value;
use sideline_api::{
    Error, Instance, OperatorFactory, OutputPort, PortType, Registry, Resources, Result, Spec, TableType, Values,
    config::{Key, Kind, Problem, did_you_mean, read_field, unknown_keys},
    port::intern,
    table::{self, TableDescription},
};

use crate::{host, json, operator::PyOperator};

/// Description that the Python part of the package makes of a class.
#[derive(Deserialize)]
struct Description {
    /// Name of the class or function.
    name: String,
    about: String,
    heavy: bool,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    keys: Vec<KeyDescription>,
    has_state: bool,
    state_version: u32,
    /// Parameters of each method.
    methods: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    #[serde(rename = "type")]
    kind: Type,
    required: bool,
    hold: bool,
    feedback: bool,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(rename = "type")]
    kind: Type,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Frame,
    Table(TableReference),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TableReference {
    /// Table that the program or another operator of the flow declares.
    Name(String),
    Declared {
        name: String,
        about: String,
        columns: Vec<ColumnDescription>,
    },
}

#[derive(Deserialize)]
struct ColumnDescription {
    name: String,
    #[serde(rename = "type")]
    kind: ColumnType,
    about: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ColumnType {
    Bool,
    Text,
    U8,
    U16,
    U32,
    U64,
    I64,
    F32,
    F64,
    List(Box<ColumnType>),
    Array(i32, Box<ColumnType>),
    Struct(Vec<(String, ColumnType)>),
    /// Column with nulls.
    Optional(Box<ColumnType>),
    /// Texts of an enum.
    Choice(Vec<String>),
}

impl ColumnType {
    fn field(&self, name: &str) -> Field {
        Field::new(name, self.data_type(), matches!(self, ColumnType::Optional(_)))
    }

    /// Returns the description of a column of this type.
    fn describe(&self, name: &str, about: &str) -> table::ColumnDescription {
        let (variants, columns) = match self {
            ColumnType::Choice(words) => (words.iter().map(|word| (word.clone(), String::new())).collect(), vec![]),
            ColumnType::Struct(fields) => (vec![], fields.iter().map(|(name, kind)| kind.describe(name, "")).collect()),
            ColumnType::List(kind) | ColumnType::Array(_, kind) | ColumnType::Optional(kind) => {
                let inner = kind.describe(name, about);
                (inner.variants, inner.columns)
            }
            _ => (vec![], vec![]),
        };
        table::ColumnDescription {
            name: name.into(),
            about: about.into(),
            variants,
            columns,
            ..table::ColumnDescription::default()
        }
    }

    fn data_type(&self) -> DataType {
        let item = |kind: &ColumnType| Arc::new(kind.field("item"));
        match self {
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Text | ColumnType::Choice(_) => DataType::Utf8,
            ColumnType::U8 => DataType::UInt8,
            ColumnType::U16 => DataType::UInt16,
            ColumnType::U32 => DataType::UInt32,
            ColumnType::U64 => DataType::UInt64,
            ColumnType::I64 => DataType::Int64,
            ColumnType::F32 => DataType::Float32,
            ColumnType::F64 => DataType::Float64,
            ColumnType::List(kind) => DataType::List(item(kind)),
            ColumnType::Array(length, kind) => DataType::FixedSizeList(item(kind), *length),
            ColumnType::Struct(fields) => {
                DataType::Struct(fields.iter().map(|(name, kind)| kind.field(name)).collect())
            }
            ColumnType::Optional(kind) => kind.data_type(),
        }
    }
}

#[derive(Deserialize)]
struct KeyDescription {
    name: String,
    about: String,
    kind: KeyKind,
    live: bool,
    range: Option<(f64, f64)>,
    default: Option<Default>,
}

/// Default of a key, which may be `null`.
#[derive(Deserialize)]
struct Default {
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    Bool,
    Integer,
    Number,
    Text,
    Choice(Vec<String>),
    List(Box<KeyKind>),
    Optional(Box<KeyKind>),
}

impl KeyKind {
    fn kind(&self) -> Kind {
        match self {
            KeyKind::Bool => Kind::Bool,
            KeyKind::Integer => Kind::Integer { min: i64::MIN, max: i64::MAX as u64 },
            KeyKind::Number => Kind::Number,
            KeyKind::Text => Kind::Text,
            KeyKind::Choice(words) => Kind::Choice(Vec::leak(words.iter().map(|word| intern(word)).collect())),
            KeyKind::List(inner) => Kind::List(Box::new(inner.kind())),
            KeyKind::Optional(inner) => Kind::Optional(Box::new(inner.kind())),
        }
    }
}

/// Methods of an operator, with their parameters.
#[derive(Clone, Default)]
pub struct Methods {
    pub process: Vec<Parameter>,
    pub stream_ended: Option<Vec<Parameter>>,
    pub session_started: Option<Vec<Parameter>>,
    pub has_reconfigure: bool,
    pub has_close: bool,
}

/// Parameter of a method.
#[derive(Clone, Debug)]
pub enum Parameter {
    /// Context of the call.
    Context,
    /// State of the stream.
    State,
    /// Data of an input.
    Input {
        /// Name of the input.
        name: &'static str,
        /// True for a feedback input, whose messages are passed as a list.
        is_feedback: bool,
    },
}

/// Factory of an operator in Python.
#[derive(Clone)]
pub struct PyFactory(Arc<Class>);

/// Class of an operator with its description.
pub struct Class {
    spec: Spec,
    about: String,
    keys: Vec<Key>,
    /// The declaration in Python.
    pub declaration: Py<PyAny>,
    pub methods: Methods,
    pub has_state: bool,
    pub state_version: u32,
    /// True if a changed file is taken between two frames.
    pub reload: bool,
}

/// Class in Python with its description, before its tables are known.
struct Loaded {
    target: String,
    description: Description,
    declaration: Py<PyAny>,
}

/// Adds the operators that targets name to a registry. One that cannot be loaded is unavailable, with its error.
pub fn load_all(operators: &sideline::PythonTargets, mut registry: Registry) -> Registry {
    let sideline::PythonTargets { targets, folder, reload } = operators;
    let mut loaded = vec![];
    for target in targets {
        match Python::attach(|py| load(py, target, folder)) {
            Ok(operator) => loaded.push(operator),
            Err(error) => registry = registry.with_name(target, Err(error)),
        }
    }
    // An operator may read the tables of any other one.
    let declared: Vec<TableType> = loaded.iter().flat_map(|operator| operator.description.declared_tables()).collect();
    for operator in loaded {
        let target = operator.target.clone();
        let class = Class::new(operator, &declared, &registry, *reload).map_err(|error| error.at(&target));
        let factory = class.map(|class| Arc::new(PyFactory(Arc::new(class))) as Arc<dyn OperatorFactory>);
        registry = registry.with_name(&target, factory);
    }
    registry
}

/// Returns the factory of a declaration with its description as JSON.
///
/// # Errors
/// When a table or a default is wrong.
pub fn declared(description: &str, declaration: Py<PyAny>, registry: &Registry) -> Result<Arc<dyn OperatorFactory>> {
    let description: Description = serde_json::from_str(description)
        .map_err(|cause| Error::config(format!("the description cannot be read: {cause}")))?;
    let tables = description.declared_tables();
    let loaded = Loaded { target: "test".into(), description, declaration };
    Class::new(loaded, &tables, registry, false)
        .map(|class| Arc::new(PyFactory(Arc::new(class))) as Arc<dyn OperatorFactory>)
}

fn load(py: Python<'_>, target: &str, folder: &Path) -> Result<Loaded> {
    let read =
        || -> PyResult<(Bound<'_, PyAny>, String)> { host(py)?.call_method1("load", (target, folder))?.extract() };
    let (declaration, description) = read().map_err(|error| Error::config(crate::describe(py, &error)).at(target))?;
    let description = serde_json::from_str(&description)
        .map_err(|cause| Error::config(format!("its description cannot be read: {cause}")).at(target))?;
    Ok(Loaded { target: target.into(), description, declaration: declaration.unbind() })
}

impl Description {
    fn declared_tables(&self) -> Vec<TableType> {
        let kinds = self.inputs.iter().map(|port| &port.kind).chain(self.outputs.iter().map(|port| &port.kind));
        let declared = kinds.filter_map(|kind| match kind {
            Type::Table(reference @ TableReference::Declared { .. }) => Some(reference),
            _ => None,
        });
        declared.filter_map(TableReference::declare).collect()
    }
}

impl TableReference {
    fn declare(&self) -> Option<TableType> {
        let TableReference::Declared { name, about, columns } = self else { return None };
        let fields: Fields = columns.iter().map(|column| column.kind.field(&column.name)).collect();
        Some(TableType::from_description(TableDescription {
            name: name.clone(),
            about: about.clone(),
            columns: columns.iter().map(|column| column.kind.describe(&column.name, &column.about)).collect(),
            is_carried: false,
            fields,
        }))
    }

    fn find(&self, declared: &[TableType], registry: &Registry) -> Result<TableType> {
        let name = match self {
            TableReference::Name(name) => name,
            TableReference::Declared { name, .. } => {
                return self.declare().ok_or_else(|| Error::config(format!("table `{name}` has no columns")));
            }
        };
        let known = declared.iter().copied().find(|table| table.name == *name);
        known.or_else(|| registry.table(name)).ok_or_else(|| {
            let mut names: Vec<String> = declared.iter().map(|table| table.name.clone()).collect();
            for entry in registry.iter() {
                let outputs = entry.spec.outputs.iter().map(|port| port.ty);
                names.extend(outputs.filter(|ty| matches!(ty, PortType::Table(_))).map(|ty| ty.name().to_owned()));
            }
            names.sort();
            names.dedup();
            let near = did_you_mean(name, names.iter().map(String::as_str));
            Error::config(format!("there is no table `{name}`{near}"))
        })
    }
}

impl Class {
    fn new(loaded: Loaded, declared: &[TableType], registry: &Registry, reload: bool) -> Result<Self> {
        let Loaded { description, declaration, .. } = loaded;
        let port = |name: &str, kind: &Type| match kind {
            Type::Frame => Ok(PortType::Frame),
            Type::Table(table) => {
                table.find(declared, registry).map(PortType::Table).map_err(|error| error.at(format!("port `{name}`")))
            }
        };
        let mut spec = Spec::operator(intern(&description.name));
        if description.heavy {
            spec = spec.heavy();
        }
        for input in &description.inputs {
            let (name, kind) = (intern(&input.name), port(&input.name, &input.kind)?);
            spec = if input.required { spec.required(name, kind) } else { spec.optional(name, kind) };
            if input.hold {
                spec = spec.hold();
            }
            if input.feedback {
                spec = spec.feedback();
            }
        }
        for output in &description.outputs {
            spec = spec.output(intern(&output.name), port(&output.name, &output.kind)?);
        }
        let keys = description.keys.iter().map(|key| Key {
            name: intern(&key.name),
            about: intern(&key.about),
            kind: key.kind.kind(),
            default: key.default.as_ref().map(|default| default.value.clone()),
            live: key.live,
            range: key.range,
            instead_of: None,
            former: None,
        });
        let keys: Vec<Key> = keys.collect();
        let methods = Methods::new(&description.methods, &spec);
        let class = Self {
            spec,
            about: description.about,
            keys,
            declaration,
            methods,
            has_state: description.has_state,
            state_version: description.state_version,
            reload,
        };
        class.check_defaults()?;
        class.check_first_state()?;
        Ok(class)
    }

    /// Returns the declared outputs.
    pub fn outputs(&self) -> Vec<OutputPort> {
        self.spec.outputs.clone()
    }

    /// Returns true if an input is one of frames.
    pub fn reads_frames(&self) -> bool {
        self.spec.inputs.iter().any(|port| port.ty == PortType::Frame)
    }

    /// Executes the file of the class again; returns the new class, which has the same ports and keys.
    ///
    /// # Errors
    /// The exception of the file, or a difference of ports or keys.
    pub fn reload(&self, py: Python<'_>) -> PyResult<Self> {
        let reloaded = host(py)?.call_method1("reload", (&self.declaration,))?;
        let (declaration, description): (Bound<'_, PyAny>, String) = reloaded.extract()?;
        let description: Description = serde_json::from_str(&description)
            .map_err(|cause| crate::Error::new_err(format!("its description cannot be read: {cause}")))?;
        crate::state::module(py)?.call_method1("check", (&declaration,))?;
        Ok(Self {
            spec: self.spec.clone(),
            methods: Methods::new(&description.methods, &self.spec),
            about: description.about,
            keys: self.keys.clone(),
            declaration: declaration.unbind(),
            has_state: description.has_state,
            state_version: description.state_version,
            reload: true,
        })
    }

    /// Checks that every default is a value of its key: a default of another kind or out of range would fail every start.
    fn check_defaults(&self) -> Result<()> {
        let mut problems = vec![];
        for key in self.keys.iter().filter(|key| key.default.is_some()) {
            read_field::<Value>(&Values::new(), key, &mut problems);
        }
        match problems.first() {
            None => Ok(()),
            Some(problem) => Err(Error::config(format!("default of key `{}`: {}", problem.key, problem.message))),
        }
    }

    /// Checks that the first state of a stream can be saved and comes back the same.
    fn check_first_state(&self) -> Result<()> {
        Python::attach(|py| {
            let check = || crate::state::module(py)?.call_method1("check", (&self.declaration,)).map(drop);
            check().map_err(|error| Error::config(crate::describe(py, &error)))
        })
    }

    /// Reads the value of every key.
    fn read(&self, values: &Values) -> Result<Vec<(String, Value)>, Vec<Problem>> {
        let mut problems = vec![];
        unknown_keys(values, &self.keys, &[], &mut problems);
        let read = self.keys.iter().filter_map(|key| {
            read_field::<Value>(values, key, &mut problems).map(|value| (key.name.to_owned(), value))
        });
        let read = read.collect();
        if problems.is_empty() { Ok(read) } else { Err(problems) }
    }

    /// Reads the value of every key into a dictionary.
    ///
    /// # Errors
    /// All problems of the configuration, one line for each.
    pub fn read_config<'py>(&self, py: Python<'py>, values: &Values, node: &str) -> Result<Bound<'py, PyDict>> {
        let read = self.read(values).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("node `{node}`: {problem}")).collect();
            Error::config(lines.join("\n"))
        })?;
        let dictionary = PyDict::new(py);
        for (key, value) in read {
            let set = json(py, &value).and_then(|value| dictionary.set_item(key, value));
            set.map_err(|error| Error::other(crate::describe(py, &error)))?;
        }
        Ok(dictionary)
    }
}

impl Methods {
    fn new(described: &BTreeMap<String, Vec<String>>, spec: &Spec) -> Self {
        let parameters = |method: &str| {
            let names = described.get(method)?;
            Some(names.iter().filter_map(|name| Parameter::new(name, spec)).collect::<Vec<_>>())
        };
        Self {
            process: parameters("process").unwrap_or_default(),
            stream_ended: parameters("stream_ended"),
            session_started: parameters("session_started"),
            has_reconfigure: described.contains_key("reconfigure"),
            has_close: described.contains_key("close"),
        }
    }
}

impl Parameter {
    fn new(name: &str, spec: &Spec) -> Option<Self> {
        let input = |port: &sideline_api::InputPort| Parameter::Input { name: port.name, is_feedback: port.feedback };
        match name {
            "cx" => Some(Parameter::Context),
            "state" => Some(Parameter::State),
            name => spec.inputs.iter().find(|port| port.name == name).map(input),
        }
    }
}

impl OperatorFactory for PyFactory {
    fn spec(&self, _: &Values) -> Result<Spec> {
        Ok(self.0.spec.clone())
    }
    fn about(&self) -> &str {
        &self.0.about
    }
    fn keys(&self) -> &[Key] {
        &self.0.keys
    }
    fn check(&self, values: &Values) -> Vec<Problem> {
        self.0.read(values).err().unwrap_or_default()
    }
    fn resolve(&self, values: &Values) -> Vec<(String, Value)> {
        self.0.read(values).unwrap_or_default()
    }
    fn models(&self, _: &Values) -> Vec<String> {
        vec![]
    }
    fn finite(&self, _: &Values) -> bool {
        true
    }
    fn make(&self, values: &Values, resources: &Resources) -> Result<Instance> {
        let operator = PyOperator::new(self.0.clone(), values, resources)?;
        Ok(Instance::Operator(Box::new(operator)))
    }
}
