//! Resolution of file names given on the command line: they are searched for in the working directory first, while names in
//! a flow are searched for beside the flow first.

use std::path::{Path, is_separator};

use serde_json::Value;
use sideline_address::is_address;

/// Keys of operators whose value may be a file name, or else a camera, an address or the name of a model.
const FILE_KEYS: [&str; 6] = ["source", "model", "labels", "weights", "vocabulary", "calibration"];
/// The key whose value is a list of sources, `[PATH, NAME=PATH]`.
const LIST_KEY: &str = "sources";

/// Converts the name of a source to an absolute path if it exists in the working directory. Any other name is returned as it
/// is, and searched for like a name in the flow.
pub fn resolve_source(text: &str) -> String {
    let path = Path::new(text);
    // An address is never a file, even if there is a folder `http:`.
    if is_address(text) || text.is_empty() || path.is_absolute() || !path.exists() {
        return text.to_owned();
    }
    let rooted = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
    rooted.unwrap_or_else(|| text.to_owned())
}

/// Resolves the file names in the value of a `--set`.
pub fn resolve_value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if key == "source" => resolve_source(text).into(),
        // For the other keys, a bare word is a name, such as that of a model, and not a file.
        Value::String(text) if FILE_KEYS.contains(&key) && text.contains(|c| c == '.' || is_separator(c)) => {
            resolve_source(text).into()
        }
        Value::String(text) if key == LIST_KEY => match split_list(text) {
            Some(entries) => entries.into_iter().map(resolve_entry).collect(),
            None => value.clone(),
        },
        Value::Array(entries) if key == LIST_KEY => entries
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.clone(), |text| resolve_entry(text).into()))
            .collect(),
        _ => value.clone(),
    }
}

/// Splits a list without quotes, as a shell passes it: `[left.mp4, right.mp4]`. `None` for any other text.
fn split_list(text: &str) -> Option<Vec<&str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let is_plain = !inner.contains(['"', '\'', '[', '#']);
    is_plain.then(|| inner.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect())
}

/// Resolves one entry of a list, `PATH` or `NAME=PATH`; after a slash, `=` is part of the path.
fn resolve_entry(text: &str) -> String {
    match text.split_once('=') {
        Some((name, path)) if !name.contains('/') => format!("{name}={}", resolve_source(path.trim())),
        _ => resolve_source(text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Tests run in the folder of the crate, where this folder exists.
    const EXISTING: &str = "src";

    fn absolute(path: &str) -> String {
        std::env::current_dir().unwrap().join(path).to_str().unwrap().to_owned()
    }

    #[test]
    fn an_existing_file_is_resolved_in_the_working_directory() {
        assert_eq!(resolve_source(EXISTING), absolute("src"));
        assert_eq!(resolve_source("."), std::env::current_dir().unwrap().to_str().unwrap());
        assert_eq!(resolve_source("./src/lib.rs"), absolute("src/lib.rs"));
        for other in ["absent.mp4", "rtsp://[::1]:554/src", "/dev/video0", "~/clip.mp4", "C:\\clip.mp4", ""] {
            assert_eq!(resolve_source(other), other);
        }
    }

    #[test]
    fn settings_that_name_files_are_resolved_and_others_are_not() {
        assert_eq!(resolve_value("source", &json!("src")), json!(absolute("src")));
        assert_eq!(resolve_value("model", &json!("src/lib.rs")), json!(absolute("src/lib.rs")));
        assert_eq!(resolve_value("model", &json!("src")), json!("src"), "a bare word is the name of a model");
        assert_eq!(resolve_value("stream", &json!("src")), json!("src"));
        let sources = json!([absolute("src"), format!("right={}", absolute("src/lib.rs")), "absent.mp4"]);
        assert_eq!(resolve_value("sources", &json!("[src, right=src/lib.rs, absent.mp4]")), sources);
        assert_eq!(resolve_value("sources", &json!(["src", "right=src/lib.rs", "absent.mp4"])), sources);
        assert_eq!(resolve_value("sources", &json!("['src']")), json!("['src']"), "quotes are parsed as YAML later");
    }
}
