//! The type files in the repository match the Rust tables, and dora can read them.

mod stubs;

use dora_core::types::TypeRegistry;
use sideline_api::{TableType, tables::*};
use sideline_graph::{render_type_files, type_urn};
use sideline_sport::tables::*;
use stubs::{registry, repository};

fn tables() -> Vec<TableType> {
    vec![
        TableType::for_row::<Appearance>(),
        TableType::for_row::<Audio>(),
        TableType::for_row::<Count>(),
        TableType::for_row::<Detection>(),
        TableType::for_row::<FighterName>(),
        TableType::for_row::<Identity>(),
        TableType::for_row::<Interaction>(),
        TableType::for_row::<Motion>(),
        TableType::for_row::<Pose>(),
        TableType::for_row::<Track>(),
    ]
}

/// With the environment variable `SIDELINE_WRITE_TYPES`, this test updates the files first.
#[test]
fn the_type_files_match_the_tables() {
    for (name, text) in render_type_files(&registry(), &tables()) {
        let path = repository("dataflows/types").join(name);
        if std::env::var_os("SIDELINE_WRITE_TYPES").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text,
            "{} does not match the tables: run `SIDELINE_WRITE_TYPES=1 cargo test -p sideline-graph --test types`",
            path.display()
        );
    }
}

#[test]
fn dora_reads_the_type_files_with_every_column() {
    let mut types = TypeRegistry::new();
    types.load_from_dir(&repository("dataflows/types")).unwrap();
    for table in tables() {
        let urn = type_urn(&table);
        let resolved = types.resolve(&urn).unwrap_or_else(|| panic!("dora does not know {urn}"));
        let names: Vec<&str> = resolved.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, table.fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>());
        assert!(
            resolved.to_arrow_schema_with_registry(&types).is_some(),
            "{urn}: dora does not have the type of a column"
        );
    }
}
