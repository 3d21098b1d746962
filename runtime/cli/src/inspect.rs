//! `sideline inspect`: an operator, a table or a flow; and `sideline types`.

use std::{fmt::Write as _, path::Path};

use serde_json::{Value, json};
use sideline_api::{
    Entry, Error, PortType, Registry, Result, TableType,
    arrow::schema::{DataType, Field},
    config::{Key, Origin, did_you_mean},
    table::ColumnDescription,
};
use sideline_plugin::load;

use crate::{commands::print_json, plugins, print, python::is_python, run};

/// Runs `sideline inspect`; returns the exit code.
pub fn inspect(target: &str, json: bool, registry: &Registry) -> Result<u8> {
    let path = Path::new(target);
    if load::is_library(target) {
        let registry = plugins::with_libraries(registry, vec![target.into()], Path::new(""));
        return operator(registry.get(target)?, json);
    }
    if path.extension().is_some() && !is_python(target) {
        return flow(path, json, &plugins::with_flow(registry, path));
    }
    // A table may have the name of an operator; the operator shows its columns, too.
    if !registry.has(target)
        && let Some(ty) = registry.table(target)
    {
        return table(ty, json, registry);
    }
    match registry.get(target) {
        Ok(entry) => operator(entry, json),
        Err(error) if is_python(target) => Err(error),
        Err(_) => {
            let tables = registry.table_types().into_iter().map(|ty| &*ty.description().name);
            let names: Vec<&str> = registry.iter().map(|entry| entry.spec.name).chain(tables).collect();
            let near = did_you_mean(target, names.iter().copied());
            Err(Error::config(format!("there is no operator and no table `{target}`{near}")))
        }
    }
}

fn operator(entry: &Entry, json: bool) -> Result<u8> {
    if json {
        print_json(&describe(entry))?;
    } else {
        print::stdout(&describe_text(entry));
    }
    Ok(0)
}

fn flow(path: &Path, json: bool, registry: &Registry) -> Result<u8> {
    let flow = run::read_flow(path, registry, &Default::default())?;
    let mut nodes = serde_json::Map::new();
    for node in &flow.nodes {
        let mut values = serde_json::Map::new();
        for (key, value) in &node.resolved {
            let origin = node.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
            values.insert(key.clone(), json!({"value": value, "from": origin.to_string()}));
        }
        nodes.insert(node.id.clone(), json!({"operator": node.operator, "values": values}));
    }
    if json {
        print_json(&nodes)?;
        return Ok(0);
    }
    for (id, node) in &nodes {
        outln!("{id} ({})", node["operator"].as_str().unwrap_or_default());
        for (key, value) in node["values"].as_object().into_iter().flatten() {
            outln!("  {key} = {}  ({})", value["value"], value["from"].as_str().unwrap_or_default());
        }
    }
    Ok(0)
}

/// Returns the names of the operators that write and that read a table.
fn users(ty: TableType, registry: &Registry) -> (Vec<&str>, Vec<&str>) {
    let is_table = |port: &PortType| matches!(port, PortType::Table(other) if *other == ty);
    let writers = registry.iter().filter(|entry| entry.spec.outputs.iter().any(|port| is_table(&port.ty)));
    let readers = registry.iter().filter(|entry| entry.spec.inputs.iter().any(|port| is_table(&port.ty)));
    (writers.map(|entry| entry.spec.name).collect(), readers.map(|entry| entry.spec.name).collect())
}

fn table(ty: TableType, json: bool, registry: &Registry) -> Result<u8> {
    let description = ty.description();
    let (writers, readers) = users(ty, registry);
    if json {
        print_json(&json!({
            "name": description.name, "about": description.about.trim(), "carried": description.is_carried,
            "columns": columns_json(ty), "written_by": writers, "read_by": readers,
        }))?;
        return Ok(0);
    }
    let or_none = |names: &[&str]| if names.is_empty() { "no operator".to_owned() } else { names.join(", ") };
    let mut text = format!("{}: {}\n", description.name, description.about.trim());
    columns_text(&mut text, ty, "  ", usize::MAX);
    let _ = writeln!(text, "  written by {}", or_none(&writers));
    let _ = writeln!(text, "  read by    {}", or_none(&readers));
    print::stdout(&text);
    Ok(0)
}

/// Returns the columns with types, units, names of items and documentation.
fn columns_json(ty: TableType) -> Vec<Value> {
    let description = ty.description();
    let columns = description.fields.iter().enumerate();
    columns
        .map(|(i, field)| {
            let column = description.columns.get(i);
            json!({
                "name": field.name(), "type": type_name(field.data_type()), "nullable": field.is_nullable(),
                "unit": column.map(|column| &column.unit).filter(|unit| !unit.is_empty()),
                "names": column.map(|column| &column.names).filter(|names| !names.is_empty()),
                "about": column.map(ColumnDescription::full_text).unwrap_or_default(),
            })
        })
        .collect()
}

/// Writes a line for each column, with at most `max_items` names of the items of a list.
fn columns_text(text: &mut String, ty: TableType, indent: &str, max_items: usize) {
    let description = ty.description();
    let width = description.fields.iter().map(|field| field.name().len()).max().unwrap_or_default();
    let types: Vec<String> = description.fields.iter().map(|field| field_type(field)).collect();
    let type_width = types.iter().map(String::len).max().unwrap_or_default().min(24);
    let units: Vec<&str> = description.columns.iter().map(|column| column.unit.as_str()).collect();
    let unit_width = units.iter().map(|unit| unit.len()).max().unwrap_or_default();
    let unit_width = if unit_width > 0 { unit_width + 2 } else { 0 };
    for (i, (field, name)) in description.fields.iter().zip(&types).enumerate() {
        let column = description.columns.get(i);
        let about = column.map(|column| column.full_text() + &item_names(column, max_items)).unwrap_or_default();
        let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
        let unit = units.get(i).copied().unwrap_or_default();
        let _ =
            writeln!(text, "{indent}column {:<width$}  {name:<type_width$}  {unit:<unit_width$}{about}", field.name());
    }
}

/// Maximum number of item names of a list in the description of an operator, which may have many columns. The description of a
/// table has all names.
const MAX_ITEMS: usize = 4;

/// Returns at most `max` names of the items of a list, as the end of its documentation; empty if they have none.
pub fn item_names(column: &ColumnDescription, max: usize) -> String {
    let dimension = |names: &Vec<String>| match names.get(..max) {
        Some(first) if names.len() > max => format!("{}, ... ({})", first.join(", "), names.len()),
        _ => names.join(", "),
    };
    let dimensions: Vec<String> = column.names.iter().map(dimension).collect();
    if dimensions.is_empty() { String::new() } else { format!(" Items: {}.", dimensions.join("; items of each: ")) }
}

fn field_type(field: &Field) -> String {
    format!("{}{}", type_name(field.data_type()), if field.is_nullable() { " or null" } else { "" })
}

/// Returns the name of a column's type, as in `table!`.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int8 => "i8".into(),
        DataType::Int16 => "i16".into(),
        DataType::UInt8 => "u8".into(),
        DataType::UInt16 => "u16".into(),
        DataType::UInt32 => "u32".into(),
        DataType::UInt64 => "u64".into(),
        DataType::Int32 => "i32".into(),
        DataType::Int64 => "i64".into(),
        DataType::Float32 => "f32".into(),
        DataType::Float64 => "f64".into(),
        DataType::Utf8 => "text".into(),
        DataType::List(item) => format!("list of {}", type_name(item.data_type())),
        DataType::FixedSizeList(item, length) => format!("{length} x {}", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{}: {}", field.name(), field_type(field))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns the description of an operator as JSON.
pub fn describe(entry: &Entry) -> Value {
    let columns = |ty: &PortType| match ty {
        PortType::Table(table) => Some(columns_json(*table)),
        PortType::Frame | PortType::Any => None,
    };
    let inputs: Vec<Value> = entry
        .spec
        .inputs
        .iter()
        .map(|port| {
            json!({
                "name": port.name, "type": port.ty.name(), "required": port.required, "hold": port.hold,
                "feedback": port.feedback, "columns": columns(&port.ty),
            })
        })
        .collect();
    let outputs: Vec<Value> = entry
        .spec
        .outputs
        .iter()
        .map(|port| json!({"name": port.name, "type": port.ty.name(), "columns": columns(&port.ty)}))
        .collect();
    let keys: Vec<Value> = entry
        .keys()
        .iter()
        .map(|key| {
            json!({
                "key": key.name, "type": key.kind.to_string(), "choices": choices(key), "default": key.default,
                "live": key.live, "range": key.range, "about": key.about,
            })
        })
        .collect();
    json!({
        "name": entry.spec.name, "about": entry.about(), "source": entry.spec.is_source, "heavy": entry.spec.is_heavy,
        "library": entry.library().map(|library| library.to_string_lossy()),
        "inputs": inputs, "more_inputs": entry.spec.more_inputs.map(|ty| ty.name()), "outputs": outputs, "keys": keys,
    })
}

/// Returns the words that a key accepts, one or several as a list; `None` if it accepts any value.
fn choices(key: &Key) -> Option<&'static [&'static str]> {
    Some(key.kind.choices()).filter(|words| !words.is_empty())
}

fn describe_text(entry: &Entry) -> String {
    let spec = &entry.spec;
    let mut text = format!("{}: {}\n", spec.name, entry.about());
    if let Some(library) = entry.library() {
        let _ = writeln!(text, "  plugin {}", library.display());
    }
    let columns = |text: &mut String, ty: &PortType| {
        if let PortType::Table(table) = ty {
            columns_text(text, *table, "           ", MAX_ITEMS);
        }
    };
    for port in &spec.inputs {
        let required = if port.required { "required" } else { "optional" };
        let _ = writeln!(text, "  input  {:<12} {} ({required})", port.name, port.ty.name());
        columns(&mut text, &port.ty);
    }
    if let Some(ty) = spec.more_inputs {
        let _ = writeln!(text, "  input  any name     {} (optional)", ty.name());
    }
    for port in &spec.outputs {
        let _ = writeln!(text, "  output {:<12} {}", port.name, port.ty.name());
        columns(&mut text, &port.ty);
    }
    for key in entry.keys() {
        let default = match &key.default {
            None => "required".to_owned(),
            Some(Value::Null) => "not set".to_owned(),
            Some(value) => format!("default {value}"),
        };
        let live = if key.live { ", live" } else { "" };
        let range = key.range.map_or_else(String::new, |(min, max)| format!(", {min} to {max}"));
        let _ = writeln!(text, "  key    {} ({}, {default}{range}{live})", key.name, key.kind);
        for line in key.about.lines() {
            let _ = writeln!(text, "           {line}");
        }
    }
    text
}

/// Runs `sideline types`: prints the tables of an operator, or one table, as a type file of dora; returns the exit code.
pub fn types(target: &str, registry: &Registry) -> Result<u8> {
    let tables = if !registry.has(target)
        && let Some(ty) = registry.table(target)
    {
        vec![ty]
    } else {
        let spec = plugins::find(target, registry)?.spec(&Default::default())?;
        let ports = spec.inputs.iter().map(|port| port.ty).chain(spec.outputs.iter().map(|port| port.ty));
        let mut tables: Vec<TableType> = vec![];
        for ty in ports {
            if let PortType::Table(table) = ty
                && !tables.contains(&table)
            {
                tables.push(table);
            }
        }
        tables
    };
    let files = sideline_graph::render_type_files(&Registry::new(), &tables);
    for (_, text) in files {
        // The comment at the begin is about the file in the repository.
        print::stdout(&text.split_inclusive('\n').skip_while(|line| line.starts_with('#')).collect::<String>());
    }
    Ok(0)
}
