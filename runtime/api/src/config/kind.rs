//! Kinds of values, found by asking a type how it is read: so a key's help and its errors say "whole number" or "one of
//! kalman, particle", never the name of a Rust type, and the words are those that are really read.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, Expected, SeqAccess, Visitor, value::Error},
};

/// Lists and options inside each other that are followed; a type that holds itself has no end.
const MAX_DEPTH: usize = 8;

/// Kind of a key's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Truth,
    /// Whole number between two.
    Whole {
        /// Least that the type holds.
        least: i64,
        /// Greatest that the type holds.
        greatest: u64,
    },
    /// Number.
    Number,
    /// Text.
    Text,
    /// Path of a file or folder.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A value, or nothing.
    Optional(Box<Kind>),
    /// List of any length.
    List(Box<Kind>),
    /// List of one length.
    Array(usize, Box<Kind>),
    /// Keys with values.
    Map,
    /// More than one kind; the key's own text says which.
    Any,
}

impl Kind {
    /// Finds the kind of a type.
    pub fn of<T: DeserializeOwned>() -> Self {
        Self::within(0, |probe| T::deserialize(probe).map(drop))
    }

    fn within(depth: usize, read: impl FnOnce(Probe<'_>) -> Result<(), Error>) -> Self {
        let mut kind = None;
        // The probe stops the reading as soon as it knows the kind: there is no value, and nothing to fail.
        let _stopped = read(Probe { kind: &mut kind, depth });
        kind.unwrap_or(Kind::Any)
    }

    /// Words of which one is to be chosen, also within a list or an option; empty where any value will do.
    pub fn choices(&self) -> &'static [&'static str] {
        match self {
            Kind::Choice(words) => words,
            Kind::Optional(inner) | Kind::List(inner) | Kind::Array(_, inner) => inner.choices(),
            _ => &[],
        }
    }

    /// The kind of a value that is there, where there may be none.
    pub fn given(&self) -> &Kind {
        match self {
            Kind::Optional(inner) => inner.given(),
            other => other,
        }
    }

    /// Name for several of them: `whole numbers`.
    fn plural(&self) -> String {
        match self {
            Kind::Truth => "values true or false".into(),
            Kind::Whole { .. } => "whole numbers".into(),
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
            Kind::Truth => f.write_str("true or false"),
            Kind::Whole { .. } => f.write_str("whole number"),
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

/// Reader that has no value: it notes what a type asks it for, and stops.
struct Probe<'a> {
    kind: &'a mut Option<Kind>,
    depth: usize,
}

impl Probe<'_> {
    fn found<V>(self, kind: Kind) -> Result<V, Error> {
        *self.kind = Some(kind);
        Err(Error::custom("the kind is known"))
    }

    fn whole<V>(self, least: i64, greatest: u64) -> Result<V, Error> {
        self.found(Kind::Whole { least, greatest })
    }

    /// The kind of what lies one level further inside.
    fn inner(&self, read: impl FnOnce(Probe<'_>) -> Result<(), Error>) -> Box<Kind> {
        Box::new(if self.depth < MAX_DEPTH { Kind::within(self.depth + 1, read) } else { Kind::Any })
    }
}

/// List that has no items: it notes the kind of the first.
struct Items<'a>(Probe<'a>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        seed.deserialize(Probe { kind: &mut *self.0.kind, depth: self.0.depth }).map(Some)
    }
}

macro_rules! whole {
    ($($method:ident: $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            self.whole(<$type>::MIN as i64, <$type>::MAX as u64)
        }
    )*};
}

macro_rules! always {
    ($($method:ident($($argument:ty),*): $kind:expr,)*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* _: V) -> Result<V::Value, Error> {
            self.found($kind)
        }
    )*};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    whole! {
        deserialize_i8: i8, deserialize_i16: i16, deserialize_i32: i32, deserialize_i64: i64,
        deserialize_u8: u8, deserialize_u16: u16, deserialize_u32: u32, deserialize_u64: u64,
    }

    always! {
        deserialize_any(): Kind::Any,
        deserialize_bool(): Kind::Truth,
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
        // A path is read as text; only what its type says it expects tells the two apart.
        let expected = (&visitor as &dyn Expected).to_string();
        self.found(if expected.contains("path") { Kind::Path } else { Kind::Text })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.found(Kind::Choice(variants))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = self.inner(|probe| visitor.visit_some(probe).map(drop));
        self.found(Kind::Optional(inner))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let inner = self.inner(|probe| visitor.visit_seq(Items(probe)).map(drop));
        self.found(Kind::List(inner))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        // The items of an array are of one kind, those of a tuple of any.
        let is_array = (&visitor as &dyn Expected).to_string().contains("array");
        let inner = self.inner(|probe| visitor.visit_seq(Items(probe)).map(drop));
        self.found(Kind::Array(length, if is_array { inner } else { Box::new(Kind::Any) }))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        _: V,
    ) -> Result<V::Value, Error> {
        self.found(Kind::Array(length, Box::new(Kind::Any)))
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
    fn kinds_are_said_without_names_of_types() {
        for (kind, expected) in [
            (Kind::of::<bool>(), "true or false"),
            (Kind::of::<u8>(), "whole number"),
            (Kind::of::<f64>(), "number"),
            (Kind::of::<Seconds>(), "number"),
            (Kind::of::<String>(), "text"),
            (Kind::of::<PathBuf>(), "path"),
            (Kind::of::<Option<PathBuf>>(), "path"),
            (Kind::of::<Filter>(), "one of kalman, particle"),
            (Kind::of::<Vec<Filter>>(), "list of words out of kalman, particle"),
            (Kind::of::<Option<Vec<f32>>>(), "list of numbers"),
            (Kind::of::<Vec<Vec<[f32; 2]>>>(), "list of lists of lists of 2 numbers"),
            (Kind::of::<(f32, String)>(), "list of 2 values"),
            (Kind::of::<serde_json::Value>(), "text or number"),
            (Kind::of::<std::collections::BTreeMap<String, f32>>(), "map"),
        ] {
            assert_eq!(kind.to_string(), expected, "{kind:?}");
        }
        assert_eq!(Kind::of::<u8>(), Kind::Whole { least: 0, greatest: 255 });
        assert_eq!(Kind::of::<Option<Vec<Filter>>>().choices(), ["kalman", "particle"]);
        assert!(Kind::of::<Tree>().to_string().starts_with("list of lists of "), "a type that holds itself has an end");
    }
}
