//! Type files for `dora validate`, generated from the Rust schemas of the tables.
//!
//! dora's type system has structs of primitives, text, nested structs and `List<T>`, which is Arrow's large list. A struct
//! in a column has a type of its own, named after the table and the column. The
//! tables of Sideline are struct arrays that also have lists with 32-bit offsets and fixed-size lists: a type file can
//! name these columns, but not their exact type. dora itself compares only the type names at the two ends of an edge
//! and ignores structs at run time; Sideline checks the first message of every edge against the full schema.

use std::{collections::BTreeMap, fmt::Write};

use sideline_api::{
    PortType, Registry, TableType,
    arrow::schema::{DataType, Fields},
    table::ColumnDescription,
};

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
         # A message is a struct array with these columns, one row per item. The type names for\n\
         # `output_types:` and `input_types:` of a node are sideline/v1/NAME. A comment after a list type is its fixed length.\n\
         types:\n",
    );
    for table in tables.values() {
        let urn = type_urn(table);
        let name = urn.rsplit('/').next().unwrap_or_default();
        write_struct(&mut text, name, &table.about, &table.fields, &table.columns);
    }
    vec![(format!("{PACKAGE}.yml"), text)]
}

/// Writes the type of a table or of a struct in a column, then those of the structs in its columns.
fn write_struct(text: &mut String, name: &str, about: &str, fields: &Fields, columns: &[ColumnDescription]) {
    let _ = writeln!(text, "  {name}:\n    arrow: Struct\n    description: {}\n    fields:", quote(about.trim()));
    let mut structs = vec![];
    for field in fields {
        let struct_name = format!("{name}_{}", field.name());
        let (ty, note) = type_name(field.data_type(), &struct_name);
        let column = columns.iter().find(|column| column.name == *field.name());
        if let Some(column) = column {
            let _ = writeln!(text, "      # {}", column.full_text());
        }
        // YAML 1.1 parses a bare `y` or `n` as a boolean.
        let _ = writeln!(text, "      - name: {}", quote(field.name()));
        let _ = writeln!(text, "        type: {ty}{}", if note.is_empty() { note } else { format!(" # {note}") });
        let _ = writeln!(text, "        nullable: {}", field.is_nullable());
        structs.extend(column.zip(struct_fields(field.data_type())).map(|found| (struct_name, found)));
    }
    for (name, (column, fields)) in structs {
        write_struct(text, &name, &column.about, fields, &column.columns);
    }
}

/// Returns the fields of a struct, or of the structs in a list.
fn struct_fields(ty: &DataType) -> Option<&Fields> {
    match ty {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            struct_fields(item.data_type())
        }
        _ => None,
    }
}

/// Returns dora's name of a type, and a note with the list lengths that the name cannot express. `struct_name` is the name of
/// a struct in it.
fn type_name(ty: &DataType, struct_name: &str) -> (String, String) {
    match ty {
        DataType::List(item) | DataType::LargeList(item) => {
            let (inner, note) = type_name(item.data_type(), struct_name);
            (format!("List<{inner}>"), note)
        }
        DataType::FixedSizeList(item, length) => {
            let (inner, note) = type_name(item.data_type(), struct_name);
            (format!("List<{inner}>"), if note.is_empty() { length.to_string() } else { format!("{length} x {note}") })
        }
        DataType::Struct(_) => (struct_name.into(), String::new()),
        primitive => (primitive.to_string(), String::new()),
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
