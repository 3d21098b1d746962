//! Names of the streams listed in `sources`.

use std::path::Path;

use sideline_address::{host, is_address, is_reference, redacted};
use sideline_api::StreamName;

/// Returns the stream name and the source of each entry: `NAME=PATH`, or a path alone, whose file stem becomes the name. An
/// address alone is named for its host, since the rest of it may be secret.
///
/// # Errors
/// If the list is empty, an entry yields no name, or two entries share a name.
pub fn parse(sources: &[String]) -> Result<Vec<(StreamName, &str)>, String> {
    if sources.is_empty() {
        return Err("is an empty list: name at least one file, folder of images or camera".into());
    }
    let mut named: Vec<(StreamName, &str)> = vec![];
    for entry in sources {
        let (name, source) = match entry.split_once('=') {
            // After a slash, `=` is part of the path.
            Some((name, source)) if !name.contains('/') => (name.trim(), source.trim()),
            // Named for the environment variable or the file.
            _ if is_reference(entry) => {
                let target = entry.split_once(':').map_or("", |(_, target)| target);
                (Path::new(target).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), entry.as_str())
            }
            _ if is_address(entry) => (host(entry).map_or("", |(host, _)| host), entry.as_str()),
            _ => (Path::new(entry).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), entry.as_str()),
        };
        if name.is_empty() || source.is_empty() {
            return Err(format!("`{}` yields no name for the stream: write `NAME=PATH`", redacted(entry)));
        }
        if let Some((_, other)) = named.iter().find(|(other, _)| **other == *name) {
            let (other, source) = (redacted(other), redacted(source));
            return Err(format!(
                "`{other}` and `{source}` are both named `{name}`: give them names, as in `left={other}`"
            ));
        }
        named.push((name.into(), source));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_entries(entries: &[&str]) -> Result<Vec<(String, String)>, String> {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        parse(&entries).map(|s| s.into_iter().map(|(name, source)| (name.to_string(), source.into())).collect())
    }

    #[test]
    fn a_stream_is_named_by_its_entry_or_by_its_file() {
        let references = parse_entries(&["env:CAM_LEFT", "file:/run/secrets/right", "third=env:CAM"]).unwrap();
        let names: Vec<&str> = references.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, references[2].1.as_str()), (vec!["CAM_LEFT", "right", "third"], "env:CAM"));
        let named =
            parse_entries(&["clips/a.b.mp4", "left=/dev/video0", "/dev/video1", "pictures/", "./x=y/1.mp4"]).unwrap();
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.b", "left", "video1", "pictures", "1"]);
        assert_eq!((named[1].1.as_str(), named[4].1.as_str()), ("/dev/video0", "./x=y/1.mp4"));
    }

    #[test]
    fn two_streams_of_one_name_and_entries_without_a_name_are_refused() {
        let refused = parse_entries(&["a/x.mp4", "b/x.mp4"]).unwrap_err();
        assert_eq!(refused, "`a/x.mp4` and `b/x.mp4` are both named `x`: give them names, as in `left=a/x.mp4`");
        let refused = parse_entries(&["rtmp://cam.example/live/k3y", "rtsp://u:p@cam.example/2"]).unwrap_err();
        assert_eq!(
            refused,
            "`rtmp://cam.example/live/***` and `rtsp://***@cam.example/2` are both named `cam.example`: give them names, \
             as in `left=rtmp://cam.example/live/***`"
        );
        assert_eq!(parse_entries(&["left=rtmp://h/live/x"]).unwrap(), [("left".into(), "rtmp://h/live/x".into())]);
        assert!(parse_entries(&["left=a/x.mp4", "b/x.mp4"]).is_ok());
        assert!(parse_entries(&[]).unwrap_err().contains("at least one"));
        assert!(parse_entries(&["=a.mp4"]).unwrap_err().contains("no name"));
        assert!(parse_entries(&["/"]).unwrap_err().contains("no name"));
    }
}
