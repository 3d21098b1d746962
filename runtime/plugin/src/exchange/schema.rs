//! Types of columns as formats and schemas of the Arrow C Data Interface.

use std::{
    ffi::{CStr, CString, c_void},
    sync::Arc,
};

use sideline_abi::{ARROW_FLAG_NULLABLE, ArrowSchema};
use sideline_api::{
    Error, Result,
    arrow::schema::{DataType, Field, FieldRef, Fields},
};

/// Maximum depth of a schema that is read, so that a damaged one ends.
const MAX_DEPTH: usize = 16;

/// Returns the format of a type.
///
/// # Errors
/// When no column of a table has the type.
pub fn format(data_type: &DataType) -> Result<String> {
    Ok(match data_type {
        DataType::Boolean => "b",
        DataType::Int8 => "c",
        DataType::UInt8 => "C",
        DataType::Int16 => "s",
        DataType::UInt16 => "S",
        DataType::Int32 => "i",
        DataType::UInt32 => "I",
        DataType::Int64 => "l",
        DataType::UInt64 => "L",
        DataType::Float32 => "f",
        DataType::Float64 => "g",
        DataType::Utf8 => "u",
        DataType::List(_) => "+l",
        DataType::Struct(_) => "+s",
        DataType::FixedSizeList(_, length) => return Ok(format!("+w:{length}")),
        other => return Err(Error::other(format!("tables have no columns of type {other}"))),
    }
    .into())
}

/// Returns the fields within a type.
pub fn children(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::List(item) | DataType::FixedSizeList(item, _) => vec![item.clone()],
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        _ => vec![],
    }
}

/// Returns the type with this format and these fields within it.
///
/// # Errors
/// When no column of a table has the format, or the number of fields does not fit it.
pub fn parse(format: &str, mut children: Vec<Field>) -> Result<DataType> {
    let expected = match format {
        "+s" => children.len(),
        format if format.starts_with('+') => 1,
        _ => 0,
    };
    if children.len() != expected {
        let text = format!("the Arrow format `{format}` takes {expected} children, found {}", children.len());
        return Err(Error::config(text));
    }
    Ok(match format {
        "b" => DataType::Boolean,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        "u" => DataType::Utf8,
        "+l" => DataType::List(Arc::new(children.remove(0))),
        "+s" => DataType::Struct(children.into()),
        other => match other.strip_prefix("+w:").and_then(|length| length.parse::<i32>().ok()) {
            Some(length) if length >= 0 => DataType::FixedSizeList(Arc::new(children.remove(0)), length),
            _ => return Err(Error::config(format!("tables have no columns of the Arrow format `{other}`"))),
        },
    })
}

/// Schema that is lent to the other side: it lives in this value and is released with it.
pub struct LentSchema {
    root: Box<Node>,
}

/// Schema of one field with the memory that it points to.
struct Node {
    schema: ArrowSchema,
    _name: CString,
    _format: CString,
    #[expect(clippy::vec_box, reason = "`_pointers` leads to the nodes, which must not move")]
    _children: Vec<Box<Node>>,
    _pointers: Vec<*mut ArrowSchema>,
}

// SAFETY: the pointers in a schema lead to memory of its own node, which nothing changes.
unsafe impl Send for LentSchema {}
// SAFETY: as above.
unsafe impl Sync for LentSchema {}

impl LentSchema {
    /// Creates the schema of a table with these columns.
    ///
    /// # Errors
    /// When a column has a type that tables do not have, or a name with a zero byte.
    pub fn new(fields: &Fields) -> Result<Self> {
        Ok(Self { root: Node::new(&Field::new("", DataType::Struct(fields.clone()), false))? })
    }

    /// Returns the schema, which lives as long as this value.
    pub fn as_ptr(&self) -> *const ArrowSchema {
        &self.root.schema
    }
}

impl Node {
    fn new(field: &Field) -> Result<Box<Self>> {
        let text = |text: &str| CString::new(text).map_err(|_| Error::other("a name of a column has a zero byte"));
        let (name, format) = (text(field.name())?, text(&format(field.data_type())?)?);
        let mut children =
            children(field.data_type()).iter().map(|child| Node::new(child)).collect::<Result<Vec<Box<Node>>>>()?;
        let mut pointers: Vec<*mut ArrowSchema> = children.iter_mut().map(|child| &raw mut child.schema).collect();
        let schema = ArrowSchema {
            format: format.as_ptr().cast(),
            name: name.as_ptr().cast(),
            metadata: std::ptr::null(),
            flags: if field.is_nullable() { ARROW_FLAG_NULLABLE } else { 0 },
            n_children: pointers.len() as i64,
            children: pointers.as_mut_ptr(),
            dictionary: std::ptr::null_mut(),
            release: Some(release_lent),
            private_data: std::ptr::null_mut::<c_void>(),
        };
        Ok(Box::new(Node { schema, _name: name, _format: format, _children: children, _pointers: pointers }))
    }
}

/// Does nothing: a schema is lent, and released by its owner.
unsafe extern "C" fn release_lent(_: *mut ArrowSchema) {}

/// Reads the columns of a table from its schema.
///
/// # Errors
/// When the schema is not that of a struct with columns that tables have.
///
/// # Safety
/// `schema` must be null or a valid schema of the Arrow C Data Interface.
pub unsafe fn read(schema: *const ArrowSchema) -> Result<Fields> {
    // SAFETY: guaranteed by the caller.
    match unsafe { read_field(schema, 0) }?.data_type() {
        DataType::Struct(fields) => Ok(fields.clone()),
        other => Err(Error::other(format!("a table is a struct array, found {other}"))),
    }
}

/// Reads one field.
///
/// # Safety
/// As for [`read`].
unsafe fn read_field(schema: *const ArrowSchema, depth: usize) -> Result<Field> {
    let text = |text: *const u8| -> Result<String> {
        if text.is_null() {
            return Ok(String::new());
        }
        // SAFETY: texts of a valid schema end with a zero byte.
        let text = unsafe { CStr::from_ptr(text.cast()) };
        text.to_str().map(str::to_owned).map_err(|_| Error::other("a text of an Arrow schema is not UTF-8"))
    };
    // SAFETY: guaranteed by the caller.
    let Some(schema) = (unsafe { schema.as_ref() }) else {
        return Err(Error::other("an Arrow schema is missing"));
    };
    if schema.release.is_none() || depth > MAX_DEPTH {
        return Err(Error::other("an Arrow schema is released, or too deep"));
    }
    if !schema.dictionary.is_null() {
        return Err(Error::other("tables have no columns with a dictionary"));
    }
    let count = match usize::try_from(schema.n_children) {
        Ok(count) if count == 0 || !schema.children.is_null() => count,
        _ => {
            return Err(Error::other(format!("an Arrow schema has {} children, which are missing", schema.n_children)));
        }
    };
    let mut children = vec![];
    for i in 0..count {
        // SAFETY: a valid schema has `n_children` children.
        children.push(unsafe { read_field(*schema.children.add(i), depth + 1) }?);
    }
    let data_type = parse(&text(schema.format)?, children)?;
    Ok(Field::new(text(schema.name)?, data_type, schema.flags & ARROW_FLAG_NULLABLE != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_read_back_as_it_was_lent() {
        let point = DataType::Struct(vec![Field::new("x", DataType::Float64, true)].into());
        let item = |data_type| Arc::new(Field::new("item", data_type, false));
        let fields: Fields = vec![
            Field::new("id", DataType::UInt32, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("is_home", DataType::Boolean, false),
            Field::new("box", DataType::FixedSizeList(item(DataType::Float32), 4), false),
            Field::new("path", DataType::List(item(point)), true),
        ]
        .into();
        let lent = LentSchema::new(&fields).unwrap();
        // SAFETY: the schema is valid as long as `lent` is.
        assert_eq!(unsafe { read(lent.as_ptr()) }.unwrap(), fields);
    }

    #[test]
    fn formats_that_tables_do_not_have_are_refused() {
        for (format, text) in [("tdD", "no columns of the Arrow format `tdD`"), ("+w:-1", "+w:-1"), ("+l", "takes 1")] {
            let children = if format == "+w:-1" { vec![Field::new("item", DataType::UInt8, false)] } else { vec![] };
            let error = parse(format, children).unwrap_err();
            assert!(error.message.contains(text), "{error}");
        }
        // SAFETY: null is allowed.
        assert!(unsafe { read(std::ptr::null()) }.is_err());
    }

    #[test]
    fn a_schema_whose_children_are_missing_or_that_has_a_dictionary_is_refused() {
        let lent = LentSchema::new(&vec![Field::new("id", DataType::UInt32, false)].into()).unwrap();
        type Change = fn(&mut ArrowSchema);
        let changes: [(&str, Change); 3] = [
            ("has 1 children, which are missing", |schema| schema.children = std::ptr::null_mut()),
            ("has -1 children, which are missing", |schema| schema.n_children = -1),
            ("no columns with a dictionary", |schema| schema.dictionary = std::ptr::from_mut(schema)),
        ];
        for (text, change) in changes {
            // SAFETY: the schema is valid, and its copy is not released.
            let error = unsafe {
                let mut schema = std::ptr::read(lent.as_ptr());
                change(&mut schema);
                read(&schema).unwrap_err()
            };
            assert!(error.message.contains(text), "{error}");
        }
    }
}
