//! What the entries of `sources` are called.

use std::path::Path;

use sideline_api::{
    StreamName,
    address::{host, is_address, is_reference, shown},
};

/// Name and source of each entry: `NAME=PATH`, or a path alone, whose name without folder and ending is the stream's. An
/// address alone has the name of its host: the rest of it may be secret.
///
/// # Errors
/// When there is none, one is without a name, or two are of one name.
pub fn streams(sources: &[String]) -> Result<Vec<(StreamName, &str)>, String> {
    if sources.is_empty() {
        return Err("is an empty list: name at least one file, folder of images or camera".into());
    }
    let mut named: Vec<(StreamName, &str)> = vec![];
    for entry in sources {
        let (name, source) = match entry.split_once('=') {
            // Where a slash comes first, the sign is part of the path.
            Some((name, source)) if !name.contains('/') => (name.trim(), source.trim()),
            // The variable's name, or that of the file.
            _ if is_reference(entry) => {
                let behind = entry.split_once(':').map_or("", |(_, behind)| behind);
                (Path::new(behind).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), entry.as_str())
            }
            _ if is_address(entry) => (host(entry).map_or("", |(host, _)| host), entry.as_str()),
            _ => (Path::new(entry).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default(), entry.as_str()),
        };
        if name.is_empty() || source.is_empty() {
            return Err(format!("`{}` gives a stream no name: write `NAME=PATH`", shown(entry)));
        }
        if let Some((_, other)) = named.iter().find(|(other, _)| **other == *name) {
            let (other, source) = (shown(other), shown(source));
            return Err(format!(
                "`{other}` and `{source}` are both named `{name}`: name them yourself, as in `left={other}`"
            ));
        }
        named.push((name.into(), source));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[&str]) -> Result<Vec<(String, String)>, String> {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        streams(&entries).map(|s| s.into_iter().map(|(name, source)| (name.to_string(), source.into())).collect())
    }

    #[test]
    fn a_stream_is_named_by_its_entry_or_by_its_file() {
        let secret = of(&["env:CAM_LEFT", "file:/run/secrets/right", "third=env:CAM"]).unwrap();
        let names: Vec<&str> = secret.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, secret[2].1.as_str()), (vec!["CAM_LEFT", "right", "third"], "env:CAM"));
        let named = of(&["clips/a.b.mp4", "left=/dev/video0", "/dev/video1", "pictures/", "./x=y/1.mp4"]).unwrap();
        let names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.b", "left", "video1", "pictures", "1"]);
        assert_eq!((named[1].1.as_str(), named[4].1.as_str()), ("/dev/video0", "./x=y/1.mp4"));
    }

    #[test]
    fn two_of_one_name_are_told_apart_by_the_user() {
        let told = of(&["a/x.mp4", "b/x.mp4"]).unwrap_err();
        assert_eq!(told, "`a/x.mp4` and `b/x.mp4` are both named `x`: name them yourself, as in `left=a/x.mp4`");
        let told = of(&["rtmp://cam.example/live/k3y", "rtsp://u:p@cam.example/2"]).unwrap_err();
        assert_eq!(
            told,
            "`rtmp://cam.example/live/***` and `rtsp://***@cam.example/2` are both named `cam.example`: name them \
             yourself, as in `left=rtmp://cam.example/live/***`"
        );
        assert_eq!(of(&["left=rtmp://h/live/x"]).unwrap(), [("left".into(), "rtmp://h/live/x".into())]);
        assert!(of(&["left=a/x.mp4", "b/x.mp4"]).is_ok());
        assert!(of(&[]).unwrap_err().contains("at least one"));
        assert!(of(&["=a.mp4"]).unwrap_err().contains("no name"));
        assert!(of(&["/"]).unwrap_err().contains("no name"));
    }
}
