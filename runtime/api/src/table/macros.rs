//! Macros that declare rows, structs in columns, and enums in columns.

/// Declares a table: a struct whose values are rows. See [the module](mod@crate::table) for an example. The word `carried`
/// after the name, as in `in "audio", carried`, sets [`Table::IS_CARRIED`](crate::Table::IS_CARRIED). A default row has 0, empty,
/// null and first variants.
///
/// The attribute `#[column(unit = "px")]` states the unit of a column, `#[column(names = [JOINTS, ["x", "y"]])]` the names of the items
/// of a list, one list of names for each dimension. Both are in the metadata of recorded tables and in the reference.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $row:ident in $name:literal $(, $carried:ident)? {
            $( $(#[doc = $doc:literal])* $(#[column($($attribute:tt)*)])? pub $column:ident : $type:ty, )*
        }
    ) => {
        $crate::__row! { [$(#[doc = $about])*] $vis struct $row { $( $(#[doc = $doc])* $(#[column($($attribute)*)])? pub $column: $type, )* } }

        impl $crate::Table for $row {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = concat!($($about),*);
            $( const IS_CARRIED: bool = $crate::table!(@carried $carried); )?
            fn table_type() -> $crate::TableType {
                static TYPE: ::std::sync::OnceLock<$crate::TableType> = ::std::sync::OnceLock::new();
                *TYPE.get_or_init(|| $crate::TableType::from_description($crate::table::TableDescription {
                    name: Self::NAME.into(),
                    about: Self::ABOUT.into(),
                    columns: Self::describe_columns(),
                    is_carried: Self::IS_CARRIED,
                    fields: Self::arrow_fields(),
                }))
            }
            fn encode(rows: &[Self]) -> $crate::arrow::array::StructArray {
                Self::encode_rows(<Self as $crate::Table>::fields(), rows.iter())
            }
            fn decode(array: &$crate::arrow::array::StructArray) -> $crate::Result<Vec<Self>> {
                Self::decode_rows(Some($name), array)
            }
        }
    };
    (@carried carried) => { true };
}

/// Declares a struct in a column of a table, which is an Arrow struct. See [the module](mod@crate::table) for an example.
#[macro_export]
macro_rules! column_struct {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $doc:literal])* $(#[column($($attribute:tt)*)])? pub $column:ident : $type:ty, )*
        }
    ) => {
        $crate::__row! { [$(#[doc = $about])*] $vis struct $name { $( $(#[doc = $doc])* $(#[column($($attribute)*)])? pub $column: $type, )* } }

        impl $crate::Column for $name {
            fn data_type() -> $crate::arrow::schema::DataType {
                $crate::arrow::schema::DataType::Struct(Self::arrow_fields())
            }
            fn default_value() -> Self {
                Self::default()
            }
            fn columns() -> ::std::vec::Vec<$crate::table::ColumnDescription> {
                Self::describe_columns()
            }
            fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> $crate::arrow::array::ArrayRef {
                let rows: ::std::vec::Vec<&Self> = values.collect();
                ::std::sync::Arc::new(Self::encode_rows(&Self::arrow_fields(), rows.iter().copied()))
            }
            fn decode(array: &dyn $crate::arrow::array::Array) -> $crate::Result<Vec<Self>> {
                Self::decode_rows(None, $crate::table::as_struct(array)?)
            }
        }
    };
}

/// Declares a struct with its conversions to and from struct arrays, for [`table!`](macro@crate::table) and
/// [`column_struct!`](crate::column_struct).
#[doc(hidden)]
#[macro_export]
macro_rules! __row {
    (
        [$(#[doc = $about:literal])*]
        $vis:vis struct $row:ident { $( $(#[doc = $doc:literal])* $(#[column($($attribute:tt)*)])? pub $column:ident : $type:ty, )* }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $row {
            $( $(#[doc = $doc])* pub $column: $type, )*
        }

        impl Default for $row {
            fn default() -> Self {
                Self { $( $column: <$type as $crate::Column>::default_value(), )* }
            }
        }

        impl $row {
            fn describe_columns() -> ::std::vec::Vec<$crate::table::ColumnDescription> {
                ::std::vec![$(
                    $crate::__column_attributes!(
                        $crate::table::ColumnDescription::for_column::<$type>(stringify!($column), concat!($($doc),*))
                        $(, $($attribute)*)?
                    ),
                )*]
            }

            fn arrow_fields() -> $crate::arrow::schema::Fields {
                $crate::arrow::schema::Fields::from(::std::vec![$(
                    $crate::arrow::schema::Field::new(
                        stringify!($column), <$type as $crate::Column>::data_type(), <$type as $crate::Column>::IS_NULLABLE),
                )*])
            }

            fn encode_rows<'a>(
                fields: &$crate::arrow::schema::Fields,
                rows: impl Iterator<Item = &'a Self> + Clone,
            ) -> $crate::arrow::array::StructArray {
                $crate::arrow::array::StructArray::new(
                    fields.clone(),
                    ::std::vec![$( <$type as $crate::Column>::encode(rows.clone().map(|row| &row.$column)), )*],
                    None,
                )
            }

            fn decode_rows(
                table: Option<&str>,
                array: &$crate::arrow::array::StructArray,
            ) -> $crate::Result<::std::vec::Vec<Self>> {
                $( let mut $column = $crate::table::decode_column::<$type>(table, array, stringify!($column))?.into_iter(); )*
                let mut rows = ::std::vec::Vec::with_capacity($crate::arrow::array::Array::len(array));
                for _ in 0..$crate::arrow::array::Array::len(array) {
                    let ($( Some($column), )*) = ($( $column.next(), )*) else {
                        return Err($crate::Error::config(concat!("`", stringify!($row), "`: columns of unequal length")));
                    };
                    rows.push(Self { $( $column, )* });
                }
                Ok(rows)
            }
        }
    };
}

/// Adds the attributes of a column, `unit = "px"` and `names = [..]`, to its description.
#[doc(hidden)]
#[macro_export]
macro_rules! __column_attributes {
    ($column:expr) => { $column };
    ($column:expr, unit = $unit:literal $(, $($rest:tt)*)?) => {
        $crate::__column_attributes!($column.with_unit($unit) $(, $($rest)*)?)
    };
    ($column:expr, names = [$($names:expr),+ $(,)?] $(, $($rest:tt)*)?) => {
        $crate::__column_attributes!($column.with_names(&[$(&$names[..]),+]) $(, $($rest)*)?)
    };
}

/// Declares the values that a column may have as an enum: text on the wire and in recordings, with its values in the descriptions
/// of tables. The first variant is the default. See [the module](mod@crate::table) for an example.
#[macro_export]
macro_rules! column_enum {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $doc:literal])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive($crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "sideline_api::serde")]
        $vis enum $name {
            $( $(#[doc = $doc])* #[serde(rename = $text)] $variant, )+
        }

        impl $name {
            /// All values in the order of their declaration.
            $vis const ALL: [Self; [$( $text ),+].len()] = [$( Self::$variant, )+];

            /// Returns the value in tables.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::table::UnknownVariant;
            fn from_str(found: &str) -> ::std::result::Result<Self, Self::Err> {
                let unknown = || $crate::table::UnknownVariant { found: found.into(), variants: ::std::vec![$( $text, )+] };
                Self::ALL.iter().copied().find(|value| value.as_str() == found).ok_or_else(unknown)
            }
        }

        impl $crate::Column for $name {
            fn data_type() -> $crate::arrow::schema::DataType {
                $crate::arrow::schema::DataType::Utf8
            }
            fn default_value() -> Self {
                Self::default()
            }
            fn variants() -> &'static [(&'static str, &'static str)] {
                &[$( ($text, concat!($($doc),*)), )+]
            }
            fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> $crate::arrow::array::ArrayRef {
                ::std::sync::Arc::new($crate::arrow::array::StringArray::from_iter_values(values.map(|value| value.as_str())))
            }
            fn decode(array: &dyn $crate::arrow::array::Array) -> $crate::Result<Vec<Self>> {
                $crate::table::decode_variants(array)
            }
        }
    };
}
