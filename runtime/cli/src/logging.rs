//! Logs: one JSON object a line, to the file that LOG_FILE names or to standard error; LOG_LEVEL is error, warn (the
//! default), info, debug or trace.

use std::{fs::OpenOptions, sync::Mutex};

use sideline_api::{Error, Failure, OrFail, Result};
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter};

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
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(writer)
        .try_init()
        .or_fail(Failure::Config, || "logging")
}
