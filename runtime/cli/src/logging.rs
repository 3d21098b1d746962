//! Logs: one JSON object a line, to the file that LOG_FILE names or to standard error; LOG_LEVEL is error, warn (the
//! default), info, debug or trace.

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use sideline_api::{Error, Failure, OrFail, Result};
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, writer::BoxMakeWriter},
};

use crate::print::printable;

/// Starts logging for the process.
///
/// # Errors
/// When LOG_LEVEL is no level or LOG_FILE cannot be opened.
pub fn start() -> Result<()> {
    let asked = std::env::var("LOG_LEVEL").ok();
    let level = asked.as_deref().unwrap_or("warn").to_lowercase();
    if !["error", "warn", "info", "debug", "trace", "off"].contains(&level.as_str()) {
        return Err(Error::config(format!("LOG_LEVEL={level}: one of off, error, warn, info, debug, trace")));
    }
    // The libraries' own stories are for those who ask for them.
    let mut filter = match level.as_str() {
        "debug" | "trace" => format!("{level},zenoh=warn,zenoh_transport=warn,ort=info,dora_node_api=warn"),
        _ => format!("{level},zenoh=error,zenoh_transport=error,zenoh_link=error,ort=warn,dora_node_api=error"),
    };
    // What ended the run is printed as its last words: once is enough for who watches.
    if asked.is_none() && std::env::var_os("LOG_FILE").is_none() {
        filter += ",sideline::failure=off";
    }
    let writer = match std::env::var_os("LOG_FILE") {
        Some(path) => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .or_fail(Failure::Config, || format!("LOG_FILE={}", path.display()))?;
            BoxMakeWriter::new(Concealing(Box::new(move || Ok(Box::new(file.try_clone()?) as Box<dyn Write>))))
        }
        None => BoxMakeWriter::new(Concealing(Box::new(|| Ok(Box::new(io::stderr()) as Box<dyn Write>)))),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(writer)
        .try_init()
        .or_fail(Failure::Config, || "logging")
}

/// Writes lines without the secrets of the addresses in them, whoever logged them.
struct Concealing(Box<dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync>);

impl<'a> MakeWriter<'a> for Concealing {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { to: &self.0, bytes: vec![] }
    }
}

/// One event; it is written when it is whole.
struct Line<'a> {
    to: &'a (dyn Fn() -> io::Result<Box<dyn Write>> + Send + Sync),
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        // In one write: lines of several processes go to one file.
        (self.to)()?.write_all(printable(&String::from_utf8_lossy(&bytes)).as_bytes())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        // A log that cannot be written is no reason to end a run.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_line_is_written_whole_and_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("log")).unwrap();
        let log = Concealing(Box::new(move || Ok(Box::new(file.try_clone()?) as Box<dyn Write>)));
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
