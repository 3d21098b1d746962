//! Names of the classes of a detector, which travel with its rows.

use sideline_api::{
    Table,
    arrow::{
        array::StructArray,
        schema::{Field, Fields},
    },
    serde_json::{self, json},
};

/// Column with the class number.
const CLASS: &str = "class";
/// Key in the metadata of a column for the names of its values, as JSON: a list with one list of names.
const NAMES: &str = "names";

/// Names of classes, as metadata of the column `class` of a table. A recorder writes them to its file.
#[derive(Clone, Debug)]
pub struct ClassNames {
    /// The names as JSON.
    names: String,
    /// Columns of the table with the names.
    fields: Fields,
}

impl ClassNames {
    /// Returns the names for rows of type `T`; `None` if the classes have no names, or the rows no classes.
    pub fn new<T: Table>(labels: &[String]) -> Option<Self> {
        let has_names = labels.iter().any(|label| !label.is_empty());
        has_names.then(|| Self::with_json::<T>(json!([labels]).to_string())).flatten()
    }

    /// Returns the names in a table for rows of type `T`: `current` if they are the same; `None` without names.
    pub fn from_table<T: Table>(table: &StructArray, current: Option<Self>) -> Option<Self> {
        let names = table.fields().find(CLASS)?.1.metadata().get(NAMES)?;
        current.filter(|current| current.names == *names).or_else(|| Self::with_json::<T>(names.clone()))
    }

    fn with_json<T: Table>(names: String) -> Option<Self> {
        let (at, class) = T::fields().find(CLASS)?;
        let mut fields: Vec<_> = T::fields().iter().cloned().collect();
        let named = Field::clone(class.as_ref()).with_metadata([(NAMES.to_owned(), names.clone())].into());
        fields[at] = named.into();
        Some(Self { names, fields: fields.into() })
    }

    /// Returns the names in the order of the class numbers.
    pub fn labels(&self) -> Vec<String> {
        let lists: Vec<Vec<String>> = serde_json::from_str(&self.names).unwrap_or_default();
        lists.into_iter().next().unwrap_or_default()
    }

    /// Converts rows to a table with the names, if there are any.
    pub fn encode<T: Table>(names: Option<&Self>, rows: &[T]) -> StructArray {
        let table = T::encode(rows);
        match names {
            Some(Self { fields, .. }) => StructArray::new(fields.clone(), table.columns().to_vec(), None),
            None => table,
        }
    }
}

#[cfg(test)]
mod tests {
    use sideline_api::{TableType, arrow::array::Array};

    use super::*;
    use crate::tables::{Detection, FighterName, Track};

    #[test]
    fn names_travel_from_one_table_to_the_next() {
        let labels = ["person".to_owned(), String::new(), "ball".to_owned()];
        let names = ClassNames::new::<Detection>(&labels).unwrap();
        let rows = [Detection { class: 2, ..Detection::default() }];
        let detections = ClassNames::encode(Some(&names), &rows);
        assert_eq!(Detection::decode(&detections).unwrap(), rows);
        TableType::for_row::<Detection>().check(detections.data_type()).unwrap();
        let next = ClassNames::from_table::<Track>(&detections, None).unwrap();
        assert_eq!(next.labels(), labels);
        let tracks = ClassNames::encode(Some(&next), &[Track::default()]);
        assert_eq!(tracks.fields().find("class").unwrap().1.metadata()["names"], r#"[["person","","ball"]]"#);
        assert!(ClassNames::from_table::<Track>(&Detection::encode(&rows), Some(next)).is_none());
        assert!(ClassNames::new::<FighterName>(&labels).is_none(), "rows without a class");
    }
}
