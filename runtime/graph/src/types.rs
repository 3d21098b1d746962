//! Type files for `dora validate`, written from the tables' Rust schemas.
//!
//! dora's types know structs of primitives, text, nested structs and `List<T>`, which is Arrow's large list. Our tables
//! are struct arrays with small and fixed-size lists besides: a file can name these columns, not their exact type. dora
//! itself compares only the names of types at the two ends of an edge, and skips structs at run time; Sideline checks the
//! first message of every edge against the full schema.

use std::{collections::BTreeMap, fmt::Write};

use sideline_api::{PortType, Registry, TableType, arrow::schema::DataType};

/// Folder and file below `types/`, which dora makes the beginning of every name.
const PACKAGE: &str = "sideline/v1";

/// The name of a table's type, as it stands in `output_types:` and `input_types:` of a node: `sideline/v1/Poses`.
pub fn type_urn(table: &TableType) -> String {
    let mut letters = table.name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    format!("{PACKAGE}/{}", first.into_iter().chain(letters).collect::<String>())
}

/// Type files (path below `dataflows/types`, text) of all tables that the ports of a registry and `more` name.
pub fn write_type_files(registry: &Registry, more: &[TableType]) -> Vec<(String, String)> {
    let ports = registry.iter().flat_map(|entry| {
        let inputs = entry.spec.inputs.iter().map(|port| port.ty);
        inputs.chain(entry.spec.outputs.iter().map(|port| port.ty)).chain(entry.spec.more_inputs)
    });
    let tables = ports.filter_map(|ty| match ty {
        PortType::Table(table) => Some(table),
        PortType::Frame | PortType::Any => None,
    });
    let tables: BTreeMap<&str, TableType> =
        tables.chain(more.iter().copied()).map(|table| (table.description().name.as_str(), table)).collect();

    let mut text = String::from(
        "# Written from the Rust tables by the test `types` of runtime/graph; do not edit.\n\
         # A message is a struct array with these columns, a row per thing, without nulls. Names for `output_types:` and\n\
         # `input_types:` of a node are sideline/v1/NAME. Where a list has a fixed length, it stands behind the column.\n\
         types:\n",
    );
    for table in tables.values() {
        let urn = type_urn(table);
        let name = urn.rsplit('/').next().unwrap_or_default();
        let _ = writeln!(
            text,
            "  {name}:\n    arrow: Struct\n    description: {}\n    fields:",
            quoted(table.about.trim())
        );
        for field in table.fields.iter() {
            let (ty, note) = type_name(field.data_type());
            if let Some((_, about)) = table.columns.iter().find(|(name, _)| name == field.name()) {
                let _ = writeln!(text, "      # {}", about.trim());
            }
            // YAML 1.1 reads a bare `y` or `n` as a truth value.
            let _ = writeln!(text, "      - name: {}", quoted(field.name()));
            let _ = writeln!(text, "        type: {ty}{}", if note.is_empty() { note } else { format!(" # {note}") });
            let _ = writeln!(text, "        nullable: {}", field.is_nullable());
        }
    }
    vec![(format!("{PACKAGE}.yml"), text)]
}

/// dora's name of a type, and the lengths it cannot say.
fn type_name(ty: &DataType) -> (String, String) {
    match ty {
        DataType::List(item) | DataType::LargeList(item) => {
            let (inner, note) = type_name(item.data_type());
            (format!("List<{inner}>"), note)
        }
        DataType::FixedSizeList(item, length) => {
            let (inner, note) = type_name(item.data_type());
            (format!("List<{inner}>"), if note.is_empty() { length.to_string() } else { format!("{length} x {note}") })
        }
        primitive => (primitive.to_string(), String::new()),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
