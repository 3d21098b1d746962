//! Targets of encoded video: a file, an HLS playlist, or an RTMP server.

use std::path::{Path, PathBuf};

use sideline_address::Address;
use sideline_api::{Error, Failure, Result};

use crate::TlsTrust;

/// URL schemes of servers that can be written to.
pub const OUTPUT_SCHEMES: [&str; 2] = ["rtmp", "rtmps"];

/// Target of encoded video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Fragmented MP4 file.
    File(PathBuf),
    /// HLS playlist (`.m3u8`) with its segments beside it; players can follow it while it grows.
    Hls(PathBuf),
    /// Stream of an RTMP server, as FLV.
    Rtmp(RtmpServer),
}

/// An RTMP server to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtmpServer {
    /// Address, including the stream key.
    pub address: Address,
    /// Certificates that are trusted over TLS.
    pub trust: TlsTrust,
}

impl Target {
    /// Parses a target: an address, or the path of an MP4 file or playlist. A reference in an address is resolved; a file that
    /// it names is looked up in the folders of `search`. `trust` applies to a server.
    ///
    /// # Errors
    /// `Config` for anything else; the message lists the valid forms.
    pub fn parse(text: &str, trust: TlsTrust, search: &[PathBuf]) -> Result<Self> {
        if sideline_address::is_remote(text) {
            return Ok(Target::Rtmp(RtmpServer { address: Address::resolve(text, &OUTPUT_SCHEMES, search)?, trust }));
        }
        let path = Path::new(text);
        match path.extension().map(|extension| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "mp4" => Ok(Target::File(path.into())),
            Some(extension) if extension == "m3u8" => Ok(Target::Hls(path.into())),
            _ => Err(Error::config(format!(
                "{text} must end in .mp4 (a file) or .m3u8 (HLS), or be the address of a stream (rtmp://HOST/APP/KEY)"
            ))),
        }
    }

    /// Returns the name for messages, without the secrets of an address.
    pub fn display_name(&self) -> String {
        match self {
            Target::File(path) | Target::Hls(path) => path.display().to_string(),
            Target::Rtmp(server) => server.address.redacted(),
        }
    }

    /// Returns the path of the file or playlist; `None` for a server.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Target::File(path) | Target::Hls(path) => Some(path),
            Target::Rtmp(_) => None,
        }
    }

    /// Returns an `Output` error with the target and a remedy.
    pub(super) fn failure(&self, what: &str, cause: ffmpeg_next::Error) -> Error {
        use ffmpeg_next::{
            Error::Other,
            util::error::{EACCES, ECONNREFUSED, EINVAL, ENOENT, ENOSPC, EROFS},
        };
        let parent = self.path().and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
        let remedy = match (cause, parent) {
            (Other { errno: ENOENT }, Some(parent)) if !parent.is_dir() => {
                format!("; there is no folder {}: create it, or write elsewhere", parent.display())
            }
            (Other { errno: ENOSPC }, _) => "; free some space, or write to another disk".into(),
            (Other { errno: EACCES | EROFS }, _) => "; write to a folder that you own".into(),
            (Other { errno: EINVAL }, _) => "; check preset, quality and size".into(),
            (Other { errno: ECONNREFUSED }, _) => "; is the server running, and is the port right?".into(),
            _ => String::new(),
        };
        Error::new(Failure::Output, format!("{}: {what}: {cause}{remedy}", self.display_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Target> {
        Target::parse(text, TlsTrust::default(), &[])
    }

    #[test]
    fn a_target_is_recognized_by_its_scheme_or_extension() {
        assert_eq!(parse("a/x.MP4"), Ok(Target::File("a/x.MP4".into())));
        assert_eq!(parse("live/index.m3u8"), Ok(Target::Hls("live/index.m3u8".into())));
        let rtmp = parse("rtmps://u:p@h/live/k3y").unwrap();
        assert_eq!(rtmp.display_name(), "rtmps://***@h/live/***");
        let unset = parse("rtmp://h/live/{env:NO_SUCH_VARIABLE}").unwrap_err();
        assert!(unset.message.contains("`NO_SUCH_VARIABLE`"), "{unset}");
        let other = parse("overlay.avi").unwrap_err();
        assert_eq!(other.failure, Failure::Config);
        assert!(other.message.contains(".mp4") && other.message.contains("rtmp://"), "{other}");
        let scheme = parse("rtsp://h/live/k3y").unwrap_err().message;
        assert!(scheme.contains("`rtsp://` is not known here") && scheme.contains("rtmps://"), "{scheme}");
    }
}
