//! Inputs for an operator that are made from nothing but the types of its ports.

use std::sync::Arc;

use sideline_api::{
    Body, Color, Encoding, Frame, Payload, Plane, PortType, Random,
    arrow::{
        array::{
            Array, ArrayRef, BooleanArray, FixedSizeListArray, ListArray, PrimitiveArray, StringArray, StructArray,
            types::{
                ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
                UInt16Type, UInt32Type, UInt64Type,
            },
        },
        buffer::{NullBuffer, OffsetBuffer},
        schema::{DataType, Field, Fields},
    },
    table::ColumnDescription,
};

/// Words in columns of text: names of teams, phases and joints as they occur in tables, and texts that do not.
const WORDS: [&str; 8] = ["left", "right", "home", "away", "jab", "", "a b", "Zoë"];

/// Character of generated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Values as they occur.
    Ordinary,
    /// Values at the limits of their types: NaN, infinity, the greatest numbers, long texts.
    Extreme,
}

/// Returns a body for a port: a synthetic frame, or random rows.
pub fn body(ty: &PortType, flavor: Flavor, frame: u64, random: &mut Random) -> Body {
    Body::Data(match ty {
        PortType::Frame => Payload::Frame(Arc::new(picture(flavor, frame, random))),
        PortType::Table(table) => {
            let count = random.below(4);
            let description = table.description();
            Payload::Table(Arc::new(rows(&description.fields, &description.columns, count, flavor, random)))
        }
        PortType::Any => Payload::Frame(Arc::new(picture(flavor, frame, random))),
    })
}

/// Returns a picture with a moving bright square. Extreme ones have odd sizes and any encoding.
fn picture(flavor: Flavor, number: u64, random: &mut Random) -> Frame {
    let (width, height, encoding) = match flavor {
        Flavor::Ordinary => (64, 48, Encoding::I420),
        Flavor::Extreme => {
            let sizes = [(1, 1), (3, 3), (17, 9), (2, 65), (640, 1)];
            let (width, height) = sizes[random.below(sizes.len())];
            (width, height, Encoding::ALL[random.below(Encoding::ALL.len())])
        }
    };
    let planes = encoding.planes(width as usize, height as usize);
    let mut bytes: Vec<u8> = planes.iter().flat_map(|(row, rows)| vec![110; row * rows]).collect();
    if encoding == Encoding::Jpeg {
        bytes = vec![0xff, 0xd8, 0xff, 0xd9];
    }
    if let Some((row, rows)) = planes.first() {
        for y in 0..(*rows).min(16) {
            for x in 0..(*row).min(16) {
                bytes[y * row + (x + 2 * number as usize) % row] = 230;
            }
        }
    }
    let color = Color::default_for_height(height);
    let frame = match Frame::from_packed(width, height, encoding, color, bytes) {
        Ok(frame) => frame,
        // The sizes above are valid.
        Err(error) => unreachable!("{error}"),
    };
    // Half of the extreme frames have padded rows, as a decoder stores them.
    match flavor == Flavor::Extreme && random.below(2) == 0 {
        true => padded_frame(&frame).unwrap_or(frame),
        false => frame,
    }
}

/// Returns a body with the same pixels in planes with padded rows; `None` for a body without a frame and for a JPEG image.
pub fn padded(body: &Body) -> Option<Body> {
    let Body::Data(Payload::Frame(frame)) = body else { return None };
    padded_frame(frame).map(|padded| Body::Data(Payload::Frame(Arc::new(padded))))
}

fn padded_frame(frame: &Frame) -> Option<Frame> {
    let (width, height) = (frame.width(), frame.height());
    let sizes = frame.encoding().planes(width as usize, height as usize);
    let planes = sizes.iter().enumerate().map(|(i, (row, rows))| {
        let stride = row + 32 - row % 16;
        // The last row has no padding.
        let mut data = vec![PADDING; stride * (rows - 1) + row];
        for (to, from) in data.chunks_mut(stride).zip(frame.rows(i)) {
            to[..*row].copy_from_slice(from);
        }
        Plane { data: data.into(), stride }
    });
    Frame::from_planes(width, height, frame.encoding(), frame.color(), planes.collect()).ok()
}

/// Value of padding, which no pixel has.
const PADDING: u8 = 7;

/// Returns random rows with these columns. Ordinary rows have valid values in enum columns.
pub fn rows(
    fields: &Fields,
    columns: &[ColumnDescription],
    count: usize,
    flavor: Flavor,
    random: &mut Random,
) -> StructArray {
    if fields.is_empty() {
        return StructArray::new_empty_fields(count, None);
    }
    let columns = fields.iter().map(|field| {
        let description = columns.iter().find(|column| column.name == *field.name());
        column(field, description, count, flavor, random)
    });
    StructArray::new(fields.clone(), columns.collect(), None)
}

fn column(
    field: &Field,
    description: Option<&ColumnDescription>,
    count: usize,
    flavor: Flavor,
    random: &mut Random,
) -> ArrayRef {
    let (data_type, nullable) = (field.data_type(), field.is_nullable());
    let nulls = nullable.then(|| NullBuffer::from_iter((0..count).map(|_| random.below(4) > 0)));
    let is_extreme = flavor == Flavor::Extreme;
    macro_rules! integers {
        ($arrow:ty, $native:ty) => {{
            let extremes = [<$native>::MIN, <$native>::MAX, 0];
            let value = |random: &mut Random| match is_extreme {
                true => extremes[random.below(3)],
                // Few values, so that rows of a track or a frame meet again.
                false => random.below(4) as $native,
            };
            primitive::<$arrow>((0..count).map(|_| value(random)).collect(), nulls)
        }};
    }
    macro_rules! numbers {
        ($arrow:ty, $native:ty) => {{
            let extremes = [<$native>::NAN, <$native>::INFINITY, <$native>::NEG_INFINITY, <$native>::MAX, 0.0, -1.0];
            let value = |random: &mut Random| match is_extreme {
                true => extremes[random.below(extremes.len())],
                false => (random.below(6400) as $native) / 100.0,
            };
            primitive::<$arrow>((0..count).map(|_| value(random)).collect(), nulls)
        }};
    }
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::new((0..count).map(|_| random.below(2) > 0).collect(), nulls)),
        DataType::Int8 => integers!(Int8Type, i8),
        DataType::UInt8 => integers!(UInt8Type, u8),
        DataType::Int16 => integers!(Int16Type, i16),
        DataType::UInt16 => integers!(UInt16Type, u16),
        DataType::Int32 => integers!(Int32Type, i32),
        DataType::UInt32 => integers!(UInt32Type, u32),
        DataType::Int64 => integers!(Int64Type, i64),
        DataType::UInt64 => integers!(UInt64Type, u64),
        DataType::Float32 => numbers!(Float32Type, f32),
        DataType::Float64 => numbers!(Float64Type, f64),
        DataType::Utf8 => {
            let long = "long ".repeat(200);
            let variants: Vec<&str> =
                description.map_or(vec![], |column| column.variants.iter().map(|(value, _)| &**value).collect());
            let words = if variants.is_empty() { &WORDS[..] } else { &variants };
            let text = |random: &mut Random| if is_extreme { &*long } else { words[random.below(words.len())] };
            let texts: Vec<&str> = (0..count).map(|_| text(random)).collect();
            let texts = StringArray::from(texts);
            Arc::new(StringArray::new(texts.offsets().clone(), texts.values().clone(), nulls))
        }
        DataType::FixedSizeList(item, size) => {
            let items = column(item, description, count * *size as usize, flavor, random);
            Arc::new(FixedSizeListArray::new(item.clone(), *size, items, nulls))
        }
        DataType::List(item) => {
            let lengths: Vec<usize> = (0..count).map(|_| random.below(5)).collect();
            let items = column(item, description, lengths.iter().sum(), flavor, random);
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), items, nulls))
        }
        DataType::Struct(fields) => {
            let inner = description.map_or(&[][..], |column| &column.columns);
            let columns = rows(fields, inner, count, flavor, random);
            Arc::new(StructArray::new(fields.clone(), columns.columns().to_vec(), nulls))
        }
        other => sideline_api::arrow::array::new_null_array(other, count),
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}

/// Returns true if two bodies are equal byte for byte.
pub fn is_equal(a: &Body, b: &Body) -> bool {
    match (a, b) {
        (Body::Data(Payload::Table(a)), Body::Data(Payload::Table(b))) => a.to_data() == b.to_data(),
        (Body::Data(Payload::Frame(a)), Body::Data(Payload::Frame(b))) => {
            let bytes = |frame: &Frame| frame.clone().into_packed_mut();
            let size = |frame: &Frame| (frame.width(), frame.height(), frame.encoding());
            size(a) == size(b) && bytes(a) == bytes(b)
        }
        (Body::Skipped(a), Body::Skipped(b)) => a == b,
        (Body::End { frames: a }, Body::End { frames: b }) => a == b,
        _ => false,
    }
}
