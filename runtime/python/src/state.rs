//! States as MessagePack. Values of types that it lacks, such as tuples and arrays, are extension types, which the Python module
//! `_state` makes and reads. A state names no code: classes are looked up by name in the file of the operator.

use std::fmt;

use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString},
};
use rmp_serde::MSGPACK_EXT_STRUCT_NAME;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap, SerializeSeq},
};
use sideline_api::{Error, Result};

/// Extension types of sets, whose items are sorted by their bytes, so that equal states give equal bytes.
const SETS: [i8; 2] = [2, 3];

/// Returns the module that converts states.
pub fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    MODULE.get_or_try_init(py, || py.import("sideline._state").map(Bound::unbind)).map(|module| module.bind(py))
}

/// Returns type and content of an extension value; `None` for another value.
fn extension<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<(i8, Bound<'py, PyAny>)>> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let class = CLASS.get_or_try_init(py, || module(py)?.getattr("Ext").map(Bound::unbind))?;
    if !value.get_type().is(class.bind(py)) {
        return Ok(None);
    }
    Ok(Some((value.getattr("code")?.extract()?, value.getattr("content")?)))
}

/// Returns the content of an extension value as MessagePack.
fn content(code: i8, content: &Bound<'_, PyAny>) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let bytes_of = |value: &Bound<'_, PyAny>| rmp_serde::to_vec(&Plain(value));
    let items = content.cast::<PyList>().ok().filter(|_| SETS.contains(&code));
    let Some(items) = items else { return bytes_of(content) };
    let mut items = items.iter().map(|item| bytes_of(&item)).collect::<Result<Vec<_>, _>>()?;
    items.sort();
    let mut bytes = vec![];
    // The head of an array of a known length.
    serde::Serializer::serialize_seq(&mut rmp_serde::Serializer::new(&mut bytes), Some(items.len())).map(drop)?;
    bytes.extend(items.into_iter().flatten());
    Ok(bytes)
}

/// Content of an extension value.
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

/// Plain value: dictionaries, lists, scalars and extension values.
struct Plain<'a, 'py>(&'a Bound<'py, PyAny>);

impl Serialize for Plain<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value = self.0;
        let read = |error: PyErr| S::Error::custom(error);
        if value.is_none() {
            to.serialize_unit()
        } else if let Ok(value) = value.cast::<PyBool>() {
            to.serialize_bool(value.is_true())
        } else if let Ok(value) = value.cast::<PyInt>() {
            match (value.extract::<i64>(), value.extract::<u64>()) {
                (Ok(number), _) => to.serialize_i64(number),
                (_, Ok(number)) => to.serialize_u64(number),
                _ => Err(S::Error::custom("a whole number of more than 64 bits cannot be saved")),
            }
        } else if let Ok(value) = value.cast::<PyFloat>() {
            to.serialize_f64(value.value())
        } else if let Ok(value) = value.cast::<PyString>() {
            to.serialize_str(&value.to_string_lossy())
        } else if let Ok(value) = value.cast::<PyBytes>() {
            to.serialize_bytes(value.as_bytes())
        } else if let Ok(value) = value.cast::<PyList>() {
            let mut items = to.serialize_seq(Some(value.len()))?;
            for item in value {
                items.serialize_element(&Plain(&item))?;
            }
            items.end()
        } else if let Ok(value) = value.cast::<PyDict>() {
            let mut entries = to.serialize_map(Some(value.len()))?;
            for (key, item) in value {
                entries.serialize_entry(&Plain(&key), &Plain(&item))?;
            }
            entries.end()
        } else if let Some((code, value)) = extension(value).map_err(read)? {
            let content = Bytes(content(code, &value).map_err(S::Error::custom)?);
            to.serialize_newtype_struct(MSGPACK_EXT_STRUCT_NAME, &(code, content))
        } else {
            Err(S::Error::custom(format!("a value of type {} cannot be saved", value.get_type().name().map_err(read)?)))
        }
    }
}

/// Reader of plain values, which replaces extension values by the values that they stand for.
#[derive(Clone, Copy)]
struct ReadPlain<'a, 'py> {
    py: Python<'py>,
    /// Declaration of the operator whose state it is.
    declaration: &'a Bound<'py, PyAny>,
}

impl<'de, 'py> DeserializeSeed<'de> for ReadPlain<'_, 'py> {
    type Value = Bound<'py, PyAny>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'py> ReadPlain<'_, 'py> {
    fn value<E: serde::de::Error>(self, value: impl IntoPyObjectExt<'py>) -> Result<Bound<'py, PyAny>, E> {
        value.into_bound_py_any(self.py).map_err(E::custom)
    }
}

impl<'de, 'py> Visitor<'de> for ReadPlain<'_, 'py> {
    type Value = Bound<'py, PyAny>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a plain value")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(self.py.None().into_bound(self.py))
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.value(value)
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.value(value)
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.value(value)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.value(value)
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.value(value)
    }
    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Self::Value, E> {
        Ok(PyBytes::new(self.py, value).into_any())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let items = PyList::empty(self.py);
        while let Some(item) = from.next_element_seed(self)? {
            items.append(item).map_err(A::Error::custom)?;
        }
        Ok(items.into_any())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let entries = PyDict::new(self.py);
        while let Some((key, value)) = from.next_entry_seed(self, self)? {
            entries.set_item(key, value).map_err(A::Error::custom)?;
        }
        Ok(entries.into_any())
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(ReadExtension(self))
    }
}

/// Reader of the parts of an extension value.
struct ReadExtension<'a, 'py>(ReadPlain<'a, 'py>);

impl<'de, 'py> Visitor<'de> for ReadExtension<'_, 'py> {
    type Value = Bound<'py, PyAny>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an extension value")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let ReadPlain { py, declaration } = self.0;
        let missing = || A::Error::custom("an extension value has a type and bytes");
        let code: i8 = from.next_element()?.ok_or_else(missing)?;
        let bytes = from.next_element_seed(self.0)?.ok_or_else(missing)?;
        let bytes = bytes.cast::<PyBytes>().map_err(|_| missing())?;
        let content = read_value(self.0, bytes.as_bytes()).map_err(A::Error::custom)?;
        let unpack = || module(py)?.call_method1("unpack", (declaration, code, content));
        unpack().map_err(|error| A::Error::custom(crate::describe(py, &error)))
    }
}

fn read_value<'py>(reader: ReadPlain<'_, 'py>, bytes: &[u8]) -> Result<Bound<'py, PyAny>, rmp_serde::decode::Error> {
    reader.deserialize(&mut rmp_serde::Deserializer::from_read_ref(bytes))
}

/// Appends a plain value as MessagePack.
///
/// # Errors
/// If it holds another value.
pub fn write(value: &Bound<'_, PyAny>, into: &mut Vec<u8>) -> Result<()> {
    Plain(value)
        .serialize(&mut rmp_serde::Serializer::new(into))
        .map_err(|cause| Error::other(format!("the state cannot be saved: {cause}")))
}

/// Reads a plain value from MessagePack. `declaration` is that of the operator whose state it is.
///
/// # Errors
/// If the bytes are damaged, or name a class that is not in the file of the operator.
pub fn read<'py>(declaration: &Bound<'py, PyAny>, bytes: &[u8]) -> Result<Bound<'py, PyAny>> {
    read_value(ReadPlain { py: declaration.py(), declaration }, bytes)
        .map_err(|cause| Error::other(format!("a saved state cannot be read: {cause}")))
}
