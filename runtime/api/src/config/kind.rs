//! Kinds of values, derived from the `Deserialize` implementation of a key's type. So help and error messages say "whole
//! number" or "one of kalman, particle" instead of Rust type names, and always match the accepted values.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, Expected, SeqAccess, Visitor, value::Error},
};

/// Maximum depth of nested lists and options that is followed; a recursive type has no end.
const MAX_DEPTH: usize = 8;

/// Kind of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// Integer within the limits of its type.
    Integer {
        /// Minimum of the type.
        min: i64,
        /// Maximum of the type.
        max: u64,
    },
    /// Floating-point number.
    Number,
    /// Text.
    Text,
    /// Path of a file or folder.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Optional value.
    Optional(Box<Kind>),
    /// List of any length.
    List(Box<Kind>),
    /// List of a fixed length.
    Array(usize, Box<Kind>),
    /// Map of keys to values.
    Map,
    /// More than one kind; the documentation of the key lists them.
    Any,
}

impl Kind {
    /// Returns the kind of a type.
    pub fn for_type<T: DeserializeOwned>() -> Self {
        Self::probe(0, |probe| T::deserialize(probe).map(drop))
    }

    fn probe(depth: usize, deserialize: impl FnOnce(Probe<'_>) -> Result<(), Error>) -> Self {
        let mut kind = None;
        // The probe ends the deserialization with an error as soon as it has recorded the kind.
        let _stopped = deserialize(Probe { kind: &mut kind, depth });
        kind.unwrap_or(Kind::Any)
    }

    /// Returns the words among which a value is chosen, also within a list or an option; empty for other kinds.
    pub fn choices(&self) -> &'static [&'static str] {
        match self {
            Kind::Choice(words) => words,
            Kind::Optional(inner) | Kind::List(inner) | Kind::Array(_, inner) => inner.choices(),
            _ => &[],
        }
    }

    /// Returns the kind without `Optional`.
    pub fn non_optional(&self) -> &Kind {
        match self {
            Kind::Optional(inner) => inner.non_optional(),
            other => other,
        }
    }

    /// Returns the plural name: `whole numbers`.
    fn plural(&self) -> String {
        match self {
            Kind::Bool => "values true or false".into(),
            Kind::Integer { .. } => "whole numbers".into(),
            Kind::Number => "numbers".into(),
            Kind::Text => "texts".into(),
            Kind::Path => "paths".into(),
            Kind::Choice(words) => format!("words out of {}", words.join(", ")),
            Kind::Optional(inner) => inner.plural(),
            Kind::List(inner) => format!("lists of {}", inner.plural()),
            Kind::Array(length, inner) => format!("lists of {length} {}", inner.plural()),
            Kind::Map => "maps".into(),
            Kind::Any => "values".into(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Integer { .. } => f.write_str("whole number"),
            Kind::Number => f.write_str("number"),
            Kind::Text => f.write_str("text"),
            Kind::Path => f.write_str("path"),
            Kind::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Kind::Optional(inner) => inner.fmt(f),
            Kind::List(inner) => write!(f, "list of {}", inner.plural()),
            Kind::Array(length, inner) => write!(f, "list of {length} {}", inner.plural()),
            Kind::Map => f.write_str("map"),
            Kind::Any => f.write_str("text or number"),
        }
    }
}

/// Deserializer without a value: records the kind that a type requests, and stops with an error.
struct Probe<'a> {
    kind: &'a mut Option<Kind>,
    depth: usize,
}

impl Probe<'_> {
    fn record<V>(self, kind: Kind) -> Result<V, Error> {
        *self.kind = Some(kind);
        Err(Error::custom("the kind is known"))
    }

    fn integer<V>(self, min: i64, max: u64) -> Result<V, Error> {
        self.record(Kind::Integer { min, max })
    }

    /// Returns the kind of the items of a list, or of the value of an option.
    fn inner(&self, deserialize: impl FnOnce(Probe<'_>) -> Result<(), Error>) -> Box<Kind> {
        Box::new(if self.depth < MAX_DEPTH { Kind::probe(self.depth + 1, deserialize) } else { Kind::Any })
    }
}

/// Sequence whose first item is a probe.
struct Items<'a>(Probe<'a>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        seed.deserialize(Probe { kind: &mut *self.0.kind, depth: self.0.depth }).map(Some)
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            self.integer(<$type>::MIN as i64, <$type>::MAX as u64)
        }
    )*};
}

macro_rules! fixed_kinds {
    ($($method:ident($($argument:ty),*): $kind:expr,)*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Error> {
            self.record($kind)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    integers! {
        deserialize_i8: i8, deserialize_i16: i16, deserialize_i32: i32, deserialize_i64: i64,
        deserialize_u8: u8, deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64,
    }

    fixed_kinds! {
        deserialize_any(): Kind::Any,
        deserialize_bool(): Kind::Bool,
        deserialize_f32(): Kind::Number,
        deserialize_f64(): Kind::Number,
        deserialize_char(): Kind::Text,
        deserialize_str(): Kind::Text,
        deserialize_bytes(): Kind::Any,
        deserialize_byte_buf(): Kind::Any,
        deserialize_unit(): Kind::Any,
        deserialize_unit_struct(&'static str): Kind::Any,
        deserialize_identifier(): Kind::Text,
        deserialize_ignored_any(): Kind::Any,
        deserialize_map(): Kind::Map,
        deserialize_struct(&'static str, &'static [&'static str]): Kind::Map,
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // A path is deserialized as text; only the description of the expected value distinguishes the two.
        let expected = (&visitor as &dyn Expected).to_string();
        self.record(if expected.contains("path") { Kind::Path } else { Kind::Text })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.record(Kind::Choice(variants))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = self.inner(|probe| visitor.visit_some(probe).map(drop));
        self.record(Kind::Optional(inner))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = self.inner(|probe| visitor.visit_seq(Items(probe)).map(drop));
        self.record(Kind::List(inner))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        // All items of an array have one kind; those of a tuple may differ.
        let is_array = (&visitor as &dyn Expected).to_string().contains("array");
        let inner = self.inner(|probe| visitor.visit_seq(Items(probe)).map(drop));
        self.record(Kind::Array(length, if is_array { inner } else { Box::new(Kind::Any) }))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        _: V,
    ) -> Result<V::Value, Error> {
        self.record(Kind::Array(length, Box::new(Kind::Any)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[derive(serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Filter {
        Kalman,
        Particle,
    }

    #[derive(serde::Deserialize)]
    struct Seconds(#[allow(dead_code, reason = "only its type matters")] f32);

    #[derive(serde::Deserialize)]
    struct Tree(#[allow(dead_code, reason = "only its type matters")] Vec<Tree>);

    #[test]
    fn kinds_are_displayed_without_rust_type_names() {
        for (kind, expected) in [
            (Kind::for_type::<bool>(), "true or false"),
            (Kind::for_type::<u8>(), "whole number"),
            (Kind::for_type::<f64>(), "number"),
            (Kind::for_type::<Seconds>(), "number"),
            (Kind::for_type::<String>(), "text"),
            (Kind::for_type::<PathBuf>(), "path"),
            (Kind::for_type::<Option<PathBuf>>(), "path"),
            (Kind::for_type::<Filter>(), "one of kalman, particle"),
            (Kind::for_type::<Vec<Filter>>(), "list of words out of kalman, particle"),
            (Kind::for_type::<Option<Vec<f32>>>(), "list of numbers"),
            (Kind::for_type::<Vec<Vec<[f32; 2]>>>(), "list of lists of lists of 2 numbers"),
            (Kind::for_type::<(f32, String)>(), "list of 2 values"),
            (Kind::for_type::<serde_json::Value>(), "text or number"),
            (Kind::for_type::<std::collections::BTreeMap<String, f32>>(), "map"),
        ] {
            assert_eq!(kind.to_string(), expected, "{kind:?}");
        }
        assert_eq!(Kind::for_type::<u8>(), Kind::Integer { min: 0, max: 255 });
        assert_eq!(Kind::for_type::<Option<Vec<Filter>>>().choices(), ["kalman", "particle"]);
        assert!(
            Kind::for_type::<Tree>().to_string().starts_with("list of lists of "),
            "the depth of a recursive type is limited"
        );
    }
}
