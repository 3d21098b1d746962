//! Description of a plugin's operator: the JSON in the library and in the file beside it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sideline_api::{
    Config, Error, Operator, PortType, Result, Spec, TableType,
    arrow::schema::{DataType, Field, Fields},
    config::{FormerName, Key, Kind},
    port::intern,
    table::{ColumnDescription, TableDescription},
};

use crate::exchange::schema;

/// Panic strategy of a plugin whose panics are caught.
const UNWIND: &str = "unwind";
/// Panic strategy of a plugin in a language without panics.
const NO_PANICS: &str = "none";

/// Returns the path of the description beside a library: `libmine.so` has `libmine.sideline.json`.
pub fn description_file(library: &Path) -> PathBuf {
    library.with_extension("sideline.json")
}

/// Returns the target of this build: `x86_64-linux`.
pub fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Description of an operator, complete without its library.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The word `SIDELINE`.
    pub magic: String,
    /// Major and minor version of the interface.
    pub abi: (u32, u32),
    /// Compiler of the plugin, for messages.
    #[serde(default)]
    pub compiler: String,
    /// Architecture and operating system: `x86_64-linux`.
    pub target: String,
    /// Panic strategy: `unwind`, `abort`, or `none` in a language without panics.
    pub panic: String,
    /// Name of the operator in flows.
    pub name: String,
    /// Purpose in one line.
    pub about: String,
    /// True for an operator with a thread of its own.
    #[serde(default)]
    pub heavy: bool,
    /// Version of the serialized state.
    #[serde(default)]
    pub state_version: u32,
    /// Declared inputs.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// Type of further optional inputs with any name.
    #[serde(default)]
    pub more_inputs: Option<Type>,
    /// Declared outputs.
    #[serde(default)]
    pub outputs: Vec<Output>,
    /// Configuration keys.
    #[serde(default)]
    pub keys: Vec<KeyDescription>,
    /// Models that the operator needs under default values.
    #[serde(default)]
    pub models: Vec<String>,
}

/// Declared input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    name: String,
    #[serde(rename = "type")]
    ty: Type,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    hold: bool,
    #[serde(default)]
    feedback: bool,
}

/// Declared output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    name: String,
    #[serde(rename = "type")]
    ty: Type,
}

/// Type of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Video frames.
    Frame,
    /// Any type.
    Any,
    /// Rows of a table.
    Table(TableForm),
}

/// Table with its columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableForm {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    carried: bool,
    columns: Vec<ColumnForm>,
}

/// Column of a table, or field of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnForm {
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    about: String,
    /// Values that the column may have, each with its documentation; empty if any value is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    variants: Vec<(String, String)>,
    /// Format of the Arrow C Data Interface.
    format: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nullable: bool,
    /// Unit of the values.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    unit: String,
    /// Names of the items of a list, one list of names for each dimension.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    children: Vec<ColumnForm>,
}

/// Configuration key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyDescription {
    name: String,
    about: String,
    kind: KindForm,
    /// True if the key must be given; its default is then no value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    #[serde(default)]
    default: Value,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    live: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<(f64, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead_of: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<(String, bool)>,
}

/// Kind of a key's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindForm {
    Bool,
    Integer { min: i64, max: u64 },
    Number,
    Text,
    Path,
    Choice(Vec<String>),
    Optional(Box<KindForm>),
    List(Box<KindForm>),
    Array(usize, Box<KindForm>),
    Map,
    Any,
}

impl Description {
    /// Returns the description of an operator in this build.
    pub(crate) fn for_operator<O: Operator>() -> Self {
        let spec = O::spec();
        let is_abort = cfg!(panic = "abort");
        let defaults = O::Config::from_values(&sideline_api::Values::new());
        Description {
            magic: "SIDELINE".into(),
            abi: (sideline_abi::ABI_MAJOR, sideline_abi::ABI_MINOR),
            compiler: env!("SIDELINE_COMPILER").into(),
            target: target(),
            panic: if is_abort { "abort" } else { UNWIND }.into(),
            name: spec.name.into(),
            about: O::Config::ABOUT.trim().into(),
            heavy: spec.is_heavy,
            state_version: O::STATE_VERSION,
            inputs: spec
                .inputs
                .iter()
                .map(|port| Input {
                    name: port.name.into(),
                    ty: Type::from_port(&port.ty),
                    required: port.required,
                    hold: port.hold,
                    feedback: port.feedback,
                })
                .collect(),
            more_inputs: spec.more_inputs.as_ref().map(Type::from_port),
            outputs: spec
                .outputs
                .iter()
                .map(|port| Output { name: port.name.into(), ty: Type::from_port(&port.ty) })
                .collect(),
            keys: O::Config::keys().iter().map(KeyDescription::from_key).collect(),
            models: defaults.map(|config| O::models(&config)).unwrap_or_default(),
        }
    }

    /// Returns the JSON form.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Parses a description and checks that its plugin fits this build.
    ///
    /// # Errors
    /// When the text is no description, or the plugin was built for another interface, target or panic strategy.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|cause| Error::config(format!("this is no description of a plugin: {cause}")))?;
        if value["magic"] != "SIDELINE" {
            return Err(Error::config("this is no description of a plugin: `magic` is not `SIDELINE`"));
        }
        let major = value["abi"][0].as_u64().unwrap_or_default();
        if major != u64::from(sideline_abi::ABI_MAJOR) {
            let ours = sideline_abi::ABI_MAJOR;
            return Err(Error::config(format!(
                "the plugin is built for version {major} of the plugin interface, this is version {ours}; build it again \
                 with the crates of this version"
            )));
        }
        let description: Self = serde_json::from_value(value)
            .map_err(|cause| Error::config(format!("the description of the plugin is damaged: {cause}")))?;
        let target = target();
        if description.target != target {
            return Err(Error::config(format!(
                "the plugin is built for {} (by {}), this is {target}; build it for this machine",
                description.target, description.compiler
            )));
        }
        if ![UNWIND, NO_PANICS].contains(&description.panic.as_str()) {
            return Err(Error::config(format!(
                "the plugin is built with `panic = \"{}\"`, so a panic in it would end the whole run; build it with \
                 `panic = \"unwind\"`",
                description.panic
            )));
        }
        Ok(description)
    }

    /// Returns the ports.
    ///
    /// # Errors
    /// When a column has a format that tables do not have.
    pub fn spec(&self) -> Result<Spec> {
        let mut spec = Spec::operator(intern(&self.name));
        spec.is_heavy = self.heavy;
        for input in &self.inputs {
            let (name, ty) = (intern(&input.name), input.ty.to_port()?);
            spec = if input.required { spec.required(name, ty) } else { spec.optional(name, ty) };
            if input.hold {
                spec = spec.hold();
            }
            if input.feedback {
                spec = spec.feedback();
            }
        }
        if let Some(ty) = &self.more_inputs {
            spec = spec.any_inputs(ty.to_port()?);
        }
        for output in &self.outputs {
            spec = spec.output(intern(&output.name), output.ty.to_port()?);
        }
        Ok(spec)
    }

    /// Returns the configuration keys.
    pub fn keys(&self) -> Vec<Key> {
        self.keys.iter().map(KeyDescription::to_key).collect()
    }
}

impl Type {
    fn from_port(ty: &PortType) -> Self {
        match ty {
            PortType::Frame => Type::Frame,
            PortType::Any => Type::Any,
            PortType::Table(table) => Type::Table(TableForm::from_table(table)),
        }
    }

    fn to_port(&self) -> Result<PortType> {
        Ok(match self {
            Type::Frame => PortType::Frame,
            Type::Any => PortType::Any,
            Type::Table(table) => {
                let place = |error: Error| error.at(format_args!("table `{}`", table.name));
                PortType::Table(TableType::from_description(table.to_description().map_err(place)?))
            }
        })
    }
}

impl TableForm {
    fn from_table(table: &TableDescription) -> Self {
        let columns = table.columns.iter().zip(&table.fields);
        TableForm {
            name: table.name.clone(),
            about: table.about.trim().into(),
            carried: table.is_carried,
            columns: columns.map(|(column, field)| ColumnForm::from_field(field, Some(column))).collect(),
        }
    }

    fn to_description(&self) -> Result<TableDescription> {
        Ok(TableDescription {
            name: self.name.clone(),
            about: self.about.clone(),
            columns: self.columns.iter().map(ColumnForm::to_column_description).collect(),
            is_carried: self.carried,
            fields: self.columns.iter().map(ColumnForm::to_field).collect::<Result<Fields>>()?,
        })
    }
}

impl ColumnForm {
    /// `column` describes the field if the table documents it.
    fn from_field(field: &Field, column: Option<&ColumnDescription>) -> Self {
        let described = |name: &str| column.and_then(|column| column.columns.iter().find(|inner| inner.name == name));
        let children: Vec<ColumnForm> = schema::children(field.data_type())
            .iter()
            .map(|child| ColumnForm::from_field(child, described(child.name())))
            .collect();
        ColumnForm {
            name: field.name().clone(),
            about: column.map(|column| column.about.clone()).unwrap_or_default(),
            variants: column.map(|column| column.variants.clone()).unwrap_or_default(),
            // A type without a format is refused when the table is exported; no table has one.
            format: schema::format(field.data_type()).unwrap_or_default(),
            nullable: field.is_nullable(),
            unit: column.map(|column| column.unit.clone()).unwrap_or_default(),
            names: column.map(|column| column.names.clone()).unwrap_or_default(),
            children,
        }
    }

    /// Returns the documentation of the column; the fields of a struct without documentation are left out.
    fn to_column_description(&self) -> ColumnDescription {
        let columns = self.children.iter().filter(|child| !child.about.is_empty());
        ColumnDescription {
            name: self.name.clone(),
            about: self.about.clone(),
            variants: self.variants.clone(),
            columns: columns.map(ColumnForm::to_column_description).collect(),
            unit: self.unit.clone(),
            names: self.names.clone(),
        }
    }

    fn to_field(&self) -> Result<Field> {
        let children = self.children.iter().map(ColumnForm::to_field).collect::<Result<Vec<Field>>>()?;
        let place = |error: Error| error.at(format_args!("column `{}`", self.name));
        let data_type: DataType = schema::parse(&self.format, children).map_err(place)?;
        Ok(Field::new(&self.name, data_type, self.nullable))
    }
}

impl KeyDescription {
    fn from_key(key: &Key) -> Self {
        KeyDescription {
            name: key.name.into(),
            about: key.about.trim().into(),
            kind: KindForm::from_kind(&key.kind),
            required: key.default.is_none(),
            default: key.default.clone().unwrap_or_default(),
            live: key.live,
            range: key.range,
            instead_of: key.instead_of.map(Into::into),
            former: key.former.map(|former| (former.name.into(), former.counted_frames)),
        }
    }

    fn to_key(&self) -> Key {
        Key {
            name: intern(&self.name),
            about: intern(&self.about),
            kind: self.kind.to_kind(),
            default: (!self.required).then(|| self.default.clone()),
            live: self.live,
            range: self.range,
            instead_of: self.instead_of.as_deref().map(intern),
            former: self
                .former
                .as_ref()
                .map(|(name, counted_frames)| FormerName { name: intern(name), counted_frames: *counted_frames }),
        }
    }
}

/// Returns a list of words that lives as long as the process; equal lists share one.
fn intern_list(words: &[String]) -> &'static [&'static str] {
    static LISTS: Mutex<BTreeSet<&'static [&'static str]>> = Mutex::new(BTreeSet::new());
    let words: Vec<&'static str> = words.iter().map(|word| intern(word)).collect();
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    match lists.get(&*words) {
        Some(known) => known,
        None => {
            let leaked: &'static [&'static str] = words.leak();
            lists.insert(leaked);
            leaked
        }
    }
}

impl KindForm {
    fn from_kind(kind: &Kind) -> Self {
        let boxed = |kind: &Kind| Box::new(Self::from_kind(kind));
        match kind {
            Kind::Bool => KindForm::Bool,
            Kind::Integer { min, max } => KindForm::Integer { min: *min, max: *max },
            Kind::Number => KindForm::Number,
            Kind::Text => KindForm::Text,
            Kind::Path => KindForm::Path,
            Kind::Choice(words) => KindForm::Choice(words.iter().map(|word| (*word).into()).collect()),
            Kind::Optional(inner) => KindForm::Optional(boxed(inner)),
            Kind::List(inner) => KindForm::List(boxed(inner)),
            Kind::Array(length, inner) => KindForm::Array(*length, boxed(inner)),
            Kind::Map => KindForm::Map,
            Kind::Any => KindForm::Any,
        }
    }

    fn to_kind(&self) -> Kind {
        let boxed = |form: &KindForm| Box::new(form.to_kind());
        match self {
            KindForm::Bool => Kind::Bool,
            KindForm::Integer { min, max } => Kind::Integer { min: *min, max: *max },
            KindForm::Number => Kind::Number,
            KindForm::Text => Kind::Text,
            KindForm::Path => Kind::Path,
            KindForm::Choice(words) => Kind::Choice(intern_list(words)),
            KindForm::Optional(inner) => Kind::Optional(boxed(inner)),
            KindForm::List(inner) => Kind::List(boxed(inner)),
            KindForm::Array(length, inner) => Kind::Array(*length, boxed(inner)),
            KindForm::Map => Kind::Map,
            KindForm::Any => Kind::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_choice_are_kept_once() {
        let form = KindForm::Choice(vec!["left".into(), "right".into()]);
        let (Kind::Choice(first), Kind::Choice(second)) = (form.to_kind(), form.to_kind()) else { panic!("{form:?}") };
        assert_eq!(first, ["left", "right"]);
        assert!(std::ptr::eq(first, second));
    }
}
