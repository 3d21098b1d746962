//! Type files for `dora validate`, generated from the Rust schemas of the tables.
//!
//! dora's type system has structs of primitives, text, nested structs and `List<T>`, which is Arrow's large list. The
//! tables of Sideline are struct arrays that also have lists with 32-bit offsets and fixed-size lists: a type file can
//! name these columns, but not their exact type. dora itself compares only the type names at the two ends of an edge
//! and ignores structs at run time; Sideline checks the first message of every edge against the full schema.

use std::{collections::BTreeMap, fmt::Write};

use sideline_api::{PortType, Registry, TableType, arrow::schema::DataType};

/// Folder and file below `types/`, from which dora derives the prefix of every type name.
const PACKAGE: &str = "sideline/v1";

/// Returns the type name of a table for `output_types:` and `input_types:` of a node, such as `sideline/v1/Poses`.
pub fn type_urn(table: &TableType) -> String {
    let mut letters = table.name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    format!("{PACKAGE}/{}", first.into_iter().chain(letters).collect::<String>())
}

/// Renders the type files, as pairs of the path below `dataflows/types` and the text, for `additional` and all tables
/// of the ports in a registry.
pub fn render_type_files(registry: &Registry, additional: &[TableType]) -> Vec<(String, String)> {
    let ports = registry.iter().flat_map(|entry| {
        let inputs = entry.spec.inputs.iter().map(|port| port.ty);
        inputs.chain(entry.spec.outputs.iter().map(|port| port.ty)).chain(entry.spec.more_inputs)
    });
    let tables = ports.filter_map(|ty| match ty {
        PortType::Table(table) => Some(table),
        PortType::Frame | PortType::Any => None,
    });
    let tables: BTreeMap<&str, TableType> =
        tables.chain(additional.iter().copied()).map(|table| (table.description().name.as_str(), table)).collect();

    let mut text = String::from(
        "# Generated from the Rust tables by the test `types` of runtime/graph; do not edit.\n\
         # A message is a struct array with these columns and without nulls, one row per item. The type names for\n\
         # `output_types:` and `input_types:` of a node are sideline/v1/NAME. A comment after a list type is its fixed length.\n\
         types:\n",
    );
    for table in tables.values() {
        let urn = type_urn(table);
        let name = urn.rsplit('/').next().unwrap_or_default();
        let _ =
            writeln!(text, "  {name}:\n    arrow: Struct\n    description: {}\n    fields:", quote(table.about.trim()));
        for field in table.fields.iter() {
            let (ty, note) = type_name(field.data_type());
            if let Some((_, about)) = table.columns.iter().find(|(name, _)| name == field.name()) {
                let _ = writeln!(text, "      # {}", about.trim());
            }
            // YAML 1.1 parses a bare `y` or `n` as a boolean.
            let _ = writeln!(text, "      - name: {}", quote(field.name()));
            let _ = writeln!(text, "        type: {ty}{}", if note.is_empty() { note } else { format!(" # {note}") });
            let _ = writeln!(text, "        nullable: {}", field.is_nullable());
        }
    }
    vec![(format!("{PACKAGE}.yml"), text)]
}

/// Returns dora's name of a type, and a note with the list lengths that the name cannot express.
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

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
