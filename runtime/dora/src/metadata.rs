//! Conversion of message headers to dora metadata and back.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StructArray, UInt8Array};
use dora_node_api::{MetadataParameters, Parameter};
use sideline_api::{Body, Color, Encoding, Error, Frame, Header, Matrix, Message, Payload, Reason, Result};
use sideline_engine::CloseReason;

/// Returns the metadata of a message: keys with the prefix `sl_`, and `width`, `height` and `encoding` of frames by
/// dora's convention.
pub fn for_message(message: &Message) -> MetadataParameters {
    let header = &message.header;
    let mut parameters = MetadataParameters::default();
    let mut put = |key: &str, value| parameters.insert(key.to_owned(), value);
    put("sl_stream", Parameter::String(header.stream.to_string()));
    put("sl_session", Parameter::Integer(i64::from(header.session)));
    put("sl_frame", Parameter::Integer(header.frame as i64));
    put("sl_pts", Parameter::Integer(header.pts));
    put("sl_captured", Parameter::Integer(header.captured_at));
    put("sl_forgotten", Parameter::Integer(header.dropped as i64));
    put("sl_n", Parameter::Integer(message.n as i64));
    if header.is_closing {
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

/// Returns the metadata of a heartbeat on an output that has nothing to send.
pub fn for_heartbeat() -> MetadataParameters {
    MetadataParameters::from([("sl_kind".to_owned(), Parameter::String("beat".into()))])
}

/// Returns the metadata of the message that closes an output.
pub fn for_close(reason: CloseReason) -> MetadataParameters {
    MetadataParameters::from([
        ("sl_kind".to_owned(), Parameter::String("close".into())),
        ("sl_excused".to_owned(), Parameter::Bool(reason.excuses_missing_end())),
        ("sl_stopped".to_owned(), Parameter::Bool(reason == CloseReason::Stopped)),
    ])
}

fn close_reason(parameters: &MetadataParameters) -> CloseReason {
    let is_set = |key| flag(parameters, key).unwrap_or(false);
    match (is_set("sl_stopped"), is_set("sl_excused")) {
        (true, _) => CloseReason::Stopped,
        (false, true) => CloseReason::Foreign,
        (false, false) => CloseReason::Ended,
    }
}

/// Message of another Sideline node.
#[derive(Debug)]
pub enum Received {
    /// Message of the graph.
    Message(Message),
    /// Sign that the sender is alive, without data.
    Heartbeat,
    /// Last message of the input.
    Close(CloseReason),
}

fn integer(parameters: &MetadataParameters, key: &str) -> Result<i64> {
    match parameters.get(key) {
        Some(Parameter::Integer(value)) => Ok(*value),
        other => Err(invalid_key(key, other, "an integer")),
    }
}

/// Reads a count or a sequence number, which is never negative.
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
        other => Err(invalid_key(key, other, "text")),
    }
}

/// Returns the error for a key that is missing or has a value of another type.
fn invalid_key(key: &str, found: Option<&Parameter>, expected: &str) -> Error {
    let problem = if found.is_some() { format!("is not {expected}") } else { "is missing".into() };
    Error::other(format!("metadata key `{key}` {problem}: is the sender a node of the same version of Sideline?"))
}

fn flag(parameters: &MetadataParameters, key: &str) -> Option<bool> {
    match parameters.get(key) {
        Some(Parameter::Bool(value)) => Some(*value),
        _ => None,
    }
}

/// Parses a message of another Sideline node. `last_stream` is the stream name of the previous message on the input; it
/// is reused while the name is the same.
///
/// # Errors
/// When a key is missing or invalid, or the array is neither a frame nor a table.
pub fn parse_message(parameters: &MetadataParameters, data: &ArrayRef, last_stream: &mut Arc<str>) -> Result<Received> {
    match text(parameters, "sl_kind")? {
        "beat" => return Ok(Received::Heartbeat),
        "close" => return Ok(Received::Close(close_reason(parameters))),
        _ => {}
    }
    let stream = text(parameters, "sl_stream")?;
    if **last_stream != *stream {
        *last_stream = stream.into();
    }
    let header = Header {
        stream: last_stream.clone(),
        session: session(parameters)?,
        frame: count(parameters, "sl_frame")?,
        pts: integer(parameters, "sl_pts")?,
        captured_at: integer(parameters, "sl_captured")?,
        dropped: count(parameters, "sl_forgotten")?,
        is_closing: flag(parameters, "sl_closing").unwrap_or(false),
    };
    let body = match text(parameters, "sl_kind")? {
        "data" => Body::Data(parse_payload(parameters, data)?),
        "skipped" => Body::Skipped(Reason::from(text(parameters, "sl_reason")?)),
        "end" => Body::End { frames: count(parameters, "sl_frames")? },
        other => {
            return Err(Error::other(format!(
                "unknown kind of message `{other}`: is the sender a node of the same version of Sideline?"
            )));
        }
    };
    Ok(Received::Message(Message { header, n: count(parameters, "sl_n")?, body }))
}

/// Parses a frame, given by dora's convention with `width`, `height` and `encoding`, or a table.
///
/// # Errors
/// When the array is neither a frame nor a table.
pub fn parse_payload(parameters: &MetadataParameters, data: &ArrayRef) -> Result<Payload> {
    if let Some(table) = data.as_any().downcast_ref::<StructArray>() {
        return Ok(Payload::Table(Arc::new(table.clone())));
    }
    let Some(bytes) = data.as_any().downcast_ref::<UInt8Array>() else {
        return Err(Error::other(format!("an array of {} is neither a frame nor a table", data.data_type())));
    };
    let max_side = Frame::MAX_SIDE;
    let side = |key| match integer(parameters, key)? {
        pixels if (1..=i64::from(max_side)).contains(&pixels) => Ok(pixels as u32),
        other => {
            Err(Error::input(format!("metadata key `{key}`: {other} is not a number of pixels from 1 to {max_side}")))
        }
    };
    let (width, height) = (side("width")?, side("height")?);
    let encoding = Encoding::from_name(text(parameters, "encoding")?)
        .map_err(|error| Error::input(format!("metadata key `encoding`: {}", error.message)))?;
    let mut color = Color::default_for_height(height);
    if let Some(bt709) = flag(parameters, "sl_bt709") {
        color.matrix = if bt709 { Matrix::Bt709 } else { Matrix::Bt601 };
    }
    color.full_range = flag(parameters, "sl_full_range").unwrap_or(color.full_range);
    let frame = Frame::from_packed(width, height, encoding, color, bytes.values().inner().clone())?;
    Ok(Payload::Frame(Arc::new(frame)))
}

/// Returns true if the metadata of a foreign node's message name its frame.
pub fn has_frame_number(parameters: &MetadataParameters) -> bool {
    count(parameters, "sl_frame").is_ok()
}

/// Parses a message of a foreign node. Header fields in its metadata are used; missing ones are filled in on arrival:
/// `from` as the stream, `n` as the frame number, `now` as the times (ns). Returns `None` for an end, a heartbeat or a
/// close that the node relays with the metadata of a Sideline node, since these concern the edge of that node. Relayed
/// skips stay skips.
///
/// # Errors
/// When the array is neither a frame nor a table.
pub fn parse_foreign_message(
    parameters: &MetadataParameters,
    data: &ArrayRef,
    from: &str,
    n: u64,
    now: i64,
) -> Result<Option<Message>> {
    let body = match text(parameters, "sl_kind") {
        Ok("skipped") => Body::Skipped(Reason::from(text(parameters, "sl_reason").unwrap_or("none"))),
        Ok("end" | "beat" | "close") => return Ok(None),
        _ => Body::Data(parse_payload(parameters, data)?),
    };
    let header = Header {
        stream: text(parameters, "sl_stream").unwrap_or(from).into(),
        session: session(parameters).unwrap_or(0),
        frame: count(parameters, "sl_frame").unwrap_or(n),
        pts: integer(parameters, "sl_pts").unwrap_or(now),
        captured_at: integer(parameters, "sl_captured").unwrap_or(now),
        dropped: 0,
        is_closing: false,
    };
    Ok(Some(Message { header, n, body }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sideline_api::{Table, tables::Count};
    use sideline_testkit::{Random, fuzz};

    fn round_trip(body: Body, data: ArrayRef) -> Message {
        let closing = matches!(body, Body::End { .. });
        let header = Header { session: 2, captured_at: 4, dropped: 5, is_closing: closing, ..Header::new("cam", 7, 3) };
        let sent = Message { header: header.clone(), n: 9, body };
        let parsed = parse_message(&for_message(&sent), &data, &mut "".into()).unwrap();
        let Received::Message(received) = parsed else { panic!("not a message of the graph") };
        assert_eq!((&received.header, received.n, received.body.kind()), (&header, 9, sent.body.kind()));
        received
    }

    #[test]
    fn every_kind_of_message_survives_a_round_trip() {
        let empty: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let end = round_trip(Body::End { frames: 7 }, empty.clone());
        assert!(matches!(end.body, Body::End { frames: 7 }));
        assert!(matches!(parse_message(&for_heartbeat(), &empty, &mut "".into()).unwrap(), Received::Heartbeat));
        for reason in [CloseReason::Ended, CloseReason::Foreign, CloseReason::Stopped] {
            let parsed = parse_message(&for_close(reason), &empty, &mut "".into()).unwrap();
            assert!(matches!(parsed, Received::Close(received) if received == reason), "{reason:?}");
        }
        let skipped = round_trip(Body::Skipped("blurred".into()), empty);
        assert!(matches!(skipped.body, Body::Skipped(Reason::Other(word)) if &*word == "blurred"));
        let rows = Arc::new(Count::encode(&[Count { frames: 1, checksum: 2 }]));
        let table = round_trip(Body::Data(Payload::Table(rows.clone())), rows.clone());
        assert!(matches!(table.body, Body::Data(Payload::Table(received)) if received == rows));
        let color = Color { matrix: Matrix::Bt709, full_range: true };
        let bytes: Vec<u8> = (0..24).collect();
        let frame = Frame::from_packed(4, 4, Encoding::I420, color, bytes.clone()).unwrap();
        let sent = Body::Data(Payload::Frame(Arc::new(frame)));
        let received = round_trip(sent, Arc::new(UInt8Array::from(bytes.clone())));
        let Body::Data(Payload::Frame(frame)) = received.body else { panic!("a frame was sent") };
        assert_eq!((frame.color(), frame.plane(2).0), (color, &bytes[20..]));
    }

    #[test]
    fn missing_and_invalid_keys_are_named_and_filled_in_for_foreign_nodes() {
        let empty: ArrayRef = Arc::new(UInt8Array::from(vec![1u8]));
        let error = parse_message(&MetadataParameters::default(), &empty, &mut "".into()).unwrap_err();
        assert!(error.message.contains("`sl_kind` is missing"), "{error}");
        let mut parameters = MetadataParameters::default();
        parameters.insert("width".into(), Parameter::Integer(1));
        parameters.insert("height".into(), Parameter::Integer(1));
        parameters.insert("encoding".into(), Parameter::String("rgb8".into()));
        let pixel: ArrayRef = Arc::new(UInt8Array::from(vec![1u8, 2, 3]));
        let mut wrong = parameters.clone();
        wrong.insert("width".into(), Parameter::Integer(-1));
        assert!(parse_payload(&wrong, &empty).unwrap_err().message.contains("`width`: -1 is not a number of pixels"));
        let stamped = parse_foreign_message(&parameters, &pixel, "camera/image", 3, 99).unwrap().unwrap();
        assert_eq!(
            (stamped.header.frame, stamped.header.captured_at, &*stamped.header.stream),
            (3, 99, "camera/image")
        );
    }

    #[test]
    fn a_relayed_end_is_ignored_and_a_relayed_skip_stays_a_skip() {
        let empty: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let relayed = |body| for_message(&Message { header: Header::new("cam", 7, 3), n: 9, body });
        let end = parse_foreign_message(&relayed(Body::End { frames: 7 }), &empty, "py/out", 0, 99).unwrap();
        assert!(end.is_none(), "the end concerns the edge of the Sideline node");
        let skipped =
            parse_foreign_message(&relayed(Body::Skipped("blurred".into())), &empty, "py/out", 4, 99).unwrap().unwrap();
        assert!(matches!(skipped.body, Body::Skipped(_)) && skipped.n == 4 && skipped.header.frame == 7);
        let plain: ArrayRef = Arc::new(arrow_array::Float32Array::from(vec![1.0]));
        assert!(
            parse_foreign_message(&MetadataParameters::default(), &plain, "py/out", 0, 99).is_err(),
            "neither frame nor table"
        );
    }

    const KEYS: [&str; 18] = [
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
        "sl_stopped",
    ];

    /// Value that suits the key, or sometimes a value of any other type.
    fn odd_value(random: &mut Random, key: &str) -> Parameter {
        let text = match key {
            "sl_kind" => *random.pick(&["data", "skipped", "end", "beat", "close"]),
            "encoding" => random.pick(&Encoding::ALL).name(),
            _ => *random.pick(&["cam", "", "stride", "i420", "end"]),
        };
        let number = *random.pick(&[0, 1, 2, 4, 7, -1, 65_535, 65_536, 1 << 32, i64::MAX, i64::MIN]);
        let usual_type = match key {
            "sl_stream" | "sl_kind" | "sl_reason" | "encoding" => 0,
            "sl_bt709" | "sl_full_range" | "sl_closing" | "sl_excused" | "sl_stopped" => 2,
            _ => 1,
        };
        match if random.one_in(20) { random.below(6) } else { usual_type } {
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
            let own = parse_message(parameters, data, &mut "".into()).map(|received| match received {
                Received::Message(message) => Some(message),
                Received::Heartbeat | Received::Close(_) => None,
            });
            for parsed in [own, parse_foreign_message(parameters, data, "node/output", 3, 99)] {
                match parsed {
                    Ok(Some(Message { body: Body::Data(Payload::Frame(frame)), .. })) => {
                        assert!(frame.packed_len() <= data.len(), "a frame is not larger than its data");
                        let planes = frame.encoding().planes(frame.width() as usize, frame.height() as usize).len();
                        (0..planes.max(1)).for_each(|plane| drop(frame.plane(plane).0.to_vec()));
                        assert_eq!((*frame).clone().into_packed_mut().len(), frame.packed().unwrap().len());
                    }
                    Ok(message) => assert!(message.is_none_or(|message| !for_message(&message).is_empty())),
                    Err(error) => {
                        let named = KEYS.iter().any(|key| error.message.contains(&format!("`{key}`")));
                        let other = ["neither a frame nor a table", "needs", "kind of message"];
                        assert!(named || other.iter().any(|word| error.message.contains(word)), "{error}");
                    }
                }
            }
        });
    }

    #[test]
    fn numbers_out_of_range_are_refused_and_their_key_is_named() {
        let empty: ArrayRef = Arc::new(UInt8Array::from(Vec::<u8>::new()));
        let sent = for_message(&Message { header: Header::new("cam", 0, -5), n: 0, body: Body::End { frames: 3 } });
        assert!(parse_message(&sent, &empty, &mut "".into()).is_ok(), "times may be negative");
        for (key, value) in
            [("sl_frame", -1), ("sl_n", -1), ("sl_forgotten", i64::MIN), ("sl_session", 1 << 32), ("sl_frames", -3)]
        {
            let mut wrong = sent.clone();
            wrong.insert(key.into(), Parameter::Integer(value));
            let error = parse_message(&wrong, &empty, &mut "".into()).unwrap_err();
            assert!(error.message.contains(&format!("`{key}`: {value} is ")), "{error}");
        }
        let mut wrong = sent;
        wrong.insert("sl_pts".into(), Parameter::Float(1.5));
        let error = parse_message(&wrong, &empty, &mut "".into()).unwrap_err();
        assert!(error.message.contains("`sl_pts` is not an integer"), "{error}");
    }
}
