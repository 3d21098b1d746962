//! Logging: one JSON object per line, to the file named by LOG_FILE or to standard error. LOG_LEVEL is off, error, warn (the
//! default), info, debug or trace.

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use sideline_api::{Error, Failure, OrFail, Result};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, writer::BoxMakeWriter},
    util::SubscriberInitExt,
};

use crate::print::printable;

/// Starts logging for the process.
///
/// # Errors
/// If LOG_LEVEL is not a level, or LOG_FILE cannot be opened.
pub fn start() -> Result<()> {
    let configured = std::env::var("LOG_LEVEL").ok();
    let level = configured.as_deref().unwrap_or("warn").to_lowercase();
    if !["error", "warn", "info", "debug", "trace", "off"].contains(&level.as_str()) {
        return Err(Error::config(format!("LOG_LEVEL={level}: must be one of off, error, warn, info, debug, trace")));
    }
    // Libraries log one level less, except where debug or trace is configured.
    let mut filter = match level.as_str() {
        "debug" | "trace" => format!("{level},zenoh=warn,zenoh_transport=warn,ort=info,dora_node_api=warn"),
        _ => format!("{level},zenoh=error,zenoh_transport=error,zenoh_link=error,ort=warn,dora_node_api=error"),
    };
    // The failure that ends a run is printed at the end, so by default it is not logged to the terminal, too.
    if configured.is_none() && std::env::var_os("LOG_FILE").is_none() {
        filter += ",sideline::failure=off";
    }
    let writer = match std::env::var_os("LOG_FILE") {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .or_fail(Failure::Config, || format!("LOG_FILE={}", path.display()))?;
            BoxMakeWriter::new(RedactingWriter(Box::new(move || Ok(Box::new(file.try_clone()?) as Box<dyn Write>))))
        }
        None => BoxMakeWriter::new(RedactingWriter(Box::new(|| Ok(Box::new(io::stderr()) as Box<dyn Write>)))),
    };
    subscriber(&filter, writer).try_init().or_fail(Failure::Config, || "logging")
}

/// Returns a subscriber that writes JSON lines. From the level `info` on, a line that an operator logs has the fields of its
/// call, the node, the stream and the frame, in the object `span`.
fn subscriber(filter: &str, writer: BoxMakeWriter) -> impl SubscriberInitExt + Subscriber + Send + Sync {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(writer)
        .finish()
}

/// Writer of log lines that redacts the secrets of addresses, also in the lines of libraries.
struct RedactingWriter(Box<dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync>);

impl<'a> MakeWriter<'a> for RedactingWriter {
    type Writer = EventBuffer<'a>;

    fn make_writer(&'a self) -> EventBuffer<'a> {
        EventBuffer { open: &self.0, bytes: vec![] }
    }
}

/// Buffer of one event, which is written when it is complete: an address may be split over several writes.
struct EventBuffer<'a> {
    open: &'a (dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync),
    bytes: Vec<u8>,
}

impl Write for EventBuffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        // In a single write, since several processes may log to one file.
        (self.open)()?.write_all(printable(&String::from_utf8_lossy(&bytes)).as_bytes())
    }
}

impl Drop for EventBuffer<'_> {
    fn drop(&mut self) {
        // A run does not end because its log cannot be written.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use serde_json::{Value, json};
    use sideline_api::{
        Config, Context, Inputs, Operator, Outputs, PortType, Resources, Spec, tables::Count, testing::Harness,
    };

    use super::*;

    /// Operator that logs a warning in each of its methods.
    #[derive(Clone, Config)]
    struct TalkConfig {}
    struct Talk;

    impl Operator for Talk {
        type Config = TalkConfig;
        type State = ();
        fn spec() -> Spec {
            Spec::operator("talk").required("counts", PortType::table::<Count>())
        }
        fn new(_: TalkConfig, _: &Resources) -> Result<Self> {
            tracing::warn!("new");
            Ok(Talk)
        }
        fn process(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
            tracing::warn!("process");
            Ok(())
        }
        fn stream_ended(&mut self, _: &Context, _: &Inputs, (): &mut (), _: &mut Outputs) -> Result<()> {
            tracing::warn!("end");
            Ok(())
        }
        fn close(&mut self) -> Result<()> {
            tracing::warn!("close");
            Ok(())
        }
    }

    #[test]
    fn a_line_of_an_operator_carries_its_node_stream_and_frame() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        tracing::subscriber::with_default(subscriber("info", BoxMakeWriter::new(File::create(&path).unwrap())), || {
            let mut talk = Harness::<Talk>::new(sideline_api::Values::new()).unwrap();
            (0..2).for_each(|_| talk.push("counts", &[Count { frames: 0, checksum: 0 }]).unwrap());
            talk.end().unwrap();
            talk.close().unwrap();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let spans: Vec<(&str, &Value)> =
            lines.iter().map(|line| (line["message"].as_str().unwrap(), &line["span"])).collect();
        let (call, node) = (
            |frame| json!({"name": "call", "node": "talk", "stream": "test", "frame": frame}),
            json!({"name": "node", "node": "talk"}),
        );
        let end = json!({"name": "call", "node": "talk", "stream": "test"});
        assert_eq!(
            spans,
            [("new", &node), ("process", &call(0)), ("process", &call(1)), ("end", &end), ("close", &node)]
        );
    }

    #[test]
    fn an_event_is_written_as_one_line_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("log")).unwrap();
        let log = RedactingWriter(Box::new(move || Ok(Box::new(file.try_clone()?) as Box<dyn Write>)));
        let mut line = log.make_writer();
        for part in ["{\"source\":\"rtmp://u:pass", "word@h/live/key\"", "}\n"] {
            line.write_all(part.as_bytes()).unwrap();
        }
        drop(line);
        log.make_writer().write_all(b"{}\n").unwrap();
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert_eq!(text, "{\"source\":\"rtmp://***@h/live/***\"}\n{}\n");
    }
}
