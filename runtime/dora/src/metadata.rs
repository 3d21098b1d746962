//! A message's header as dora metadata, and back.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StructArray, UInt8Array};
use dora_node_api::{MetadataParameters, Parameter};
use sideline_api::{Body, Color, Encoding, Error, Frame, Header, Matrix, Message, Payload, Reason, Result};

/// The metadata of a message; keys are `sl_...`, and dora's own convention for frames.
pub fn of(message: &Message) -> MetadataParameters {
    let header = &message.header;
    let mut parameters = MetadataParameters::default();
    let mut put = |key: &str, value| parameters.insert(key.to_owned(), value);
    put("sl_stream", Parameter::String(header.stream.to_string()));
    put("sl_session", Parameter::Integer(i64::from(header.session)));
    put("sl_frame", Parameter::Integer(header.frame as i64));
    put("sl_pts", Parameter::Integer(header.pts));
    put("sl_captured", Parameter::Integer(header.captured));
    put("sl_forgotten", Parameter::Integer(header.forgotten as i64));
    put("sl_n", Parameter::Integer(message.n as i64));
    if header.closing {
        put("sl_closing", Parameter::Bool(true));
    }
    put("sl_kind", Parameter::String(message.body.kind().into()));
    match &message.body {
        Body::Skipped(reason) => {
            put("sl_reason", Parameter::String(reason.to_string()));
        }
        Body::Data(Payload::Frame(frame)) => {
            put("width", Parameter::Integer(i64::from(frame.width())));
            put("height", Parameter::Integer(i64::from(frame.height())));
            put("encoding", Parameter::String(frame.encoding().name().into()));
            put("sl_bt709", Parameter::Bool(frame.color().matrix == Matrix::Bt709));
            put("sl_full_range", Parameter::Bool(frame.color().full_range));
        }
        Body::End { frames } => {
            put("sl_frames", Parameter::Integer(*frames as i64));
        }
        Body::Data(Payload::Table(_)) => {}
    }
    parameters
}

/// The metadata of a sign of life on an output that has nothing to send.
pub fn beat() -> MetadataParameters {
    MetadataParameters::from([("sl_kind".to_owned(), Parameter::String("beat".into()))])
}

/// The metadata of the last message of an output.
pub fn close(excused: bool) -> MetadataParameters {
    MetadataParameters::from([
        ("sl_kind".to_owned(), Parameter::String("close".into())),
        ("sl_excused".to_owned(), Parameter::Bool(excused)),
    ])
}

/// A message of one of our nodes.
#[derive(Debug)]
pub enum Received {
    /// A message of the graph.
    Message(Message),
    /// A sign of life.
    Beat,
    /// Nothing more comes on this input.
    Close {
        /// The run is being stopped: a missing end is no failure.
        excused: bool,
    },
}

fn integer(parameters: &MetadataParameters, key: &str) -> Result<i64> {
    match parameters.get(key) {
        Some(Parameter::Integer(value)) => Ok(*value),
        other => Err(unfit(key, other, "an integer")),
    }
}

/// A number of frames or messages, or a frame's own number: never below 0.
fn count(parameters: &MetadataParameters, key: &str) -> Result<u64> {
    let value = integer(parameters, key)?;
    u64::try_from(value).map_err(|_| Error::other(format!("metadata key `{key}`: {value} is below 0")))
}

fn session(parameters: &MetadataParameters) -> Result<u32> {
    let value = integer(parameters, "sl_session")?;
    u32::try_from(value)
        .map_err(|_| Error::other(format!("metadata key `sl_session`: {value} is not from 0 to {}", u32::MAX)))
}

fn text<'a>(parameters: &'a MetadataParameters, key: &str) -> Result<&'a str> {
    match parameters.get(key) {
        Some(Parameter::String(value)) => Ok(value),
        other => Err(unfit(key, other, "text")),
    }
}

/// The error of a key that is missing or holds a value of another type.
fn unfit(key: &str, found: Option<&Parameter>, expected: &str) -> Error {
    let problem = if found.is_some() { format!("is not {expected}") } else { "is missing".into() };
    Error::other(format!("metadata key `{key}` {problem}: is the sender a node of this version?"))
}

fn flag(parameters: &MetadataParameters, key: &str) -> Option<bool> {
    match parameters.get(key) {
        Some(Parameter::Bool(value)) => Some(*value),
        _ => None,
    }
}

/// Reads what came with this metadata. `same` is the stream name of the last message, shared when it is the same again.
///
/// # Errors
/// Names the key that is missing, or the array type that is neither frame nor table.
pub fn read(parameters: &MetadataParameters, data: &ArrayRef, same: &mut Arc<str>) -> Result<Received> {
    match text(parameters, "sl_kind")? {
        "beat" => return Ok(Received::Beat),
        "close" => return Ok(Received::Close { excused: flag(parameters, "sl_excused").unwrap_or(false) }),
        _ => {}
    }
    let stream = text(parameters, "sl_stream")?;
    if **same != *stream {
        *same = stream.into();
    }
    let header = Header {
        stream: same.clone(),
        session: session(parameters)?,
        frame: count(parameters, "sl_frame")?,
        pts: integer(parameters, "sl_pts")?,
        captured: integer(parameters, "sl_captured")?,
        forgotten: count(parameters, "sl_forgotten")?,
        closing: flag(parameters, "sl_closing").unwrap_or(false),
    };
    let body = match text(parameters, "sl_kind")? {
        "data" => Body::Data(payload(parameters, data)?),
        "skipped" => Body::Skipped(Reason::from(text(parameters, "sl_reason")?)),
        "end" => Body::End { frames: count(parameters, "sl_frames")? },
        other => return Err(Error::other(format!("a message of kind `{other}` is not known to this version"))),
    };
    Ok(Received::Message(Message { header, n: count(parameters, "sl_n")?, body }))
}

/// A frame, by dora's convention of `width`, `height`, `encoding`; or a table.
///
/// # Errors
/// When it is neither.
pub fn payload(parameters: &MetadataParameters, data: &ArrayRef) -> Result<Payload> {
    if let Some(table) = data.as_any().downcast_ref::<StructArray>() {
        return Ok(Payload::Table(Arc::new(table.clone())));
    }
    let Some(bytes) = data.as_any().downcast_ref::<UInt8Array>() else {
        return Err(Error::other(format!("an array of {} is neither a frame nor a table", data.data_type())));
    };
    let most = Frame::MAX_SIDE;
    let side = |key| match integer(parameters, key)? {
        pixels if (1..=i64::from(most)).contains(&pixels) => Ok(pixels as u32),
        other => Err(Error::input(format!("metadata key `{key}`: {other} is not a number of pixels from 1 to {most}"))),
    };
    let (width, height) = (side("width")?, side("height")?);
    let encoding = Encoding::from_name(text(parameters, "encoding")?)
        .map_err(|error| Error::input(format!("metadata key `encoding`: {}", error.message)))?;
    let mut color = Color::assumed(height);
    if let Some(bt709) = flag(parameters, "sl_bt709") {
        color.matrix = if bt709 { Matrix::Bt709 } else { Matrix::Bt601 };
    }
    color.full_range = flag(parameters, "sl_full_range").unwrap_or(color.full_range);
    let frame = Frame::from_packed(width, height, encoding, color, bytes.values().inner().clone())?;
    Ok(Payload::Frame(Arc::new(frame)))
}

/// Reads the message of a foreign node: the parts of a header that it passes on are used, the rest is stamped on arrival. A
/// node that passes on the metadata of ours sends skips as they are; an end, a sign of life and a close are about our edge, not
/// about its own, and give nothing.
///
/// # Errors
/// When the array is neither frame nor table.
pub fn foreign(
    parameters: &MetadataParameters,
    data: &ArrayRef,
    from: &str,
    n: u64,
    now: i64,
) -> Result<Option<Message>> {
    let body = match text(parameters, "sl_kind") {
        Ok("skipped") => Body::Skipped(Reason::from(text(parameters, "sl_reason").unwrap_or("none"))),
        Ok("end" | "beat" | "close") => return Ok(None),
        _ => Body::Data(payload(parameters, data)?),
    };
    let header = Header {
        stream: text(parameters, "sl_stream").unwrap_or(from).into(),
        session: session(parameters).unwrap_or(0),
        frame: count(parameters, "sl_frame").unwrap_or(n),
        pts: integer(parameters, "sl_pts").unwrap_or(now),
        captured: integer(parameters, "sl_captured").unwrap_or(now),
        forgotten: 0,
        closing: false,
    };
    Ok(Some(Message { header, n, body }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Table, tables::Count};
    use sideline_testkit::{Random, fuzz};

    fn there_and_back(body: Body, data: ArrayRef) -> Message {
        let closing = matches!(body, Body::End { .. });
        let header = Header { session: 2, captured: 4, forgotten: 5, closing, ..Header::new("cam", 7, 3) };
        let sent = Message { header: header.clone(), n: 9, body };
        let Received::Message(came) = read(&of(&sent), &data, &mut "".into()).unwrap() else { panic!("a message") };
        assert_eq!((&came.header, came.n, came.body.kind()), (&header, 9, sent.body.kind()));
        came
    }

    #[test]
    fn every_kind_survives() {
        let nothing: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let end = there_and_back(Body::End { frames: 7 }, nothing.clone());
        assert!(matches!(end.body, Body::End { frames: 7 }));
        assert!(matches!(read(&beat(), &nothing, &mut "".into()).unwrap(), Received::Beat));
        assert!(matches!(read(&close(true), &nothing, &mut "".into()).unwrap(), Received::Close { excused: true }));
        let skipped = there_and_back(Body::Skipped("blurred".into()), nothing);
        assert!(matches!(skipped.body, Body::Skipped(Reason::Other(word)) if &*word == "blurred"));
        let rows = Arc::new(Count::encode(&[Count { frames: 1, checksum: 2 }]));
        let table = there_and_back(Body::Data(Payload::Table(rows.clone())), rows.clone());
        assert!(matches!(table.body, Body::Data(Payload::Table(came)) if came == rows));
        let color = Color { matrix: Matrix::Bt709, full_range: true };
        let bytes: Vec<u8> = (0..24).collect();
        let frame = Frame::from_packed(4, 4, Encoding::I420, color, bytes.clone()).unwrap();
        let sent = Body::Data(Payload::Frame(Arc::new(frame)));
        let came = there_and_back(sent, Arc::new(UInt8Array::from(bytes.clone())));
        let Body::Data(Payload::Frame(came)) = came.body else { panic!("a frame was sent") };
        assert_eq!((came.color(), came.plane(2).0), (color, &bytes[20..]));
    }

    #[test]
    fn a_message_without_a_header_is_named() {
        let nothing: ArrayRef = Arc::new(UInt8Array::from(vec![1u8]));
        let error = read(&MetadataParameters::default(), &nothing, &mut "".into()).unwrap_err();
        assert!(error.message.contains("`sl_kind` is missing"), "{error}");
        let mut parameters = MetadataParameters::default();
        parameters.insert("width".into(), Parameter::Integer(1));
        parameters.insert("height".into(), Parameter::Integer(1));
        parameters.insert("encoding".into(), Parameter::String("rgb8".into()));
        let pixel: ArrayRef = Arc::new(UInt8Array::from(vec![1u8, 2, 3]));
        let mut wrong = parameters.clone();
        wrong.insert("width".into(), Parameter::Integer(-1));
        assert!(payload(&wrong, &nothing).unwrap_err().message.contains("`width`: -1 is not a number of pixels"));
        let stamped = foreign(&parameters, &pixel, "camera/image", 3, 99).unwrap().unwrap();
        assert_eq!((stamped.header.frame, stamped.header.captured, &*stamped.header.stream), (3, 99, "camera/image"));
    }

    #[test]
    fn ends_and_skips_that_a_foreign_node_relays_are_no_frames() {
        let nothing: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let relayed = |body| of(&Message { header: Header::new("cam", 7, 3), n: 9, body });
        let end = foreign(&relayed(Body::End { frames: 7 }), &nothing, "py/out", 0, 99).unwrap();
        assert!(end.is_none(), "it is the end of our edge");
        let skipped = foreign(&relayed(Body::Skipped("blurred".into())), &nothing, "py/out", 4, 99).unwrap().unwrap();
        assert!(matches!(skipped.body, Body::Skipped(_)) && skipped.n == 4 && skipped.header.frame == 7);
        let plain: ArrayRef = Arc::new(arrow_array::Float32Array::from(vec![1.0]));
        assert!(foreign(&MetadataParameters::default(), &plain, "py/out", 0, 99).is_err(), "neither frame nor table");
    }

    const KEYS: [&str; 17] = [
        "sl_stream",
        "sl_session",
        "sl_frame",
        "sl_pts",
        "sl_captured",
        "sl_forgotten",
        "sl_n",
        "sl_kind",
        "sl_reason",
        "width",
        "height",
        "encoding",
        "sl_bt709",
        "sl_full_range",
        "sl_frames",
        "sl_closing",
        "sl_excused",
    ];

    /// What a message of this version has, or anything else.
    fn odd_value(random: &mut Random, key: &str) -> Parameter {
        let text = match key {
            "sl_kind" => *random.pick(&["data", "skipped", "end", "beat", "close"]),
            "encoding" => random.pick(&Encoding::ALL).name(),
            _ => *random.pick(&["cam", "", "stride", "i420", "end"]),
        };
        let number = *random.pick(&[0, 1, 2, 4, 7, -1, 65_535, 65_536, 1 << 32, i64::MAX, i64::MIN]);
        let usual = match key {
            "sl_stream" | "sl_kind" | "sl_reason" | "encoding" => 0,
            "sl_bt709" | "sl_full_range" | "sl_closing" | "sl_excused" => 2,
            _ => 1,
        };
        match if random.one_in(20) { random.below(6) } else { usual } {
            0 => Parameter::String(text.into()),
            1 => Parameter::Integer(number),
            2 => Parameter::Bool(random.one_in(2)),
            3 => Parameter::Float(f64::NAN),
            4 => Parameter::ListInt(vec![number; 3]),
            _ => Parameter::ListString(vec![text.into()]),
        }
    }

    fn odd_message(random: &mut Random) -> (MetadataParameters, ArrayRef) {
        let mut parameters = MetadataParameters::default();
        for key in KEYS {
            if !random.one_in(40) {
                parameters.insert(key.to_owned(), odd_value(random, key));
            }
        }
        let length = *random.pick(&[0, 1, 2, 3, 24, 5000]);
        let data: ArrayRef = match random.below(5) {
            0 => Arc::new(Count::encode(&[Count { frames: 1, checksum: 2 }])),
            1 => Arc::new(arrow_array::Int64Array::from(vec![1; length])),
            2 => Arc::new(UInt8Array::from(vec![None::<u8>; length])),
            3 => Arc::new(UInt8Array::from(vec![9u8; length + 3]).slice(3, length)),
            _ => Arc::new(UInt8Array::from(vec![9u8; length])),
        };
        (parameters, data)
    }

    #[test]
    fn fuzz_metadata() {
        fuzz::values("metadata", odd_message, |(parameters, data)| {
            let ours = read(parameters, data, &mut "".into()).map(|received| match received {
                Received::Message(message) => Some(message),
                Received::Beat | Received::Close { .. } => None,
            });
            for read in [ours, foreign(parameters, data, "node/output", 3, 99)] {
                match read {
                    Ok(Some(Message { body: Body::Data(Payload::Frame(frame)), .. })) => {
                        assert!(frame.packed_len() <= data.len(), "a frame is of the bytes that came");
                        let planes = frame.encoding().planes(frame.width() as usize, frame.height() as usize).len();
                        (0..planes.max(1)).for_each(|plane| drop(frame.plane(plane).0.to_vec()));
                        assert_eq!((*frame).clone().into_packed_mut().len(), frame.packed().unwrap().len());
                    }
                    Ok(message) => assert!(message.is_none_or(|message| !of(&message).is_empty())),
                    Err(error) => {
                        let named = KEYS.iter().any(|key| error.message.contains(&format!("`{key}`")));
                        let other = ["neither a frame nor a table", "needs", "of kind"];
                        assert!(named || other.iter().any(|word| error.message.contains(word)), "{error}");
                    }
                }
            }
        });
    }

    #[test]
    fn a_number_that_cannot_be_is_refused_by_its_key() {
        let nothing: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let sent = of(&Message { header: Header::new("cam", 0, -5), n: 0, body: Body::End { frames: 3 } });
        assert!(read(&sent, &nothing, &mut "".into()).is_ok(), "times may be below 0");
        for (key, value) in
            [("sl_frame", -1), ("sl_n", -1), ("sl_forgotten", i64::MIN), ("sl_session", 1 << 32), ("sl_frames", -3)]
        {
            let mut wrong = sent.clone();
            wrong.insert(key.into(), Parameter::Integer(value));
            let error = read(&wrong, &nothing, &mut "".into()).unwrap_err();
            assert!(error.message.contains(&format!("`{key}`: {value} is ")), "{error}");
        }
        let mut wrong = sent;
        wrong.insert("sl_pts".into(), Parameter::Float(1.5));
        let error = read(&wrong, &nothing, &mut "".into()).unwrap_err();
        assert!(error.message.contains("`sl_pts` is not an integer"), "{error}");
    }
}
