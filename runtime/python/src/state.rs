//! States as MessagePack.

use std::fmt;

use pyo3::{
    IntoPyObjectExt,
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString},
};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
    ser::{Error as _, SerializeMap, SerializeSeq},
};
use sideline_api::{Error, Result};

/// Plain value: dictionaries, lists and scalars.
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
        } else {
            Err(S::Error::custom(format!("a value of type {} cannot be saved", value.get_type().name().map_err(read)?)))
        }
    }
}

/// Reader of plain values.
#[derive(Clone, Copy)]
struct ReadPlain<'py>(Python<'py>);

impl<'de, 'py> DeserializeSeed<'de> for ReadPlain<'py> {
    type Value = Bound<'py, PyAny>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'py> ReadPlain<'py> {
    fn value<E: serde::de::Error>(self, value: impl IntoPyObjectExt<'py>) -> Result<Bound<'py, PyAny>, E> {
        value.into_bound_py_any(self.0).map_err(E::custom)
    }
}

impl<'de, 'py> Visitor<'de> for ReadPlain<'py> {
    type Value = Bound<'py, PyAny>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a plain value")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(self.0.None().into_bound(self.0))
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
        Ok(PyBytes::new(self.0, value).into_any())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let items = PyList::empty(self.0);
        while let Some(item) = from.next_element_seed(self)? {
            items.append(item).map_err(A::Error::custom)?;
        }
        Ok(items.into_any())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let entries = PyDict::new(self.0);
        while let Some((key, value)) = from.next_entry_seed(self, self)? {
            entries.set_item(key, value).map_err(A::Error::custom)?;
        }
        Ok(entries.into_any())
    }
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

/// Reads a plain value from MessagePack.
///
/// # Errors
/// If the bytes are damaged.
pub fn read<'py>(py: Python<'py>, bytes: &[u8]) -> Result<Bound<'py, PyAny>> {
    ReadPlain(py)
        .deserialize(&mut rmp_serde::Deserializer::from_read_ref(bytes))
        .map_err(|cause| Error::other(format!("a saved state cannot be read: {cause}")))
}
