//! The type files of the repository are those of the Rust tables, and dora reads them.

mod stubs;

use dora_core::types::TypeRegistry;
use sideline_api::{TableType, tables::*};
use sideline_graph::{type_urn, write_type_files};
use stubs::{registry, repository};

fn tables() -> Vec<TableType> {
    vec![
        TableType::of::<Appearance>(),
        TableType::of::<Audio>(),
        TableType::of::<Count>(),
        TableType::of::<Detection>(),
        TableType::of::<Interaction>(),
        TableType::of::<Motion>(),
        TableType::of::<Pose>(),
        TableType::of::<Track>(),
    ]
}

/// With `SIDELINE_WRITE_TYPES` set, writes the files instead.
#[test]
fn the_type_files_are_those_of_the_tables() {
    for (name, text) in write_type_files(&registry(), &tables()) {
        let path = repository("dataflows/types").join(name);
        if std::env::var_os("SIDELINE_WRITE_TYPES").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{} is not what the tables are: run `SIDELINE_WRITE_TYPES=1 cargo test -p sideline-graph --test types`",
            path.display()
        );
    }
}

#[test]
fn dora_reads_them_and_knows_every_column() {
    let mut types = TypeRegistry::new();
    types.load_from_dir(&repository("dataflows/types")).unwrap();
    for table in tables() {
        let urn = type_urn(&table);
        let known = types.resolve(&urn).unwrap_or_else(|| panic!("dora does not know {urn}"));
        let names: Vec<&str> = known.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, table.fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>());
        assert!(known.to_arrow_schema_with_registry(&types).is_some(), "{urn}: a column's type is not one of dora's");
    }
}
