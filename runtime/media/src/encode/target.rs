//! Where a video goes: a file, HLS, an RTMP server.

use std::path::{Path, PathBuf};

use sideline_api::{
    Error, Failure, Result,
    address::{self, Address},
};

use crate::Trust;

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
    Rtmp(Server),
}

/// A server to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address, with the stream's key.
    pub address: Address,
    /// The certificates trusted over TLS.
    pub trust: Trust,
}

impl Target {
    /// The target that a text names: an address (one that is a reference is looked up, a file of it in the folders of
    /// `search`), a path to an mp4 file or to a playlist. `trust` is for a server.
    ///
    /// # Errors
    /// `Config` for anything else, with what could be meant.
    pub fn of(text: &str, trust: Trust, search: &[PathBuf]) -> Result<Self> {
        if address::is_remote(text) {
            return Ok(Target::Rtmp(Server { address: Address::resolve(text, &SCHEMES, search)?, trust }));
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
            Target::Rtmp(server) => server.address.shown(),
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

    fn of(text: &str) -> Result<Target> {
        Target::of(text, Trust::default(), &[])
    }

    #[test]
    fn a_target_is_told_by_its_address_or_its_ending() {
        assert_eq!(of("a/x.MP4"), Ok(Target::File("a/x.MP4".into())));
        assert_eq!(of("live/index.m3u8"), Ok(Target::Hls("live/index.m3u8".into())));
        let rtmp = of("rtmps://u:p@h/live/k3y").unwrap();
        assert_eq!(rtmp.shown(), "rtmps://***@h/live/***");
        let unset = of("rtmp://h/live/{env:NO_SUCH_VARIABLE}").unwrap_err();
        assert!(unset.message.contains("`NO_SUCH_VARIABLE`"), "{unset}");
        let other = of("overlay.avi").unwrap_err();
        assert_eq!(other.failure, Failure::Config);
        assert!(other.message.contains(".mp4") && other.message.contains("rtmp://"), "{other}");
        let scheme = of("rtsp://h/live/k3y").unwrap_err().message;
        assert!(scheme.contains("`rtsp://` is not known here") && scheme.contains("rtmps://"), "{scheme}");
    }
}
