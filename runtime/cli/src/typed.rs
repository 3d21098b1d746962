//! Files named in a shell are seen from the working directory first, whatever lies beside the flow. What a flow names is looked
//! for beside it first, as ever.

use std::path::{Path, is_separator};

use serde_json::Value;
use sideline_api::address::is_address;

/// Keys of operators that name a file, or another thing: a camera, an address, a model of the catalogue.
const FILE_KEYS: [&str; 6] = ["source", "model", "labels", "weights", "vocabulary", "calibration"];
/// The key that names several, as `[PATH, NAME=PATH]`.
const LIST: &str = "sources";

/// A source as it was typed: from the root where it is there, seen from the working directory. Otherwise it is looked for as
/// one that the flow names.
pub fn source(text: &str) -> String {
    let path = Path::new(text);
    // An address is no file, also where a folder `http:` lies about.
    if is_address(text) || text.is_empty() || path.is_absolute() || !path.exists() {
        return text.to_owned();
    }
    let rooted = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    rooted.unwrap_or_else(|| text.to_owned())
}

/// The value of a `--set`, with the files that it names.
pub fn value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if key == "source" => source(text).into(),
        // Of the others a bare word is the name of something known.
        Value::String(text) if FILE_KEYS.contains(&key) && text.contains(|c| c == '.' || is_separator(c)) => {
            source(text).into()
        }
        Value::String(text) if key == LIST => match list(text) {
            Some(entries) => entries.into_iter().map(entry).collect(),
            None => value.clone(),
        },
        Value::Array(entries) if key == LIST => entries
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.clone(), |text| entry(text).into()))
            .collect(),
        _ => value.clone(),
    }
}

/// The entries of a list as a shell has it, without quotes: `[left.mp4, right.mp4]`.
fn list(text: &str) -> Option<Vec<&str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let is_plain = !inner.contains(['"', '\'', '[', '#']);
    is_plain.then(|| inner.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect())
}

/// One of several sources; where a slash comes first, `=` is part of the path.
fn entry(text: &str) -> String {
    match text.split_once('=') {
        Some((name, path)) if !name.contains('/') => format!("{name}={}", source(path.trim())),
        _ => source(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Tests run in the folder of the crate.
    const HERE: &str = "src";

    fn rooted(path: &str) -> String {
        std::env::current_dir().unwrap().join(path).to_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_there_is_seen_from_the_working_directory() {
        assert_eq!(source(HERE), rooted("src"));
        assert_eq!(source("."), std::env::current_dir().unwrap().to_str().unwrap());
        assert_eq!(source("./src/lib.rs"), rooted("src/lib.rs"));
        for other in ["absent.mp4", "rtsp://[::1]:554/src", "/dev/video0", "~/clip.mp4", "C:\\clip.mp4", ""] {
            assert_eq!(source(other), other);
        }
    }

    #[test]
    fn a_setting_that_names_a_file_is_seen_from_there_too_and_another_is_not() {
        assert_eq!(value("source", &json!("src")), json!(rooted("src")));
        assert_eq!(value("model", &json!("src/lib.rs")), json!(rooted("src/lib.rs")));
        assert_eq!(value("model", &json!("src")), json!("src"), "a bare word is a model of the catalogue");
        assert_eq!(value("stream", &json!("src")), json!("src"));
        let sources = json!([rooted("src"), format!("right={}", rooted("src/lib.rs")), "absent.mp4"]);
        assert_eq!(value("sources", &json!("[src, right=src/lib.rs, absent.mp4]")), sources);
        assert_eq!(value("sources", &json!(["src", "right=src/lib.rs", "absent.mp4"])), sources);
        assert_eq!(value("sources", &json!("['src']")), json!("['src']"), "quotes are YAML's to read");
    }
}
