//! Where a video goes: a file, HLS, an RTMP server.

use std::path::{Path, PathBuf};

use sideline_api::{
    Error, Failure, Result,
    address::{self, shown},
};

/// The schemes that are written to.
pub const SCHEMES: [&str; 2] = ["rtmp", "rtmps"];

/// Where a video goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A fragmented mp4 file.
    File(PathBuf),
    /// A playlist (`.m3u8`) and, beside it, its segments: players can follow while it grows.
    Hls(PathBuf),
    /// An RTMP server's stream, as FLV.
    Rtmp(String),
}

impl Target {
    /// The target that a text names: an address, a path to an mp4 file or to a playlist.
    ///
    /// # Errors
    /// `Config` for anything else, with what could be meant.
    pub fn of(text: &str) -> Result<Self> {
        if address::is_address(text) {
            return match address::check(text, &SCHEMES) {
                Ok(()) => Ok(Target::Rtmp(text.into())),
                Err(what) => Err(Error::config(what)),
            };
        }
        let path = Path::new(text);
        match path.extension().map(|ending| ending.to_ascii_lowercase()) {
            Some(ending) if ending == "mp4" => Ok(Target::File(path.into())),
            Some(ending) if ending == "m3u8" => Ok(Target::Hls(path.into())),
            _ => Err(Error::config(format!(
                "{text} must end in .mp4 (a file) or .m3u8 (HLS), or be the address of a stream (rtmp://HOST/APP/KEY)"
            ))),
        }
    }

    /// Its name in messages: no secret of an address is in it.
    pub fn shown(&self) -> String {
        match self {
            Target::File(path) | Target::Hls(path) => path.display().to_string(),
            Target::Rtmp(address) => shown(address),
        }
    }

    /// The file that is written; none for a server.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Target::File(path) | Target::Hls(path) => Some(path),
            Target::Rtmp(_) => None,
        }
    }

    /// An error with the place and the mend.
    pub(super) fn failure(&self, what: &str, cause: ffmpeg_next::Error) -> Error {
        use ffmpeg_next::{
            Error::Other,
            util::error::{EACCES, ECONNREFUSED, EINVAL, ENOENT, ENOSPC, EROFS},
        };
        let parent = self.path().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
        let mend = match (cause, parent) {
            (Other { errno: ENOENT }, Some(parent)) if !parent.is_dir() => {
                format!("; there is no folder {}: make it, or write elsewhere", parent.display())
            }
            (Other { errno: ENOSPC }, _) => "; free some space, or write to another disk".into(),
            (Other { errno: EACCES | EROFS }, _) => "; write to a folder that is yours".into(),
            (Other { errno: EINVAL }, _) => "; look at preset, quality and size".into(),
            (Other { errno: ECONNREFUSED }, _) => "; is the server running, and the port right?".into(),
            _ => String::new(),
        };
        Error::new(Failure::Output, format!("{}: {what}: {cause}{mend}", self.shown()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_told_by_its_address_or_its_ending() {
        assert_eq!(Target::of("a/x.MP4"), Ok(Target::File("a/x.MP4".into())));
        assert_eq!(Target::of("live/index.m3u8"), Ok(Target::Hls("live/index.m3u8".into())));
        let rtmp = Target::of("rtmps://u:p@h/live/k3y").unwrap();
        assert_eq!(rtmp.shown(), "rtmps://***@h/live/***");
        let other = Target::of("overlay.avi").unwrap_err();
        assert_eq!(other.failure, Failure::Config);
        assert!(other.message.contains(".mp4") && other.message.contains("rtmp://"), "{other}");
        let scheme = Target::of("rtsp://h/live/k3y").unwrap_err().message;
        assert!(scheme.contains("`rtsp://` is not known here") && scheme.contains("rtmps://"), "{scheme}");
    }
}
